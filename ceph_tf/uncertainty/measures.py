"""Measures of uncertainty: pure functions of `Samples`, one number per landmark.

Lengths are in the pixels of the samples' points: source pixels once
`Samples.to_source` was applied; times the spacing they are millimetres.
A new measure is one function and one line in `MEASURES`.
"""

import tensorflow as tf

from ceph_tf.uncertainty.samplers import Samples


def mean_points_px(samples: Samples) -> tf.Tensor:
  """The prediction, float32 [B, L, 2]: the mean of the samples."""
  return tf.reduce_mean(samples.points_px, 0)


def mha(samples: Samples) -> tf.Tensor:
  """Maximum heatmap activation, mean over the samples: [B, L], a confidence.

  Relative to the maximum of the training target, so that a heatmap as sharp as
  its target scores 1 (Drevicky & Kodym, BIOIMAGING 2020).
  """
  return tf.reduce_mean(samples.peak, 0)


def spread_px(samples: Samples) -> tf.Tensor:
  """Mean distance of the samples to their mean: [B, L] pixels.

  The prediction variance of Drevicky & Kodym, BIOIMAGING 2020. Zero for one sample.
  """
  from_mean = samples.points_px - mean_points_px(samples)[None]
  return tf.reduce_mean(tf.norm(from_mean, axis=-1), 0)


def epistemic_covariance_px2(samples: Samples) -> tf.Tensor:
  """Covariance of the samples' points: [B, L, 2, 2] pixels^2. Zero for one sample."""
  from_mean = samples.points_px - mean_points_px(samples)[None]
  return tf.einsum('sbli,sblj->blij', from_mean, from_mean) / tf.cast(tf.shape(from_mean)[0], tf.float32)


def aleatoric_covariance_px2(samples: Samples) -> tf.Tensor:
  """Mean of what each sample says itself, by its heatmap or its gaussian head: [B, L, 2, 2] pixels^2."""
  return tf.reduce_mean(samples.covariance_px2, 0)


def total_covariance_px2(samples: Samples) -> tf.Tensor:
  """Law of total covariance: that of the samples plus the mean of the heatmaps'."""
  return epistemic_covariance_px2(samples) + aleatoric_covariance_px2(samples)


def total_sd_px(samples: Samples) -> tf.Tensor:
  """Square root of the trace of the total covariance: [B, L] pixels."""
  covariance = total_covariance_px2(samples)
  return tf.sqrt(covariance[..., 0, 0] + covariance[..., 1, 1])


def e_mha(samples: Samples) -> tf.Tensor:
  """Maximum of the mean heatmap: [B, L], a confidence (E-MHA of Schobs et al., TMI 2023)."""
  return samples.mean_peak


def ere_px(samples: Samples) -> tf.Tensor:
  """Expected radial error of the heatmaps, mean over the samples: [B, L] pixels.

  The mean distance of the heatmap's density to the predicted point (McCouat &
  Voiculescu, CVPR 2022).
  """
  return tf.reduce_mean(samples.expected_radius_px, 0)


def entropy_nats(samples: Samples) -> tf.Tensor:
  """Entropy of the mean heatmap, H[mean]: [B, L] nats."""
  return samples.mean_entropy_nats


def expected_entropy_nats(samples: Samples) -> tf.Tensor:
  """Mean entropy of the heatmaps, E[H]: [B, L] nats; what each sample doubts by itself."""
  return tf.reduce_mean(samples.entropy_nats, 0)


def mutual_information_nats(samples: Samples) -> tf.Tensor:
  """H[mean] - E[H]: [B, L] nats; what the samples disagree about. Zero for one sample."""
  return entropy_nats(samples) - expected_entropy_nats(samples)


# `spread_px` is also the E-CPV of Schobs et al.: mean distance of members to their mean.
MEASURES = {
    'mha': mha,
    'spread_px': spread_px,
    'total_sd_px': total_sd_px,
    'e_mha': e_mha,
    'ere_px': ere_px,
    'entropy_nats': entropy_nats,
    'expected_entropy_nats': expected_entropy_nats,
    'mutual_information_nats': mutual_information_nats,
}
CONFIDENCES = frozenset({'mha', 'e_mha'})  # larger is better; all others: larger is worse
