"""A second, finer look at where the first one found the landmarks.

The first networks say where a landmark may be in the whole image, the second ones where it is in a crop
around that. The second look is told what the first one believes, as a prior: the two densities are pooled
logarithmically (Genest & Zidek, Statistical Science 1986), the first one with the exponent `PRIOR_WEIGHT`,
because what two networks saw in one image is not independent.

The answer is one density: inside the crop the mass that the first look has there, spread as both say;
outside of it what the first look says. So a crop in the wrong place takes no mass with it: the less the
first look believes in it, the less the second look counts. Where that is less than a half, the points and
covariances of the first look stay.
"""

import typing
from collections.abc import Sequence

import tensorflow as tf

from ceph_tf import geometry, seeds
from ceph_tf.config import NetworkConfig, SamplerConfig
from ceph_tf.data import crops
from ceph_tf.models import heatmaps, unet
from ceph_tf.uncertainty import samplers
from ceph_tf.uncertainty.samplers import Samples

# Of 0, 0.3, 0.5, 0.7 and 1 the best on validation and calibration images; its neighbours are hardly worse.
PRIOR_WEIGHT = 0.5
_TINY = 1e-12


class Refiner(typing.NamedTuple):
  """The networks of the second look.

  Attributes:
    networks: as many as the sampler of the first look has.
    cfg: of these networks, all alike.
    scale: a pixel of the first networks' image is this many of theirs.
    stride: a pixel of the first networks' heatmaps is this many of theirs.
  """

  networks: Sequence[unet.Network]
  cfg: NetworkConfig
  scale: int
  stride: int


def refiner(networks: Sequence[unet.Network], cfg: NetworkConfig, first: NetworkConfig) -> Refiner:
  """The second look of networks of `cfg` behind those of `first`.

  Raises:
    ValueError: its network image is no whole number of times finer than theirs.
  """
  scale = cfg.input.height // first.input.height
  sizes = (first.input.height, first.input.width), (cfg.input.height, cfg.input.width)
  if sizes[1] != (scale * sizes[0][0], scale * sizes[0][1]):
    raise ValueError(f'the network images {sizes[0]} and {sizes[1]} of the two looks: allowed is a second '
                     'one that is a whole number of times finer')
  return Refiner(networks, cfg, scale, scale * first.model.stem_stride)


def coarse_images(images: tf.Tensor, scale: int) -> tf.Tensor:
  """What the first networks see of the second ones' images [B, H, W, 1]: [B, H / scale, W / scale, 1].

  As bright and as rich in contrast: means of pixels have a smaller variance, which is undone.
  """
  small = tf.nn.avg_pool2d(images, scale, scale, 'VALID')
  energy, left = (tf.reduce_mean(tf.square(x), [1, 2, 3], keepdims=True) for x in (images, small))
  return small * tf.sqrt(energy / tf.maximum(left, _TINY))


def refine(first: Samples, images: tf.Tensor, second: Refiner, sampler: SamplerConfig,
           seed: tf.Tensor) -> Samples:
  """Looks again, at crops around the mean of the first look's points.

  Args:
    first: of the first networks, in pixels of their network image.
    images: float32 [B, H, W, 1] of the second ones.
    second: the networks.
    sampler: of the first look, and of the second.
    seed: int32 [2], of the noise.

  Returns:
    `Samples` in pixels of `images`; `mean_density` is in pixels of the first networks' image.
  """
  first, size_px = finer(first, second.scale), second.cfg.crop.size_px
  frame = geometry.crop_frame(tf.reduce_mean(first.points_px, 0), size_px)
  seen = crops.to_see(images, frame, size_px)
  told = prior(first.mean_density, frame, second.stride, size_px)
  found = samplers.draw(second.networks, seen, second.cfg, sampler, seeds.fold_in(seed, 1), prior=told)
  return merged(first, found, frame, tuple(images.shape[1:3]), second)


def prior(density: tf.Tensor, frame: geometry.Frame, stride: int, size_px: int) -> tf.Tensor:
  """What a first look believes of the pixels of crops, as logits; 0 is the least of a crop.

  Args:
    density: float32 [B, h, w, L], its mean heatmap.
    frame: of shape [B, L, 2], of the crops.
    stride: a pixel of the heatmap is this many of the image.
    size_px: side of the crops.

  Returns:
    float32 [B * L, size_px, size_px, 1]: logarithms, interpolated between the heatmap's pixels.
  """
  _, height, width, _ = density.shape
  believed = tf.transpose(tf.math.log(tf.maximum(density, _TINY)), [0, 3, 1, 2])
  at = tf.cast(crops.pixels(frame, size_px), tf.float32)

  def along(axis, size):
    """Weights [B, L, size_px, size] of a hat function; beyond the border the nearest pixel counts."""
    place = tf.clip_by_value(geometry.network_to_heatmap(at[:, :, axis], stride), 0.0, size - 1.0)
    return tf.nn.relu(1.0 - tf.abs(place[..., None] - tf.range(size, dtype=tf.float32)))

  found = along(1, height) @ believed @ tf.transpose(along(0, width), [0, 1, 3, 2])
  found -= tf.reduce_min(found, [2, 3], keepdims=True)
  return PRIOR_WEIGHT * tf.reshape(found, [-1, size_px, size_px, 1])


def finer(samples: Samples, scale: int) -> Samples:
  """Samples in pixels of an image whose pixels are `scale` times smaller."""
  size = tf.fill([1, 2], 1.0 / scale)
  return samples.to_source(geometry.Frame(size, geometry.network_to_heatmap(tf.zeros([1, 2]), scale)))


def merged(first: Samples, found: Samples, frame: geometry.Frame, size_hw: tuple[int, int],
           second: Refiner) -> Samples:
  """The two looks as one.

  Args:
    first: in pixels of the image that was cropped, of S networks, with its `mean_density` [B, h, w, L].
    found: in pixels of the crops, of S networks, B * L rows of one landmark.
    frame: of shape [B, L, 2], of the crops.
    size_hw: of the image.
    second: scale and stride.

  Returns:
    `Samples` of S networks. Of single heatmaps nothing is known any more outside of the crops, where they are
    taken for their mean; but the entropy that each of them has more or less than their mean is kept, as the
    share of it that lies there.
  """
  size, stride = found.mean_density.shape[1], second.stride
  batch, _, _, landmarks = tf.unstack(tf.shape(first.mean_density))

  def rows(values):
    """[..., B * L, 1, more] as [..., B, L, more]; `values` without S have no leading axis."""
    return tf.reshape(values, [-1, batch, landmarks, *values.shape[3:]])

  covered = crops.cover(first.mean_density.shape[1:3], frame, stride, size)
  outside = first.mean_density * (1.0 - covered)
  inside = tf.clip_by_value(1.0 - tf.reduce_sum(outside, [1, 2]), 0.0, 1.0)  # [B, L]
  rest = 1.0 - inside
  # Of the density outside, per pixel of the image.
  mean, covariance = heatmaps.moments(outside / tf.maximum(rest, _TINY)[:, None, None])
  mean, covariance = geometry.heatmap_to_network(mean, stride), covariance * stride**2
  per_px = first.mean_density / stride**2
  entropy_outside = -tf.reduce_sum(outside * tf.math.log(tf.maximum(per_px, _TINY)), [1, 2])

  seen = inside[..., None] >= 0.5
  points = tf.where(seen, crops.from_crops(rows(found.points_px), frame), first.points_px)
  apart = points - mean
  share, other = inside[..., None, None], rest[..., None, None]
  spread = (share * rows(found.covariance_px2) + other * covariance
            + share * other * apart[..., :, None] * apart[..., None, :])
  far = samplers.expected_radius_px(outside, geometry.network_to_heatmap(tf.reduce_mean(points, 0), stride))

  def entropy(of_crop, more=0.0):
    return inside * of_crop - tf.math.xlogy(inside, inside) + entropy_outside + rest * more

  return Samples(
      points_px=points,
      peak=inside * rows(found.peak),
      # Not the mixture: the mean heatmap is as wide as the networks are apart, and their points are so, too.
      covariance_px2=tf.where(seen[..., None], spread, first.covariance_px2),
      entropy_nats=entropy(rows(found.entropy_nats), first.entropy_nats - first.mean_entropy_nats),
      expected_radius_px=inside * rows(found.expected_radius_px) + stride * far,
      mean_peak=inside * rows(found.mean_peak)[0],
      mean_entropy_nats=entropy(rows(found.mean_entropy_nats)[0]),
      mean_density=_on_one_grid(outside, inside, found.mean_density, frame, size_hw, second))


def _on_one_grid(outside: tf.Tensor, inside: tf.Tensor, found: tf.Tensor, frame: geometry.Frame,
                 size_hw: tuple[int, int], second: Refiner) -> tf.Tensor:
  """The merged density [B, H / scale, W / scale, L]: finer than heatmaps, and not as large as the image."""
  size, scale = found.shape[1], second.scale
  enlarge = second.stride // scale

  def onto(axis):
    """Which pixel of the grid holds which of the crop, [B, L, pixels of the grid, size]."""
    shown, grid = crops.pixels(frame, size)[:, :, None, axis], tf.range(size_hw[1 - axis] // scale)
    return tf.cast(tf.equal(shown // scale, grid[:, None]), tf.float32)

  crop = tf.reshape(found, [-1, inside.shape[1], size, size]) * inside[..., None, None]
  fine = tf.einsum('blyj,bljk,blxk->byxl', onto(1), crop, onto(0))
  coarse = tf.repeat(tf.repeat(outside, enlarge, 1), enlarge, 2) / enlarge**2
  whole = fine + coarse  # but for what a crop holds beyond the image's border
  return whole / tf.maximum(tf.reduce_sum(whole, [1, 2], keepdims=True), _TINY)
