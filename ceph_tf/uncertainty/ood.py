"""Is this image like the training images? Mahalanobis distance of the encoder's features.

Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS
2018, with one class: the features are the pooled activations of the encoder, their
mean and covariance those of the training images and of copies of them. With few images for so many
features the covariance must be shrunk; how much is known in closed form (Ledoit & Wolf, J. Multivariate
Analysis 88, 2004) of images that have nothing to do with each other. Copies have, so it is shrunk less than
is best; p-values, which compare with other images, mean the same.
"""

import typing

import numpy as np
import tensorflow as tf

MINIMUM = 2  # training images


class Density(typing.NamedTuple):
  """What is known of the training images' features.

  Attributes:
    mean: float32 [F].
    scale: float32 [F], standard deviations; features are divided by them first.
    precision: float32 [F, F], inverse of the shrunk covariance of the scaled features.
  """

  mean: np.ndarray
  scale: np.ndarray
  precision: np.ndarray


def shrunk_covariance(x: np.ndarray) -> np.ndarray:
  """Ledoit & Wolf's estimate [F, F] from centred rows [N, F]: between x'x / N and a multiple of 1."""
  n, f = x.shape
  sample = x.T @ x / n
  level = np.trace(sample) / f
  far = np.square(sample).sum() / f - level**2
  noise = min(far, (np.square(np.square(x).sum(1)).sum() / n - np.square(sample).sum()) / (n * f))
  weight = noise / far if far > 0 else 1.0
  return (1 - weight) * sample + weight * level * np.eye(f)


def fit(features: np.ndarray) -> Density:
  """The density of training images.

  Args:
    features: [N, F] of at least 2 images.

  Raises:
    ValueError: too few images, or features that are not finite.
  """
  x = np.asarray(features, np.float64)
  if x.ndim != 2 or len(x) < MINIMUM:
    raise ValueError(f'features {x.shape}: allowed is [N, F] with N >= {MINIMUM}')
  if not np.isfinite(x).all():
    raise ValueError(f'features of image {int(np.argmin(np.isfinite(x).all(1)))} are not finite')
  mean, scale = x.mean(0), x.std(0)
  scale = np.where(scale > 1e-6 * max(scale.max(), 1e-12), scale, max(scale.max(), 1.0))
  covariance = shrunk_covariance((x - mean) / scale)
  floor = 1e-6 * max(np.trace(covariance) / len(covariance), 1e-6)
  precision = np.linalg.inv(covariance + floor * np.eye(len(covariance)))
  return Density(*(value.astype(np.float32) for value in (mean, scale, precision)))


def score(features: tf.Tensor, density: Density) -> tf.Tensor:
  """Mahalanobis distances, float32 [B] of features [B, F]; larger is stranger."""
  x = (features - density.mean) / density.scale
  return tf.sqrt(tf.nn.relu(tf.reduce_sum(tf.matmul(x, density.precision) * x, -1)))
