"""One temperature per landmark: heatmaps as densities that are neither too sharp nor too wide.

A heatmap is as wide as training left it, not as wide as its errors. Its density to the power of
1 / T, normalised again, is wider for T > 1; for one network that is the softmax with its logits
divided by T (Guo et al., ICML 2017). T minimizes the negative log-likelihood of the true positions
on images that were not trained on. Where these are few, a landmark's T is held near the T that fits all
landmarks together, of which far more is known. Order and so shape of all
highest-density regions stay, their mass changes. A density is per heatmap pixel: its logarithm at a
truth is that of the pixel that holds it. Divided by the pixel's area in mm2 it compares between networks
and X-rays.
"""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from scipy import optimize, special

from ceph_tf.models import heatmaps
from ceph_tf.uncertainty import highest_density

LIMITS = (1 / 16, 16.0)  # of T: a landmark that was hit by chance on few images has no T of its own
# What is believed of how far ln T of a landmark is from that of all, and that from 0, before any image is
# seen: a standard deviation. 15 images alone overfit a T: left out one by one, validation images of two
# models have a lower likelihood with a T of the others than without, by this prior a higher one (any from
# 0.1 to 0.4 does, and this is the best for views); of hundreds of images it is forgotten.
PRIOR_LOG_SD = 0.25
LEVELS = np.arange(1, 20) / 20  # at which `calibration_error` looks
TINY = np.finfo(np.float32).tiny  # what a softmax in float32 rounds to zero is not impossible


def tempered(density: tf.Tensor, temperatures: np.ndarray | tf.Tensor) -> tf.Tensor:
  """Densities [B, h, w, L] to the power of 1 / T, normalised again.

  Args:
    density: float32, each landmark sums to one.
    temperatures: [L], or what broadcasts to [B, 1, 1, L]. The inverse of a T undoes it, as far as
      nothing became less than a float32 can hold.
  """
  logits = tf.math.log(tf.maximum(density, TINY)) / tf.cast(temperatures, tf.float32)
  return heatmaps.to_density(logits, 'cross_entropy')


def log_at_truth(density: np.ndarray, truth_px: np.ndarray) -> np.ndarray:
  """Logarithm of the density at the truth, nats per heatmap pixel.

  Args:
    density: [..., h, w], each sums to one.
    truth_px: [..., 2], (x, y) in pixels of the heatmap.

  Returns:
    [...], NaN where the truth is missing or outside the heatmap.
  """
  found = highest_density.at(np.asarray(density, np.float64), truth_px)
  return np.where(np.isfinite(found), np.log(np.maximum(found, TINY)), np.nan)


def fit(density: np.ndarray, truth_px: np.ndarray) -> np.ndarray:
  """The temperature of each landmark, a maximum a posteriori around the one of all together.

  Args:
    density: [N, L, h, w] of images that were not trained on.
    truth_px: [N, L, 2] in pixels of the heatmaps, NaN where missing.

  Returns:
    [L] float64 within `LIMITS`; the one of all for a landmark without any truth inside a heatmap, which
    is 1 where there is none at all.

  Raises:
    ValueError: other shapes, or a density that is not finite.
  """
  if density.ndim != 4 or not len(density) or truth_px.shape != (*density.shape[:2], 2):
    raise ValueError(f'density {density.shape}, truth_px {truth_px.shape}: allowed are [N, L, h, w] and '
                     '[N, L, 2] of an image or more')
  if not np.isfinite(density).all():
    raise ValueError('a density is not finite')
  at_truth = log_at_truth(density, truth_px)
  logits = np.log(np.maximum(density, TINY)).reshape(*density.shape[:2], -1)

  def nll(i, inverse):
    """Of landmark i by its 1 / T, in which it is convex: log-partition functions less a linear one."""
    known = np.isfinite(at_truth[:, i])
    partition = special.logsumexp(np.float64(inverse) * logits[known, i], axis=1)
    return (partition - inverse * at_truth[known, i]).sum()

  landmarks = range(density.shape[1])
  common = _most_likely(lambda inverse: sum(nll(i, inverse) for i in landmarks), 1.0)
  return np.array([_most_likely(functools.partial(nll, i), common) for i in landmarks])


def _most_likely(nll: Callable[[float], float], believed: float) -> float:
  """The T that minimizes `nll` of 1 / T and the prior's share, not worse than what is `believed` of it."""
  def cost(inverse):
    return nll(inverse) + np.log(inverse * believed) ** 2 / (2 * PRIOR_LOG_SD**2)

  found = optimize.minimize_scalar(cost, bounds=(1 / LIMITS[1], 1 / LIMITS[0]), method='bounded')
  return float(1 / found.x) if found.fun < cost(1 / believed) else believed


def share_inside(truth_score: np.ndarray, log_at: np.ndarray, levels: np.ndarray = LEVELS) -> np.ndarray:
  """Share [K] of truths inside the highest-density regions of mass `levels` [K].

  The pixel on a region's edge is inside by the part that the region needs of it to have just its
  mass: sharp heatmaps have half of theirs in one pixel. Pixels of just the same density are taken
  for one of them, which matters in made-up heatmaps only.

  Args:
    truth_score: [...] of `highest_density.truth_score`: infinite is outside, NaN takes no part.
    log_at: [...] of `log_at_truth`.
  """
  known = ~np.isnan(truth_score)
  score, mass = truth_score[known], np.exp(np.nan_to_num(log_at[known]))
  inside = np.clip((levels[:, None] - score) / np.maximum(mass, TINY), 0, 1)
  return inside.mean(1) if known.any() else np.full(len(levels), np.nan)


def calibration_error(truth_score: np.ndarray, log_at: np.ndarray, levels: np.ndarray = LEVELS) -> float:
  """Expected calibration error of heatmaps: mean over levels of |share inside - level|.

  0 where of the truths just 5 % lie in regions of mass 0.05, 10 % in those of 0.1 and so on.
  """
  return float(np.abs(share_inside(truth_score, log_at, levels) - levels).mean())
