"""Losses of heatmaps and of a gaussian head; missing landmarks weigh nothing."""

import tensorflow as tf

from ceph_tf.config import HeatmapConfig, NetworkConfig
from ceph_tf.models import heatmaps, spread


def _mean_over_known(per_landmark: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
  weight = tf.cast(known, tf.float32)
  return tf.reduce_sum(per_landmark * weight) / tf.maximum(tf.reduce_sum(weight), 1.0)


def _softmax_cross_entropy(output: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
  """[B, L] of logits with densities, both [B, h, w, L]."""
  # sum(target) = 1, so -sum(target * log_softmax) = logsumexp - sum(target * logits).
  return tf.reduce_logsumexp(output, [1, 2]) - tf.reduce_sum(target * output, [1, 2])


def cross_entropy(output: tf.Tensor, points_px: tf.Tensor, cfg: HeatmapConfig) -> tf.Tensor:
  """Cross-entropy of a softmax over all pixels with a Gaussian around the landmark.

  Args:
    output: float32 [B, h, w, L] logits.
    points_px: float32 [B, L, 2] in heatmap pixels; NaN: not counted; outside: as `cfg` says.
    cfg: width of the Gaussian; with `outside='uniform'` the target of a landmark that is
      not in the heatmap is the same everywhere.

  Returns:
    Scalar, nats per counted landmark.
  """
  _, height, width, _ = output.shape
  counted = inside = heatmaps.inside(points_px, (height, width))
  target = heatmaps.render(points_px, (height, width), cfg.target_sigma_px)
  target /= tf.reduce_sum(target, [1, 2], keepdims=True) + 1e-12
  if cfg.outside == 'uniform':
    counted = tf.reduce_all(tf.math.is_finite(points_px), -1)
    target = tf.where(inside[:, None, None], target, 1.0 / (height * width))
  return _mean_over_known(_softmax_cross_entropy(output, target), counted)


def distillation(output: tf.Tensor, taught: tf.Tensor) -> tf.Tensor:
  """Cross-entropy of a softmax over all pixels with what other networks believe.

  Of an ensemble's mean heatmap its minimum is that heatmap: one network that doubts where the members
  disagree (Hinton, Vinyals & Dean, "Distilling the knowledge in a neural network", arXiv 1503.02531). What
  they say of a landmark without a truth counts, too.

  Args:
    output: float32 [B, h, w, L] logits.
    taught: float32 [B, h, w, L], densities.

  Returns:
    Scalar, nats per landmark.
  """
  return tf.reduce_mean(_softmax_cross_entropy(output, taught))


def mse(output: tf.Tensor, points_px: tf.Tensor, cfg: HeatmapConfig) -> tf.Tensor:
  """Mean squared error with a Gaussian of height `amplitude` (Drevicky & Kodym 2020).

  Arguments as for `cross_entropy`; landmarks outside are not counted. Scalar, squared amplitude.
  """
  _, height, width, _ = output.shape
  target = cfg.amplitude * heatmaps.render(points_px, (height, width), cfg.target_sigma_px)
  loss = tf.reduce_mean(tf.math.squared_difference(output, target), [1, 2])
  return _mean_over_known(loss, heatmaps.inside(points_px, (height, width)))


LOSSES = {'cross_entropy': cross_entropy, 'mse': mse}


def nll(activation: tf.Tensor, numbers: tf.Tensor, points_px: tf.Tensor, cfg: NetworkConfig) -> tf.Tensor:
  """Beta-NLL of landmarks under the normal distributions of a gaussian head.

  The heatmap is taken as it is: where a landmark lies is taught by the loss of heatmaps alone, or
  accuracy would be traded for likelihood (see `ModelConfig.spread_gradient` for the features).

  Args:
    activation, numbers: see `spread.split`.
    points_px: float32 [B, L, 2] in heatmap pixels; NaN or outside: not counted.
    cfg: how points are read from heatmaps; `train.nll_beta`.

  Returns:
    Scalar, per known landmark.
  """
  activation = tf.stop_gradient(activation)
  density = heatmaps.to_density(activation, cfg.train.loss)
  distribution = spread.normal(
      heatmaps.locate(activation, density, cfg.train.loss, cfg.heatmap),
      spread.scale_tril(numbers, density))
  known = heatmaps.inside(points_px, activation.shape[1:3])
  return _mean_over_known(spread.beta_nll(distribution, points_px, known, cfg.train.nll_beta), known)


def of_output(output: tf.Tensor, points_px: tf.Tensor, cfg: NetworkConfig) -> tf.Tensor:
  """What training minimizes: the loss of the heatmaps, and the likelihood of a gaussian head."""
  activation, numbers = spread.split(output, cfg.model.head)
  loss = LOSSES[cfg.train.loss](activation, points_px, cfg.heatmap)
  if numbers is None:
    return loss
  return loss + cfg.train.nll_weight * nll(activation, numbers, points_px, cfg)
