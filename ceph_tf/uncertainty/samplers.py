"""A sampler is a finite set of networks: one, T passes with noise, V views, or K members.

The answer for an image depends on the image, the weights and the seed, never on
its batch: a pass is one network, its masks and kernels are shared by all images.
Heatmaps are reduced as they come; memory holds one chunk of passes, whatever T.
"""

import typing
from collections.abc import Callable, Sequence

import tensorflow as tf

from ceph_tf import geometry
from ceph_tf.config import NetworkConfig, SamplerConfig
from ceph_tf.models import heatmaps, unet
from ceph_tf.uncertainty import views as viewing


class Samples(typing.NamedTuple):
  """What S networks say about L landmarks of B images; all that measures see.

  Attributes:
    points_px: float32 [S, B, L, 2].
    peak: float32 [S, B, L], maximum heatmap activation, 1 for a perfect heatmap.
    covariance_px2: float32 [S, B, L, 2, 2], of each heatmap read as a density, or of a gaussian head.
    entropy_nats: float32 [S, B, L], of each heatmap.
    expected_radius_px: float32 [S, B, L], mean distance of each heatmap's density to its point.
    mean_peak: float32 [B, L], the maximum of the mean heatmap.
    mean_entropy_nats: float32 [B, L], the entropy of the mean heatmap.
    mean_density: float32 [B, h, w, L], the mean heatmap as a density, in its own pixels.
  """

  points_px: tf.Tensor
  peak: tf.Tensor
  covariance_px2: tf.Tensor
  entropy_nats: tf.Tensor
  expected_radius_px: tf.Tensor
  mean_peak: tf.Tensor
  mean_entropy_nats: tf.Tensor
  mean_density: tf.Tensor

  def to_source(self, frame: geometry.Frame) -> 'Samples':
    """Points, covariances and radii in pixels of the source images (frame of shape [B, 2]).

    A radius has no direction: where x and y are scaled differently it is scaled by
    their geometric mean.
    """
    factor = tf.sqrt(tf.reduce_prod(frame.scale, -1))[:, None]
    return self._replace(
        points_px=frame.to_source(self.points_px),
        covariance_px2=frame.covariance_to_source(self.covariance_px2),
        expected_radius_px=self.expected_radius_px / factor)


def expected_radius_px(density: tf.Tensor, points_px: tf.Tensor) -> tf.Tensor:
  """Mean distance [B, L] of densities [B, h, w, L] to points [B, L, 2], in their pixels."""
  _, height, width, _ = density.shape
  from_x = tf.range(width, dtype=tf.float32) - points_px[..., :1]
  from_y = tf.range(height, dtype=tf.float32) - points_px[..., 1:]
  distance = tf.sqrt(from_y[..., :, None] ** 2 + from_x[..., None, :] ** 2)
  return tf.reduce_sum(heatmaps.by_landmark(density) * distance, [2, 3])


def _chunk(output: tf.Tensor, passes: int, cfg: NetworkConfig, back: Callable):
  """Reduces outputs [passes * B, h, w, L] to per-pass answers and the sum of densities."""
  decoded = back(heatmaps.decode(output, cfg.train.loss, cfg.heatmap, cfg.model.head))
  stride = cfg.model.stem_stride

  def by_pass(values):
    return tf.reshape(values, tf.concat([[passes, -1], tf.shape(values)[1:]], 0))

  answers = (by_pass(geometry.heatmap_to_network(decoded.points_px, stride)),
             by_pass(decoded.peak),
             by_pass(decoded.covariance_px2 * stride**2),
             by_pass(decoded.entropy_nats),
             by_pass(stride * expected_radius_px(decoded.density, decoded.points_px)))
  return answers, tf.reduce_sum(by_pass(decoded.density), 0)


def _gather(num: int, chunk: int, output_of: Callable, cfg: NetworkConfig,
            back_from: Callable = lambda _: lambda decoded: decoded) -> Samples:
  """Runs `num` passes, `chunk` at a time and one after the other, into `Samples`.

  Args:
    num: passes in all, a multiple of `chunk`.
    chunk: passes per call of `output_of`.
    output_of: number of the chunk -> output [chunk * B, h, w, L].
    cfg: of the network.
    back_from: number of the chunk -> what brings its `heatmaps.Decoded` to the network image.
  """
  answers, total = _chunk(output_of(0), chunk, cfg, back_from(0))

  def step(index, answers, total):
    more, density = _chunk(output_of(index), chunk, cfg, back_from(index))
    answers = tuple(tf.concat(pair, 0) for pair in zip(answers, more, strict=True))
    return index + 1, answers, total + density

  if num > chunk:
    # A loop, not unrolled: unrolled passes would run at once and hold all heatmaps.
    shapes = (tf.TensorShape([]), tuple(tf.TensorShape([None]) + value.shape[1:] for value in answers),
              total.shape)
    _, answers, total = tf.while_loop(
        lambda index, *_: index < num // chunk, step, (1, answers, total), shapes,
        parallel_iterations=1)
  mean = total / num
  return Samples(*answers, heatmaps.density_peak(mean, cfg.heatmap), heatmaps.entropy_nats(mean), mean)


def _told(output: tf.Tensor, prior: tf.Tensor | None) -> tf.Tensor:
  """Logits [n * B, h, w, L] of n networks that were told others [B, h, w, L] before."""
  if prior is None:
    return output
  return output + tf.tile(prior, [tf.shape(output)[0] // tf.shape(prior)[0], 1, 1, 1])


def one(network: unet.Network, features: list[tf.Tensor], cfg: NetworkConfig,
        prior: tf.Tensor | None = None) -> Samples:
  """The network alone, without noise, on what its trunk made of the images: S = 1."""
  def output_of(_):
    return _told(network.head([*features, *unet.no_noise(cfg.model)], training=False), prior)
  return _gather(1, 1, output_of, cfg)


def passes(network: unet.Network, features: list[tf.Tensor], cfg: NetworkConfig, num: int, chunk: int,
           seed: tf.Tensor, prior: tf.Tensor | None = None) -> Samples:
  """`num` networks, one row of noise each: MC dropout (Gal & Ghahramani, ICML 2016), kernels drawn
  from their posterior (Blundell et al., ICML 2015), or the members of one network (Turkoglu et al.,
  NeurIPS 2022).

  What comes before the first noise is computed once. A chunk of passes goes through
  the rest as one batch.
  """
  batch = tf.shape(features[0])[0]
  noise = unet.draw_noise(seed, num, cfg.model)
  tiled = [tf.tile(value, [chunk] + [1] * (value.shape.rank - 1)) for value in features]

  def output_of(index):
    rows = [tf.repeat(kind[index * chunk:(index + 1) * chunk], batch, axis=0) for kind in noise]
    return _told(network.head([*tiled, *rows], training=False), prior)

  return _gather(num, chunk, output_of, cfg)


def views(network: unet.Network, seen: list[tf.Tensor], cfg: NetworkConfig, sampler: SamplerConfig,
          seed: tf.Tensor, prior: tf.Tensor | None = None) -> Samples:
  """Test-time augmentation: the network behind each view, with noise of its own if it takes any."""
  images, *rest = seen
  found = viewing.matrices(sampler, cfg.seen)
  of_heatmaps = tf.constant(viewing.of_heatmaps(found, cfg.model.stem_stride))
  found, noise = tf.constant(found), unet.draw_noise(seed, sampler.num_samples, cfg.model)

  def output_of(index):
    rows = [tf.repeat(kind[index:index + 1], tf.shape(images)[0], axis=0) for kind in noise]
    output = unet.run(network, [viewing.seen(images, found[index]), *rest], rows, training=False)
    return _told(output, None if prior is None else viewing.seen(prior, of_heatmaps[index]))

  return _gather(sampler.num_samples, 1, output_of, cfg,
                 lambda index: lambda decoded: viewing.back(decoded, of_heatmaps[index]))


def members(networks: Sequence[unet.Network], seen: list[tf.Tensor], features: list[tf.Tensor],
            cfg: NetworkConfig, prior: tf.Tensor | None = None) -> Samples:
  """A deep ensemble (Lakshminarayanan et al., NeurIPS 2017): S = number of networks."""
  outputs = [networks[0].head([*features, *unet.no_noise(cfg.model)], training=False)]
  for network in networks[1:]:
    # One member after the other, or all their activations are in memory at once.
    with tf.control_dependencies(outputs[-1:]):
      one_by_one = [tf.identity(value) for value in seen]
      outputs.append(unet.run(network, one_by_one, unet.no_noise(cfg.model), training=False))
  stacked = _told(tf.concat(outputs, 0), prior)
  return _gather(len(networks), len(networks), lambda _: stacked, cfg)


def largest_chunk(num: int, limit: int) -> int:
  """The largest divisor of `num` that is at most `limit`."""
  return max(size for size in range(1, max(min(num, limit), 1) + 1) if num % size == 0)


def draw(networks: Sequence[unet.Network], seen: list[tf.Tensor], cfg: NetworkConfig,
         sampler: SamplerConfig, seed: tf.Tensor, features: list[tf.Tensor] | None = None,
         prior: tf.Tensor | None = None) -> Samples:
  """Asks the sampler's networks about a batch of network images, or of crops.

  Args:
    networks: the trained networks, one unless `sampler.kind` is `members`.
    seen: what they see, [images [B, H, W, 1]]; of crops [images, landmarks [B, 1]].
    cfg: of the networks, all alike.
    sampler: which sampler, how many samples.
    seed: int32 [2], of the noise.
    features: what the first network's trunk made of the images, if that is known already.
    prior: float32 [B, h, w, L], logits that are added to those of every network.

  Returns:
    `Samples` in pixels of what they see.

  Raises:
    ValueError: the number of networks does not fit the sampler, `passes` is asked of a network
      without noise, or another number of passes than the network has members.
  """
  wanted = sampler.num_samples if sampler.kind == 'members' else 1
  if len(networks) != wanted:
    raise ValueError(f'sampler.kind={sampler.kind} needs {wanted} networks, got {len(networks)}')
  if sampler.kind == 'views':  # of other images than the trunk was asked about
    return views(networks[0], seen, cfg, sampler, seed, prior)
  if features is None:
    features = unet.features(networks[0], seen)
  if sampler.kind == 'members':
    return members(networks, seen, features, cfg, prior)
  if sampler.kind == 'one':
    return one(networks[0], features, cfg, prior)
  if not unet.noise_inputs(cfg.model):
    raise ValueError('sampler.kind=passes needs a network with noise: set model.dropout_rate > 0 '
                     'and model.dropout_at, or model.variational_at, or model.members')
  if cfg.model.members not in (0, sampler.num_samples):
    raise ValueError(f'sampler.num_samples={sampler.num_samples}: the network has '
                     f'{cfg.model.members} members')
  # A batch has one draw of the kernels, so passes that differ by their kernels are no batch.
  chunk = 1 if cfg.model.variational_at else largest_chunk(sampler.num_samples, sampler.chunk)
  return passes(networks[0], features, cfg, sampler.num_samples, chunk, seed, prior)
