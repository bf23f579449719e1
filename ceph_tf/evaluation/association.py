"""How strongly a measure goes with the error, with bootstrap intervals; pure numpy.

A resample is a row of weights, the number of times each image was drawn, so that
all resamples are computed at once, ranks included.
"""

import numpy as np

from ceph_tf.evaluation import metrics

_ROWS = 100  # resamples at once: bounds the memory
KEYS = tuple(f'{kind}_{level}' for level in ('pooled', 'within', 'image')
             for kind in ('pearson', 'spearman'))


def weighted_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Ranks from 1, ties sharing their mean, when each value occurs `weights` times.

  Args:
    values: [n].
    weights: [R, n].

  Returns:
    [R, n]; of no meaning where the weight is 0.
  """
  order = np.argsort(values, kind='stable')
  ordered = values[order]
  starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
  times = np.add.reduceat(weights[:, order], starts, axis=1)
  ranks = np.cumsum(times, axis=1) - (times - 1) / 2
  group = np.empty(len(values), int)
  group[order] = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(values))))
  return ranks[:, group]


def weighted_pearson(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Pearson correlation of every resample: [R], NaN where one side does not vary.

  Args:
    a, b: [n], or [R, n] if they differ between resamples.
    weights: [R, n].
  """
  total = weights.sum(1)
  with np.errstate(invalid='ignore', divide='ignore'):
    a, b = (x - ((weights * x).sum(1) / total)[:, None] for x in (a, b))
    aa, bb, ab = ((weights * x * y).sum(1) for x, y in ((a, a), (b, b), (a, b)))
    size = [(weights * np.abs(x)).max(1, initial=0) for x in (a, b)]
    varies = (size[0] > 1e-9) & (size[1] > 1e-9)
    return np.where(varies, ab / np.sqrt(aa * bb), np.nan)


def _both(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Pearson and Spearman of each resample, [2, R]; NaN with fewer than 3 pairs."""
  known = np.isfinite(a) & np.isfinite(b)
  if known.sum() < 3:
    return np.full((2, len(weights)), np.nan)
  a, b, weights = a[known], b[known], weights[:, known]
  a = a / (np.abs(a).max() or 1)
  ranks = weighted_ranks(a, weights), weighted_ranks(b, weights)
  return np.stack([weighted_pearson(a, b, weights), weighted_pearson(*ranks, weights)])


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
  known = np.isfinite(values)
  with np.errstate(invalid='ignore'):
    return np.where(known, values, 0).sum(axis) / known.sum(axis)


def _all(measure: np.ndarray, error_mm: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """The correlations named `KEYS` for each row of `weights` [R, N]: [6, R]."""
  pooled = _both(measure.ravel(), error_mm.ravel(), np.repeat(weights, measure.shape[1], axis=1))
  within = _mean(np.stack([_both(m, e, weights)
                           for m, e in zip(measure.T, error_mm.T, strict=True)]), 0)
  known = np.isfinite(measure) & np.isfinite(error_mm)
  image = _both(_mean(np.where(known, measure, np.nan), 1),
                _mean(np.where(known, error_mm, np.nan), 1), weights)
  return np.concatenate([pooled, within, image])


def correlations(
    measure: np.ndarray,
    error_mm: np.ndarray,
    patient_ids: list[str],
    rng: np.random.Generator,
    resamples: int = 1000,
    level: float = 0.95,
) -> dict[str, dict]:
  """Pearson and Spearman of a measure and the error, with percentile intervals.

  Args:
    measure: [N, L]; for an uncertainty a positive correlation is good, for a
      confidence a negative one.
    error_mm: [N, L]. Pairs with a NaN take part in nothing.
    patient_ids: N names; equal names are one patient, drawn as a whole.
    rng: the only source of randomness.
    resamples: how many.
    level: coverage of the intervals.

  Returns:
    `KEYS` -> {`value`, `interval`}: `*_pooled` over all points, `*_within` the mean over
    landmarks of the correlation over images (pooled figures also credit a measure
    for knowing which landmarks are hard), `*_image` of the means over each image's
    landmarks. NaN where undefined; intervals also with fewer than two patients.
  """
  measure, error_mm = np.asarray(measure, np.float64), np.asarray(error_mm, np.float64)
  if measure.shape != error_mm.shape or len(patient_ids) != len(measure):
    raise ValueError(f'measure {measure.shape}, error {error_mm.shape} and {len(patient_ids)} '
                     f'patients: must be [N, L], [N, L] and N')
  values = _all(measure, error_mm, np.ones((1, len(measure))))[:, 0]
  names, patient = np.unique(np.asarray(patient_ids, str), return_inverse=True)
  intervals = [(np.nan, np.nan)] * len(KEYS)
  if len(names) > 1:
    p = np.full(len(names), 1 / len(names))
    weights = rng.multinomial(len(names), p, size=resamples)[:, patient].astype(np.float64)
    drawn = np.concatenate([_all(measure, error_mm, weights[i:i + _ROWS])
                            for i in range(0, resamples, _ROWS)], axis=1)
    intervals = [metrics.percentile_interval(row[np.isfinite(row)], level) for row in drawn]
  return {key: {'value': float(value), 'interval': interval}
          for key, value, interval in zip(KEYS, values, intervals, strict=True)}
