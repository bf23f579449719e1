"""Landmarks to target heatmaps, and heatmaps back to landmarks with their doubt.

Points are (x, y) in pixels of the heatmap, arrays of heatmaps are [B, h, w, L].
"""

import math
import typing

import tensorflow as tf

from ceph_tf.config import HeatmapConfig
from ceph_tf.models import spread


class Decoded(typing.NamedTuple):
  """What is kept of each heatmap; the heatmap itself can then be forgotten.

  Attributes:
    points_px: float32 [B, L, 2].
    peak: float32 [B, L], the maximum activation, 1 for a heatmap like its target.
    covariance_px2: float32 [B, L, 2, 2], of the heatmap read as a density, or that of a
      gaussian head.
    entropy_nats: float32 [B, L], of the density.
    density: float32 [B, h, w, L], non-negative, each landmark sums to one.
  """

  points_px: tf.Tensor
  peak: tf.Tensor
  covariance_px2: tf.Tensor
  entropy_nats: tf.Tensor
  density: tf.Tensor


def _axis(size: int) -> tf.Tensor:
  return tf.range(size, dtype=tf.float32)


def inside(points_px: tf.Tensor, size_hw: tuple[int, int]) -> tf.Tensor:
  """Which points [B, L, 2] are known and lie in the image: bool [B, L]."""
  height, width = size_hw
  limit = tf.constant([width - 0.5, height - 0.5], tf.float32)
  return tf.reduce_all((points_px >= -0.5) & (points_px <= limit), -1)  # NaN compares false


def render(points_px: tf.Tensor, size_hw: tuple[int, int], sigma_px: float) -> tf.Tensor:
  """Gaussian target heatmaps with maximum 1 at the landmark.

  Args:
    points_px: float32 [B, L, 2]; a NaN point gives an empty heatmap.
    size_hw: height and width of the heatmaps.
    sigma_px: standard deviation.

  Returns:
    float32 [B, h, w, L].
  """
  height, width = size_hw
  known = inside(points_px, size_hw)
  points_px = tf.where(known[..., None], points_px, 0.0)
  factor = -0.5 / sigma_px**2
  # A Gaussian is separable: h + w exponentials per landmark instead of h * w.
  along_y = tf.exp(factor * (_axis(height)[None, :, None] - points_px[:, None, :, 1]) ** 2)
  along_x = tf.exp(factor * (_axis(width)[None, :, None] - points_px[:, None, :, 0]) ** 2)
  along_y *= tf.cast(known, tf.float32)[:, None, :]
  return along_y[:, :, None, :] * along_x[:, None, :, :]


def gaussian_filter(heatmaps: tf.Tensor, sigma_px: float) -> tf.Tensor:
  """Heatmaps [B, h, w, L] convolved with a Gaussian, zero outside the image.

  A Gaussian is separable: one convolution along y, one along x. `sigma_px=0` changes nothing.
  """
  if sigma_px == 0:
    return heatmaps
  radius = math.ceil(4 * sigma_px)
  weights = [math.exp(-0.5 * (i / sigma_px) ** 2) for i in range(-radius, radius + 1)]
  kernel = tf.constant(weights, heatmaps.dtype)[:, None] / sum(weights)
  kernel = tf.tile(kernel, [1, heatmaps.shape[-1]])[..., None]  # [2 radius + 1, L, 1]
  along_y = tf.nn.depthwise_conv2d(heatmaps, kernel[:, None], [1, 1, 1, 1], 'SAME')
  return tf.nn.depthwise_conv2d(along_y, kernel[None], [1, 1, 1, 1], 'SAME')


def by_landmark(heatmaps: tf.Tensor) -> tf.Tensor:
  """Heatmaps [B, h, w, L] as [B, L, h, w].

  Sums over the pixels of a landmark take half the time where these lie side by side, and the transpositions
  of several functions in one graph are one.
  """
  return tf.transpose(heatmaps, [0, 3, 1, 2])


def argmax_points(heatmaps: tf.Tensor) -> tf.Tensor:
  """The pixel of each maximum: float32 [B, L, 2]."""
  _, height, width, landmarks = heatmaps.shape
  index = tf.argmax(tf.reshape(heatmaps, [-1, height * width, landmarks]), axis=1, output_type=tf.int32)
  return tf.cast(tf.stack([index % width, index // width], -1), tf.float32)


def moments(density: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Mean [B, L, 2] and covariance [B, L, 2, 2] of densities [B, h, w, L]."""
  _, height, width, _ = density.shape
  x, y = _axis(width), _axis(height)
  density = by_landmark(density)
  along_x, along_y = tf.reduce_sum(density, 2), tf.reduce_sum(density, 3)
  mean_x, mean_y = tf.linalg.matvec(along_x, x), tf.linalg.matvec(along_y, y)
  # Centred before squaring: E[x^2] - E[x]^2 would lose the digits in float32.
  from_x, from_y = x - mean_x[..., None], y - mean_y[..., None]
  xx = tf.reduce_sum(along_x * from_x**2, -1)
  yy = tf.reduce_sum(along_y * from_y**2, -1)
  xy = tf.reduce_sum(tf.linalg.matvec(density, from_x) * from_y, -1)
  covariance = tf.stack([tf.stack([xx, xy], -1), tf.stack([xy, yy], -1)], -2)
  return tf.stack([mean_x, mean_y], -1), covariance


def local_mean(density: tf.Tensor, centre_px: tf.Tensor, window_px: int) -> tf.Tensor:
  """Mean of each density within `window_px` of a pixel `centre_px` [B, L, 2] in x and in y."""
  batch, (_, height, width, landmarks) = tf.shape(density)[0], density.shape
  offsets = tf.range(-window_px, window_px + 1)
  centre = tf.cast(centre_px, tf.int32)[..., None] + offsets  # [B, L, 2, window]
  x, y = centre[:, :, None, 0, :], centre[:, :, 1, :, None]
  there = (x >= 0) & (x < width) & (y >= 0) & (y < height)  # [B, L, window, window]
  image = tf.range(batch)[:, None, None, None]
  pixel = (image * height + tf.clip_by_value(y, 0, height - 1)) * width + tf.clip_by_value(x, 0, width - 1)
  pixel = pixel * landmarks + tf.range(landmarks)[None, :, None, None]
  window = tf.where(there, tf.gather(tf.reshape(density, [-1]), pixel), 0.0)
  mass = tf.reduce_sum(window, [2, 3]) + 1e-12
  along_x, along_y = tf.reduce_sum(window, 2), tf.reduce_sum(window, 3)
  moved = tf.cast(offsets, tf.float32)
  shift = tf.stack([tf.reduce_sum(along_x * moved, -1), tf.reduce_sum(along_y * moved, -1)], -1)
  return centre_px + shift / mass[..., None]


def entropy_nats(density: tf.Tensor) -> tf.Tensor:
  """Entropy [B, L] of densities [B, h, w, L]; 0 log 0 is 0."""
  density = by_landmark(density)
  return -tf.reduce_sum(tf.math.xlogy(density, density), [2, 3])


def to_density(output: tf.Tensor, loss: str) -> tf.Tensor:
  """Network output [B, h, w, L] as densities that sum to one per landmark.

  Trained by `cross_entropy` the output is logits of a softmax over all pixels;
  trained by `mse` it is an activation whose negative part means nothing.
  """
  _, height, width, landmarks = output.shape
  flat = tf.reshape(output, [-1, height * width, landmarks])
  if loss == 'cross_entropy':
    # By landmark it would be quicker, but OpenVINO then finds other points (`second_runtime_test`).
    flat = tf.nn.softmax(flat, axis=1)
  else:
    flat = tf.nn.relu(flat) + 1e-12  # an empty heatmap knows nothing: uniform
    flat /= tf.reduce_sum(flat, 1, keepdims=True)
  return tf.reshape(flat, [-1, height, width, landmarks])


def peak_of(heatmaps: tf.Tensor) -> tf.Tensor:
  """The maximum [B, L] of each heatmap."""
  return tf.reduce_max(by_landmark(heatmaps), [2, 3])


def density_peak(density: tf.Tensor, cfg: HeatmapConfig) -> tf.Tensor:
  """The maximum [B, L] of each density, relative to that of the target Gaussian."""
  return peak_of(density) * (2 * math.pi * cfg.target_sigma_px**2)


def locate(activation: tf.Tensor, density: tf.Tensor, loss: str, cfg: HeatmapConfig) -> tf.Tensor:
  """The points [B, L, 2] of heatmaps [B, h, w, L], given as activation and as density.

  See `HeatmapConfig.decode`. `argmax` is that of Drevicky & Kodym, BIOIMAGING 2020: a Gaussian
  filter on the heatmap, then its largest pixel.
  """
  if cfg.decode == 'global':
    return moments(density)[0]
  filtered = gaussian_filter(activation if loss == 'mse' else density, cfg.filter_sigma_px)
  points = argmax_points(filtered)
  return local_mean(density, points, cfg.window_px) if cfg.decode == 'local' else points


def decode(output: tf.Tensor, loss: str, cfg: HeatmapConfig, head: str = 'heatmap') -> Decoded:
  """Reads the landmarks from the network's output.

  Args:
    output: float32 [B, h, w, L]; of a gaussian head [B, h, w, 4 L].
    loss: what the network was trained by, `cross_entropy` or `mse`.
    cfg: how; see `locate`.
    head: `ModelConfig.head`.

  Returns:
    `Decoded`, in pixels of the heatmap.
  """
  activation, numbers = spread.split(output, head)
  density = to_density(activation, loss)
  points = locate(activation, density, loss, cfg)
  if numbers is None:
    _, covariance = moments(density)
  else:
    covariance = spread.normal(points, spread.scale_tril(numbers, density)).covariance()
  peak = peak_of(activation) / cfg.amplitude if loss == 'mse' else density_peak(density, cfg)
  return Decoded(points, peak, covariance, entropy_nats(density), density)
