"""Radial errors, detection rates and their bootstrap intervals; pure numpy.

Mean radial error (MRE) and successful detection rate (SDR) are those of the ISBI
2015 challenge: Wang et al., "A benchmark for comparison of dental radiography
analysis algorithms", Medical Image Analysis 31 (2016), 63-76.

A missing landmark, in the truth or the prediction, is NaN and takes part in nothing.
"""

import numpy as np

SDR_MM = (2.0, 2.5, 3.0, 4.0)
# Spacing arrives as float32: 20 px at 0.1 mm would otherwise be just above 2 mm.
TOLERANCE_MM = 1e-4
_CHUNK = 4_000_000  # cells of one block of bootstrap resamples


def radial_error_px(points_px: np.ndarray, truth_px: np.ndarray) -> np.ndarray:
  """Euclidean distance of points, pixels.

  Args:
    points_px: [N, L, 2] predicted points.
    truth_px: [N, L, 2] true points.

  Returns:
    [N, L] float64, NaN where either point is missing.

  Raises:
    ValueError: if the shapes differ or do not end in 2.
  """
  points_px, truth_px = np.asarray(points_px, np.float64), np.asarray(truth_px, np.float64)
  if points_px.shape != truth_px.shape or points_px.ndim != 3 or points_px.shape[-1] != 2:
    raise ValueError(
        f'points {points_px.shape} and truth {truth_px.shape}: both must be [N, L, 2]')
  return np.linalg.norm(points_px - truth_px, axis=-1)


def radial_error_mm(
    points_px: np.ndarray, truth_px: np.ndarray, spacing_mm: np.ndarray
) -> np.ndarray:
  """Euclidean distance of points, millimetres.

  Args:
    points_px: [N, L, 2] predicted points.
    truth_px: [N, L, 2] true points.
    spacing_mm: [N] millimetres per pixel; NaN where unknown.

  Returns:
    [N, L] float64, NaN where a point or the spacing is missing.
  """
  return radial_error_px(points_px, truth_px) * np.asarray(spacing_mm, np.float64)[:, None]


def sdr_key(threshold_mm: float) -> str:
  """The name of a detection rate in tables: 2.5 -> `sdr_2.5mm`."""
  return f'sdr_{threshold_mm:g}mm'


def summarize(error_mm: np.ndarray) -> dict[str, float]:
  """MRE, SD (of the pooled errors, n - 1), median and SDR (fractions) of any array.

  A landmark is detected when its error is at most the threshold. Returns NaN
  where there is nothing to average.
  """
  error_mm = np.asarray(error_mm, np.float64)
  values = error_mm[np.isfinite(error_mm)]
  n = values.size
  table = {
      'points': int(n),
      'mre_mm': float(values.mean()) if n else np.nan,
      'sd_mm': float(values.std(ddof=1)) if n > 1 else np.nan,
      'median_mm': float(np.median(values)) if n else np.nan,
  }
  for threshold in SDR_MM:
    within = values <= threshold + TOLERANCE_MM
    table[sdr_key(threshold)] = float(within.mean()) if n else np.nan
  return table


def per_landmark(error_mm: np.ndarray, names: tuple[str, ...]) -> list[dict]:
  """`summarize` of every column of `error_mm` [N, L], with its `landmark` name."""
  if error_mm.shape[1] != len(names):
    raise ValueError(f'{error_mm.shape[1]} columns of errors for {len(names)} landmark names')
  return [{'landmark': name, **summarize(error_mm[:, i])} for i, name in enumerate(names)]


def _resampled_medians(values: np.ndarray, patient: np.ndarray, draws: np.ndarray) -> np.ndarray:
  """Exact medians of [R] resamples; `draws` [R, P] says how often each patient was drawn."""
  order = np.argsort(values, kind='stable')
  values, patient = values[order], patient[order]
  rows = max(1, _CHUNK // max(1, values.size))
  medians = []
  for start in range(0, len(draws), rows):
    cumulative = np.cumsum(draws[start:start + rows, patient], axis=1, dtype=np.int32)
    total = cumulative[:, -1:]
    low = (cumulative <= (total - 1) // 2).sum(axis=1)
    high = (cumulative <= total // 2).sum(axis=1)
    medians.append((values[low] + values[high]) / 2)
  return np.concatenate(medians)


def bootstrap_intervals(
    error_mm: np.ndarray,
    patient_ids: list[str],
    rng: np.random.Generator,
    resamples: int = 1000,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
  """Percentile bootstrap intervals; whole patients are drawn, with replacement.

  Landmarks of one image, and images of one patient, are not independent, so a
  bootstrap over points would give intervals that are too short.

  Args:
    error_mm: [N, L] radial errors, NaN where missing.
    patient_ids: N names; equal names are one patient.
    rng: the only source of randomness.
    resamples: how many.
    level: coverage of the interval.

  Returns:
    (low, high) for `mre_mm`, `median_mm` and each `sdr_*mm`. (NaN, NaN) with fewer
    than two patients that have an error.
  """
  error_mm = np.asarray(error_mm, np.float64)
  keys = ['mre_mm', 'median_mm', *map(sdr_key, SDR_MM)]
  finite = np.isfinite(error_mm)
  values = error_mm[finite]
  rows = np.broadcast_to(np.arange(len(error_mm))[:, None], error_mm.shape)[finite]
  names, patient = np.unique(np.asarray(patient_ids, dtype=object)[rows].astype(str),
                             return_inverse=True)
  if len(names) < 2:
    return {key: (np.nan, np.nan) for key in keys}
  draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
  columns = [values, *((values <= t + TOLERANCE_MM) for t in SDR_MM)]
  sums = np.stack([np.bincount(patient, c, len(names)) for c in columns], axis=1)
  means = (draws @ sums) / (draws @ np.bincount(patient, minlength=len(names)))[:, None]
  samples = {'mre_mm': means[:, 0], 'median_mm': _resampled_medians(values, patient, draws)}
  samples |= {sdr_key(t): means[:, i + 1] for i, t in enumerate(SDR_MM)}
  return {key: percentile_interval(samples[key], level) for key in keys}


def percentile_interval(draws: np.ndarray, level: float) -> tuple[float, float]:
  """The interval that holds the middle `level` of what was drawn; (NaN, NaN) of nothing."""
  tails = [(1 - level) / 2, (1 + level) / 2]
  return tuple(map(float, np.quantile(draws, tails))) if len(draws) else (np.nan, np.nan)


def _ranks(values: np.ndarray) -> np.ndarray:
  """Ranks from 1; ties share their mean rank."""
  _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
  last = np.cumsum(counts)
  return (last - (counts - 1) / 2)[inverse]


def pearson(a: np.ndarray, b: np.ndarray) -> float:
  """Pearson correlation over the pairs where both are finite; NaN if undefined."""
  a, b = np.ravel(a).astype(np.float64), np.ravel(b).astype(np.float64)
  both = np.isfinite(a) & np.isfinite(b)
  a, b = a[both], b[both]
  if a.size < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
    return np.nan
  return float(np.corrcoef(a, b)[0, 1])


def spearman(a: np.ndarray, b: np.ndarray) -> float:
  """Spearman rank correlation over the pairs where both are finite; NaN if undefined."""
  a, b = np.ravel(a), np.ravel(b)
  both = np.isfinite(a) & np.isfinite(b)
  if not both.any():
    return np.nan
  return pearson(_ranks(a[both]), _ranks(b[both]))


def correlations(measure: np.ndarray, error_mm: np.ndarray) -> dict[str, float]:
  """How well a measure ranks the errors.

  Args:
    measure: [N, L], an uncertainty (positive is good) or a confidence (negative is).
    error_mm: [N, L].

  Returns:
    `pearson_pooled`, `spearman_pooled` over all points, and `pearson_within`,
    `spearman_within`: the mean over landmarks of the correlation over images.
    Pooled figures also credit a measure for knowing which landmarks are hard.
  """
  table = {
      'pearson_pooled': pearson(measure, error_mm),
      'spearman_pooled': spearman(measure, error_mm),
  }
  for name, correlate in (('pearson_within', pearson), ('spearman_within', spearman)):
    each = np.array([correlate(measure[:, i], error_mm[:, i]) for i in range(error_mm.shape[1])])
    table[name] = float(np.nanmean(each)) if np.isfinite(each).any() else np.nan
  return table
