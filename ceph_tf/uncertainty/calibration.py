"""Quantile binning: from an uncertainty to a bin and an error bound; numpy and scipy.

Schobs, Swift & Lu, "Uncertainty Estimation for Heatmap-Based Landmark
Localization", IEEE TMI 42(4) (2023), 1021-1034. Everything is for one landmark.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize


class QuantileBins(NamedTuple):
  """What `quantile_bins` found, for Q bins, the most certain one first.

  Attributes:
    thresholds: [Q - 1], uncertainties between the bins, not decreasing.
    bounds: [Q - 1], estimated errors at the thresholds, not decreasing.
    bins: int [M], 0 (most certain) to Q - 1 for each test point; -1 where its
      uncertainty is NaN.
    jaccard: [Q], of the test points of a bin and those of the same quantile bin of
      the test errors; NaN if both are empty.
    bound_accuracy: [Q], fraction of a bin's errors with lower < error <= upper; NaN
      if the bin has no known error.
  """

  thresholds: np.ndarray
  bounds: np.ndarray
  bins: np.ndarray
  jaccard: np.ndarray
  bound_accuracy: np.ndarray


def _pairs(u: np.ndarray, error: np.ndarray, split: str) -> tuple[np.ndarray, np.ndarray]:
  u, error = np.asarray(u, np.float64), np.asarray(error, np.float64)
  if u.ndim != 1 or u.shape != error.shape:
    raise ValueError(f'u_{split} {u.shape} and error_{split} {error.shape}: both must be [N], '
                     f'for one landmark')
  for name, values in (('u', u), ('error', error)):
    if np.isinf(values).any() and (split == 'valid' or name == 'error'):
      raise ValueError(f'{name}_{split}[{np.isinf(values).argmax()}] is infinite: allowed are '
                       f'finite numbers, and NaN for missing')
  return u, error


def isotonic(u: np.ndarray, error: np.ndarray, at: np.ndarray) -> np.ndarray:
  """Least-squares increasing fit of `error` on `u`, linear between, constant outside.

  Points of equal `u` count as one with their mean error, weighted by their number.

  Args:
    u: [N], finite.
    error: [N], finite.
    at: [K], where the fit is wanted.

  Returns:
    [K].
  """
  knots, inverse, counts = np.unique(u, return_inverse=True, return_counts=True)
  means = np.bincount(inverse, error) / counts
  return np.interp(at, knots, optimize.isotonic_regression(means, weights=counts).x)


def assign(u: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
  """The first bin k with u <= thresholds[k], the last bin otherwise; -1 for NaN."""
  u = np.asarray(u, np.float64)
  return np.where(np.isnan(u), -1, np.searchsorted(thresholds, u, side='left'))


def _jaccard(bins: np.ndarray, error: np.ndarray, num_bins: int) -> np.ndarray:
  known = np.isfinite(error) & (bins >= 0)
  if not known.any():
    return np.full(num_bins, np.nan)
  bins, error = bins[known], error[known]
  by_error = assign(error, np.quantile(error, np.arange(1, num_bins) / num_bins))
  k = np.arange(num_bins)[:, None]
  both, either = ((bins == k) & (by_error == k)).sum(1), ((bins == k) | (by_error == k)).sum(1)
  return np.where(either > 0, both / np.maximum(either, 1), np.nan)


def _bound_accuracy(bins: np.ndarray, error: np.ndarray, bounds: np.ndarray) -> np.ndarray:
  edges = np.concatenate([[0.0], bounds, [np.inf]])
  k = np.arange(len(bounds) + 1)[:, None]
  inside = (bins == k) & (edges[k] < error) & (error <= edges[k + 1])
  size = ((bins == k) & np.isfinite(error)).sum(1)
  return np.where(size > 0, inside.sum(1) / np.maximum(size, 1), np.nan)


def quantile_bins(
    u_valid: np.ndarray,
    error_valid: np.ndarray,
    u_test: np.ndarray,
    error_test: np.ndarray,
    num_bins: int,
) -> QuantileBins:
  """Bins test points by thresholds, with error bounds, both from validation points.

  With constant validation uncertainties all thresholds coincide: the bins between
  are empty, and the only bound is the mean validation error.

  Args:
    u_valid: [N] uncertainties of one landmark, larger is worse. For a confidence
      see `confidence_to_uncertainty`.
    error_valid: [N] errors. Pairs with a NaN are left out.
    u_test: [M] uncertainties.
    error_test: [M] errors, all NaN for a set without labels.
    num_bins: Q, 2 or more.

  Raises:
    ValueError: shapes that differ, infinite values, fewer than 2 bins, no
      validation pair at all.
  """
  if num_bins != int(num_bins) or num_bins < 2:
    raise ValueError(f'num_bins={num_bins!r}: allowed is a whole number >= 2')
  u_valid, error_valid = _pairs(u_valid, error_valid, 'valid')
  u_test, error_test = _pairs(u_test, error_test, 'test')
  known = ~np.isnan(u_valid) & ~np.isnan(error_valid)
  if not known.any():
    raise ValueError(f'none of the {known.size} validation points has an uncertainty and an error: '
                     f'thresholds need at least one')
  u_valid, error_valid = u_valid[known], error_valid[known]
  thresholds = np.quantile(u_valid, np.arange(1, num_bins) / num_bins)
  bounds = isotonic(u_valid, error_valid, thresholds)
  bins = assign(u_test, thresholds)
  return QuantileBins(thresholds, bounds, bins, _jaccard(bins, error_test, num_bins),
                      _bound_accuracy(bins, error_test, bounds))


def confidence_to_uncertainty(c: np.ndarray) -> np.ndarray:
  """1 / c + 1e-13, negatives first replaced by the smallest positive confidence.

  The inversion of Schobs et al. for confidences such as the maximum heatmap
  activation. A confidence of exactly 0 becomes infinity.

  Args:
    c: [N] of one landmark in one split, or [N, L]: each column by itself. NaN stays.

  Returns:
    Like `c`, float64: larger is worse.

  Raises:
    ValueError: a column with numbers but none above zero.
  """
  c = np.asarray(c, np.float64)
  smallest = np.min(np.where(c > 0, c, np.inf), axis=0, initial=np.inf)
  hopeless = np.isinf(smallest) & ~np.isnan(c).all(axis=0)
  if hopeless.any():
    raise ValueError(f'no confidence above zero in column {np.argmax(hopeless)}, largest '
                     f'{np.nanmax(c[..., hopeless] if c.ndim > 1 else c):g}: at least one must be '
                     f'positive')
  with np.errstate(divide='ignore'):
    return 1 / np.where(c < 0, smallest, c) + 1e-13
