"""The gaussian head: beside each heatmap a full covariance of the landmark, learnt from errors.

A heatmap's own covariance is that of the target it was trained to draw. Here each landmark has
besides a normal distribution whose mean is the point read from the heatmap and whose scale is
regressed, as in LUVLi (Kumar et al., CVPR 2020): three numbers per pixel, averaged over the pixels
with the heatmap as their weight. It is trained by the beta-NLL (Seitzer et al., ICLR 2022). Points
and scales are in pixels of the heatmap.
"""

import math

import tensorflow as tf
import tensorflow_probability as tfp

NUMBERS = 3  # per landmark: log l11, l21 / l22, log l22 of the lower triangular scale
START_PX = 10.0  # l11 and l22 where the numbers are 0: about what an untrained network misses by
LARGEST_PX = 100.0  # of l11 and l22, and its inverse the smallest: no density is infinite
FAR = 3.0  # standard deviations


def channels(head: str) -> int:
  """Channels of the output per landmark."""
  return 1 + NUMBERS if head == 'gaussian' else 1


def split(output: tf.Tensor, head: str) -> tuple[tf.Tensor, tf.Tensor | None]:
  """The two parts of a network's output.

  Args:
    output: [B, h, w, L] or, of a gaussian head, [B, h, w, L + 3 L].
    head: `ModelConfig.head`.

  Returns:
    Heatmaps [B, h, w, L], and the numbers behind the scale [B, h, w, 3 L]: the first of `NUMBERS` of
    all landmarks, then the second, then the third; None without a gaussian head.
  """
  if head != 'gaussian':
    return output, None
  landmarks = output.shape[-1] // channels(head)
  return output[..., :landmarks], output[..., landmarks:]


def scale_tril(numbers: tf.Tensor, density: tf.Tensor) -> tf.Tensor:
  """Numbers [B, h, w, 3 L], pooled by densities [B, h, w, L], as lower triangular [B, L, 2, 2].

  Logarithms, because scales fall from dozens of pixels to a tenth of one while a network learns.
  They are clipped, so that nothing overflows on an X-ray like none before, but their gradient is
  not: a landmark that is driven to a bound comes back. l21 is relative to l22, so that the
  correlation stays while scales change. No gradient reaches the density: a heatmap must not move to
  where the numbers are convenient.
  """
  _, height, width, landmarks = density.shape
  numbers = tf.reshape(numbers, [-1, height, width, NUMBERS, landmarks])
  pooled = tf.reduce_sum(numbers * tf.stop_gradient(density)[:, :, :, None], [1, 2])
  log_l11, ratio, log_l22 = tf.unstack(pooled, axis=1)
  l11, l22 = tf.exp(_clipped(log_l11)), tf.exp(_clipped(log_l22))
  return tf.stack([tf.stack([l11, tf.zeros_like(l11)], -1), tf.stack([ratio * l22, l22], -1)], -2)


def _clipped(log: tf.Tensor) -> tf.Tensor:
  log, bound = log + math.log(START_PX), math.log(LARGEST_PX)
  return tf.stop_gradient(tf.clip_by_value(log, -bound, bound)) + (log - tf.stop_gradient(log))


def normal(points_px: tf.Tensor, scale: tf.Tensor) -> tfp.distributions.MultivariateNormalTriL:
  """The distribution of landmarks: mean [B, L, 2], scale [B, L, 2, 2]."""
  return tfp.distributions.MultivariateNormalTriL(loc=points_px, scale_tril=scale)


def beta_nll(distribution: tfp.distributions.MultivariateNormalTriL, truth_px: tf.Tensor,
             known: tf.Tensor, beta: float) -> tf.Tensor:
  """Negative log-likelihood of each truth times its variance to the power of beta.

  The weight is l11 l22 to the power of beta, a constant to the gradient. With 0 it is the plain
  likelihood, and all landmarks have an equal say: its gradient by log l is 1 - z^2. The more beta,
  the more the uncertain ones have.

  A truth more than `FAR` standard deviations away counts as if it were `FAR` away, in its direction:
  an untrained network misses by dozens of its pixels, and the squares of these would make Adam
  deaf to all that comes later. Below, where a normal distribution has 98.9 % of its mass, this is
  the exact likelihood.

  Args:
    distribution: of L landmarks of B images.
    truth_px: [B, L, 2].
    known: bool [B, L]; what is not may be NaN, and has neither value nor gradient.
    beta: 0 to 1.

  Returns:
    [B, L] nats (times px^(2 beta)), 0 where not known.
  """
  mean = distribution.mean()
  away = tf.where(known[..., None], truth_px - mean, 0.0)
  squared = 2.0 * (distribution.log_prob(mean) - distribution.log_prob(mean + away))
  nearer = tf.minimum(1.0, FAR * tf.math.rsqrt(tf.maximum(squared, 1e-12)))
  nll = -distribution.log_prob(mean + tf.stop_gradient(nearer)[..., None] * away)
  area = tf.reduce_prod(tf.linalg.diag_part(distribution.scale_tril), -1)
  return tf.where(known, tf.stop_gradient(area) ** beta * nll, 0.0)
