"""Selective prediction: what remains when the most uncertain predictions are referred.

A unit is what is referred: a point, or a whole image. Units of equal uncertainty
are never told apart: areas are their expectation over all orders, and a referral
keeps them together, so that no figure depends on the order of the images.

The area under the risk-coverage curve (AURC; Geifman & El-Yaniv, NeurIPS 2017) is the
mean over k of the mean error of the k most certain units. AUGRC (Traub et al.,
NeurIPS 2024) replaces that mean by the sum over all n units divided by n, which does
not overweight the first few: mean error and ranking alone decide it.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from ceph_tf.evaluation import metrics
from ceph_tf.uncertainty import ranking

GROSS_MM = (2.0, 4.0)
REFERRED = (0.0, 0.05, 0.1, 0.2, 0.3)
_TINY = 1e-9  # 0.3 * 10 is just below 3


class _Units(NamedTuple):
  """n units with an error, the most certain first; groups of equal uncertainty."""

  starts: np.ndarray  # [G] first unit of each group
  image: np.ndarray  # [n] number of the image
  patient: np.ndarray  # [n] number of the patient
  risk: np.ndarray  # [n] mean error of the unit's points
  worst: np.ndarray  # [n] largest error of the unit's points
  sums: np.ndarray  # [n, 2 + SDRs] points, their errors' sum, detected at each radius
  patients: int


def _units(uncertainty: np.ndarray, error_mm: np.ndarray, patient_ids: list[str]) -> _Units:
  uncertainty, error = np.asarray(uncertainty, np.float64), np.asarray(error_mm, np.float64)
  if error.ndim != 2 or uncertainty.shape not in (error.shape, error.shape[:1]):
    raise ValueError(f'uncertainty {uncertainty.shape} and error {error.shape}: must be [N, L] and '
                     f'[N, L] to refer points, or [N] and [N, L] to refer images')
  if len(patient_ids) != len(error):
    raise ValueError(f'{len(patient_ids)} patient ids for {len(error)} images')
  patient = np.asarray(patient_ids, dtype=str)
  image = np.arange(len(error))
  if uncertainty.ndim == 2:
    image, error = np.repeat(image, error.shape[1]), error.reshape(-1, 1)
  uncertainty = uncertainty.ravel()
  known = ~np.isnan(uncertainty) & np.isfinite(error).any(1)
  if not known.any():
    raise ValueError('no unit has both an uncertainty and an error: selective prediction is judged '
                     'on labelled images only')
  order = np.flatnonzero(known)[np.argsort(uncertainty[known], kind='stable')]
  uncertainty, error = uncertainty[order], error[order]
  seen = np.isfinite(error)
  detected = [(error <= t + metrics.TOLERANCE_MM).sum(1) for t in metrics.SDR_MM]
  sums = np.stack([seen.sum(1), np.where(seen, error, 0).sum(1), *detected], 1).astype(np.float64)
  image = image[order]
  names, patient = np.unique(patient[image], return_inverse=True)
  starts = np.flatnonzero(np.concatenate([[True], uncertainty[1:] != uncertainty[:-1]]))
  return _Units(starts, image, patient, sums[:, 1] / sums[:, 0], np.where(seen, error, -np.inf).max(1),
                sums, len(names))


def _areas(units: _Units, weights: np.ndarray) -> dict[str, float]:
  """AURC and AUGRC of units counted `weights` [n] times each."""
  size, total = (np.add.reduceat(values, units.starts) for values in (weights, weights * units.risk))
  n = size.sum()
  before, sum_before = np.cumsum(size) - size, np.cumsum(total) - total
  mean = total / np.maximum(size, 1)
  # sum over i = 1..size of (sum_before + i * mean) / (before + i), by digamma.
  harmonic = special.digamma(before + size + 1) - special.digamma(before + 1)
  aurc = (size * mean + (sum_before - before * mean) * harmonic).sum() / n
  # Trapezoids under the sum of the accepted risks / n, from no unit to all.
  augrc = (total * (n - before - size / 2)).sum() / n**2
  return {'aurc_mm': float(aurc), 'augrc_mm': float(augrc)}


def _gross(units: _Units, weights: np.ndarray, threshold: float) -> dict[str, float]:
  wrong = weights * (units.worst > threshold + metrics.TOLERANCE_MM)
  tp = np.cumsum(np.add.reduceat(wrong, units.starts)[::-1])
  fp = np.cumsum(np.add.reduceat(weights - wrong, units.starts)[::-1])
  name = f'{threshold:g}mm'
  return {f'auroc_{name}': ranking.auroc(tp, fp), f'aupr_{name}': ranking.aupr(tp, fp),
          f'fpr95_{name}': ranking.fpr_at_tpr(tp, fp)}


def _referral(units: _Units, weights: np.ndarray, size: np.ndarray, fraction: float) -> dict:
  n = size.sum()
  keep = n - np.floor(fraction * n + _TINY)
  groups = int((np.cumsum(size) - size < keep).sum())
  end = units.starts[groups] if groups < len(units.starts) else len(weights)
  points, total, *detected = weights[:end] @ units.sums[:end]
  prefix = f'refer_{100 * fraction:g}pct'
  row = {'referred': 1 - size[:groups].sum() / n, 'mre_mm': total / points}
  row |= {metrics.sdr_key(t): d / points for t, d in zip(metrics.SDR_MM, detected, strict=True)}
  row['worst_mm'] = units.worst[:end][weights[:end] > 0].max()
  return {f'{prefix}_{key}': float(value) for key, value in row.items()}


def _figures(
    units: _Units, weights: np.ndarray, gross_mm: tuple[float, ...]
) -> dict[str, float]:
  """All figures of units counted `weights` [n] times each."""
  size = np.add.reduceat(weights, units.starts)
  table = _areas(units, weights)
  for threshold in gross_mm:
    table |= _gross(units, weights, threshold)
  for fraction in REFERRED:
    table |= _referral(units, weights, size, fraction)
  return table


def risk_coverage(
    uncertainty: np.ndarray, error_mm: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The risk-coverage curve, one point per distinct uncertainty.

  Args:
    uncertainty: [N, L] to refer points, or [N] to refer images; larger is worse.
    error_mm: [N, L], NaN where missing.

  Returns:
    coverage [G], the fraction of units kept; risk [G], their mean error;
    generalised risk [G], their sum of errors over all units.

  Raises:
    ValueError: shapes that do not fit, no unit with an uncertainty and an error.
  """
  units = _units(uncertainty, error_mm, [''] * len(error_mm))
  n = len(units.risk)
  kept = np.append(units.starts[1:], n)
  total = np.cumsum(units.risk)[kept - 1]
  return kept / n, total / kept, total / n


def aurc_mm(uncertainty: np.ndarray, error_mm: np.ndarray, times: np.ndarray) -> np.ndarray:
  """AURC of points, of resamples of images.

  Args:
    uncertainty, error_mm: [N, L]; points where either is NaN are left out.
    times: [R, N], how often each image counts.

  Returns:
    float64 [R].

  Raises:
    ValueError: shapes that do not fit, no point with an uncertainty and an error.
  """
  units = _units(uncertainty, error_mm, [''] * len(error_mm))
  weights = np.asarray(times, np.float64)[:, units.image]
  return np.array([_areas(units, row)['aurc_mm'] for row in weights])


def evaluate(
    uncertainty: np.ndarray,
    error_mm: np.ndarray,
    patient_ids: list[str],
    rng: np.random.Generator,
    resamples: int = 1000,
    level: float = 0.95,
    gross_mm: tuple[float, ...] = GROSS_MM,
) -> dict:
  """All figures of selective prediction, with bootstrap intervals over patients.

  Args:
    uncertainty: [N, L] to refer points, or [N] to refer images; larger is worse.
      Units where it is NaN are left out.
    error_mm: [N, L], NaN where missing.
    patient_ids: N names; equal names are one patient, drawn as a whole.
    rng: the only source of randomness.
    resamples: how many.
    level: coverage of the intervals.
    gross_mm: errors above these are to be found; 2 and 4 in the keys below.

  Returns:
    `units`, `points`, `patients`, `gross_units` {'2mm': n, '4mm': n}, `figures` and, with
    the same keys, `intervals` of (low, high). The keys: `aurc_mm`, `augrc_mm`;
    `auroc_*mm`, `aupr_*mm`, `fpr95_*mm` of finding units with an error above 2 and 4 mm
    (for images: with any such point), NaN if all or none are; and
    `refer_{0,5,10,20,30}pct_` + `referred` (the fraction really referred: less where
    equal uncertainties would be split), `mre_mm`, `sdr_*mm`, `worst_mm` of the points that
    remain. Intervals are NaN with fewer than two patients.

  Raises:
    ValueError: shapes that do not fit, no unit with an uncertainty and an error.
  """
  units = _units(uncertainty, error_mm, list(patient_ids))
  figures = _figures(units, np.ones(len(units.risk)), gross_mm)
  intervals = dict.fromkeys(figures, (np.nan, np.nan))
  if units.patients > 1:
    p = np.full(units.patients, 1 / units.patients)
    drawn = [_figures(units, times[units.patient].astype(np.float64), gross_mm)
             for times in rng.multinomial(units.patients, p, size=resamples)]
    for key in figures:
      values = np.array([row[key] for row in drawn])
      intervals[key] = metrics.percentile_interval(values[~np.isnan(values)], level)
  return {
      'units': len(units.risk),
      'points': int(units.sums[:, 0].sum()),
      'patients': units.patients,
      'gross_units': {f'{t:g}mm': int((units.worst > t + metrics.TOLERANCE_MM).sum())
                      for t in gross_mm},
      'figures': figures,
      'intervals': intervals,
  }
