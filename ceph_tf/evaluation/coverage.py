"""Do regions keep the coverage they state, and are they small where they can be?

Over draws of n calibration scores, the coverage of a split-conformal region is
Beta(k, n + 1 - k) with k = ceil((n + 1) * stated) when scores have no ties (Vovk, ACML
2012); with m test images the number covered is beta-binomial. So a coverage below
the stated one is no fault while it lies in that interval.
"""

import numpy as np
from scipy import stats

from ceph_tf.evaluation import metrics
from ceph_tf.uncertainty import conformal

_ROUNDING = 1e-9


def beta_interval(n: int, stated: float, probability: float = 0.95) -> tuple[float, float]:
  """Central interval of the coverage that calibration images of n patients give, in the long run."""
  k = conformal.rank(n, stated)
  tail = (1 - probability) / 2
  return tuple(float(q) for q in stats.beta.ppf([tail, 1 - tail], k, n + 1 - k))


def counted_interval(
    n: int, m: int, stated: float, probability: float = 0.95
) -> tuple[float, float]:
  """The same for the coverage counted on m test images: wider, and whole multiples of 1 / m."""
  k = conformal.rank(n, stated)
  tail = (1 - probability) / 2
  return tuple(float(q) / m for q in stats.betabinom.ppf([tail, 1 - tail], m, k, n + 1 - k))


def _judged(covered: np.ndarray, calibrated: int, stated: float) -> dict:
  """Coverage of one landmark with its intervals; `covered` [N], NaN where unknown."""
  known = covered[~np.isnan(covered)]
  if not known.size:
    return {'images': 0, 'coverage': np.nan}
  value = float(known.mean())
  interval = counted_interval(calibrated, known.size, stated)
  return {'images': int(known.size), 'coverage': value, 'counted_interval': interval,
          'as_stated': bool(interval[0] - _ROUNDING <= value <= interval[1] + _ROUNDING)}


def terciles(uncertainty: np.ndarray) -> np.ndarray:
  """The third of its landmark's images a point belongs to: int [N, L], 0 the most certain.

  Within landmarks, or the terciles would merely tell easy landmarks from hard ones.
  -1 where the uncertainty is NaN, or constant within the landmark.
  """
  uncertainty = np.asarray(uncertainty, np.float64)
  thirds = np.full(uncertainty.shape, -1)
  for column, out in zip(uncertainty.T, thirds.T, strict=True):
    known = np.isfinite(column)
    if known.any() and np.ptp(column[known]) > 0:
      cuts = np.quantile(column[known], [1 / 3, 2 / 3])
      out[known] = np.searchsorted(cuts, column[known], side='left')
  return thirds


def report(
    covered: np.ndarray,
    area_mm2: np.ndarray,
    error_mm: np.ndarray,
    uncertainty: np.ndarray,
    calibrated: np.ndarray,
    stated: float,
    names: tuple[str, ...],
) -> dict:
  """All figures of one kind of region on a labelled set.

  Args:
    covered: [N, L] of `conformal.inside`.
    area_mm2: [N, L], or what broadcasts to it.
    error_mm: [N, L], NaN where the truth is missing.
    uncertainty: [N, L], only to form terciles.
    calibrated: [L] of `conformal.calibration_sizes`.
    stated: the coverage the regions were calibrated for.
    names: L landmark names.

  Returns:
    `stated`, `images`, `points`, `coverage` of all points; `beta_interval` and
    `counted_interval` for the smallest calibration set among the landmarks, and whether
    the coverage lies in them (`in_beta_interval`, `as_stated`): exact for one
    landmark, wider than needed for the mean of several; `area_mean_mm2`,
    `area_median_mm2`, `radius_mean_mm` (of the circle of equal area); `adaptivity`:
    Spearman of area and error, `pooled` and `within` landmarks (NaN for areas that
    are constant there); `per_landmark` and `per_tercile` coverage and median area.

  Raises:
    ValueError: shapes that differ, or no label at all.
  """
  covered, error_mm = np.asarray(covered, np.float64), np.asarray(error_mm, np.float64)
  uncertainty = np.asarray(uncertainty, np.float64)
  if not covered.shape == error_mm.shape == uncertainty.shape == (len(covered), len(names)):
    raise ValueError(f'covered {covered.shape}, error_mm {error_mm.shape}, uncertainty '
                     f'{uncertainty.shape}: all must be [N, {len(names)}]')
  known = ~np.isnan(covered)
  if not known.any():
    raise ValueError('no point has a label: coverage cannot be counted; for a set without labels '
                     'there is the shift check')
  area = np.where(known, np.broadcast_to(np.asarray(area_mm2, np.float64), covered.shape), np.nan)
  calibrated = np.broadcast_to(calibrated, len(names))
  images = int(known.any(1).sum())
  coverage = float(covered[known].mean())
  smallest = int(min(calibrated))
  beta = beta_interval(smallest, stated)
  counted = counted_interval(smallest, images, stated)
  thirds = terciles(uncertainty)
  ranks = metrics.correlations(area, error_mm)
  return {
      'stated': stated,
      'images': images,
      'points': int(known.sum()),
      'coverage': coverage,
      'beta_interval': beta,
      'in_beta_interval': beta[0] <= coverage <= beta[1],
      'counted_interval': counted,
      'as_stated': counted[0] - _ROUNDING <= coverage <= counted[1] + _ROUNDING,
      'area_mean_mm2': float(np.nanmean(area)),
      'area_median_mm2': float(np.nanmedian(area)),
      'radius_mean_mm': float(np.nanmean(np.sqrt(area / np.pi))),
      'adaptivity': {'pooled': ranks['spearman_pooled'], 'within': ranks['spearman_within']},
      'per_landmark': [
          {'landmark': name, 'calibrated': int(calibrated[i]),
           **_judged(covered[:, i], int(calibrated[i]), stated),
           'area_median_mm2': _median(area[:, i])}
          for i, name in enumerate(names)
      ],
      'per_tercile': [_tercile(name, covered, area, thirds == i)
                      for i, name in enumerate(('certain', 'middle', 'uncertain'))],
  }


def _median(values: np.ndarray) -> float:
  values = values[~np.isnan(values)]
  return float(np.median(values)) if values.size else np.nan


def _tercile(name: str, covered: np.ndarray, area: np.ndarray, chosen: np.ndarray) -> dict:
  chosen = chosen & ~np.isnan(covered)
  return {'tercile': name, 'points': int(chosen.sum()),
          'coverage': float(covered[chosen].mean()) if chosen.any() else np.nan,
          'area_median_mm2': _median(area[chosen])}
