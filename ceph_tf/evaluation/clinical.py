"""What orthodontists measure on the landmarks, with the uncertainty of the points carried through.

The first eight are those of the second task of the ISBI 2015 challenge, with its classes (Wang et al.,
Medical Image Analysis 31 (2016), 63-76). Points are (x, y), x right, y down, the face to the right;
angles are unsigned unless stated, in degrees. Measurements that need points which are not among the 19
(occlusal plane for Wits, tip of the nose for the E-line, axes of the incisors) are left out.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from ceph_tf.data.records import LANDMARKS

INTERVAL = 0.9
MW_BETWEEN = ('normal', 'edge_to_edge', 'unknown')
UNKNOWN = 0  # class of a measurement that is NaN, or in a gap of the challenge's definition


@dataclasses.dataclass(frozen=True)
class Measurement:
  """One measurement.

  Attributes:
    name: a key of `MEASUREMENTS`.
    value: points [..., 19, 2] in mm (or px where `unit` is no length) -> [...].
    unit: 'deg', 'mm' or '' for a ratio.
    normal: the lowest and highest normal value.
    above, below: class of values beyond; normal is class 1.
    source: of the norm.
  """

  name: str
  value: Callable[[np.ndarray], np.ndarray]
  unit: str
  normal: tuple[float, float]
  above: int
  below: int
  source: str


def _point(points: np.ndarray, name: str) -> np.ndarray:
  return points[..., LANDMARKS.index(name), :]


def _way(points: np.ndarray, start: str, end: str) -> np.ndarray:
  return _point(points, end) - _point(points, start)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """0..180 degrees; by the arctangent, which keeps its digits near 0 and 180."""
  return np.degrees(np.arctan2(np.abs(_cross(a, b)), (a * b).sum(-1)))


def _distance(points: np.ndarray, start: str, end: str) -> np.ndarray:
  return np.linalg.norm(_way(points, start, end), axis=-1)


def _sna(p):
  return _angle(_way(p, 'nasion', 'sella'), _way(p, 'nasion', 'subspinale'))


def _snb(p):
  return _angle(_way(p, 'nasion', 'sella'), _way(p, 'nasion', 'supramentale'))


def _palatal_to_frankfort(p):
  a, b = _way(p, 'porion', 'orbitale'), _way(p, 'pns', 'ans')
  return np.where(_cross(a, b) < 0, -_angle(a, b), _angle(a, b))


def _odi(p):
  return _angle(_way(p, 'menton', 'gonion'), _way(p, 'supramentale', 'subspinale')) + _palatal_to_frankfort(p)


def _apdi(p):
  facial, ab = _way(p, 'nasion', 'pogonion'), _way(p, 'subspinale', 'supramentale')
  between = _angle(facial, ab)
  return (_angle(_way(p, 'orbitale', 'porion'), facial)
          + np.where(_cross(facial, ab) > 0, -between, between) + _palatal_to_frankfort(p))


def _fhi(p):
  return _distance(p, 'sella', 'gonion') / _distance(p, 'nasion', 'menton')


def _fha(p):
  return _angle(_way(p, 'sella', 'nasion'), _way(p, 'gonion', 'gnathion'))


def _mw(p):
  forward = _way(p, 'lower_incisor', 'upper_incisor')
  return np.where(forward[..., 0] < 0, -1, 1) * np.linalg.norm(forward, axis=-1)


def _fma(p):
  return _angle(_way(p, 'porion', 'orbitale'), _way(p, 'gonion', 'menton'))


def _facial_angle(p):
  return _angle(_way(p, 'orbitale', 'porion'), _way(p, 'nasion', 'pogonion'))


def _convexity(p):
  """Positive where A lies before the line from nasion to pogonion."""
  a, b = _way(p, 'nasion', 'subspinale'), _way(p, 'subspinale', 'pogonion')
  return np.where(_cross(a, b) > 0, 1, -1) * _angle(a, b)


_ISBI = 'ISBI 2015 challenge'
_DOWNS = 'Downs, Am. J. Orthodontics 34 (1948), mean +- SD'
MEASUREMENTS: Mapping[str, Measurement] = {m.name: m for m in (
    Measurement('SNA', _sna, 'deg', (79.4, 83.2), 2, 3, _ISBI),
    Measurement('SNB', _snb, 'deg', (74.6, 78.7), 3, 2, _ISBI),
    Measurement('ANB', lambda p: _sna(p) - _snb(p), 'deg', (3.2, 5.7), 2, 3, _ISBI),
    Measurement('ODI', _odi, 'deg', (68.4, 80.5), 2, 3, _ISBI),
    Measurement('APDI', _apdi, 'deg', (77.6, 85.2), 3, 2, _ISBI),
    Measurement('FHI', _fhi, '', (0.65, 0.75), 2, 3, _ISBI),
    Measurement('FHA', _fha, 'deg', (26.8, 31.4), 2, 3, _ISBI),
    Measurement('MW', _mw, 'mm', (2.0, 4.5), 4, 3, _ISBI),
    Measurement('mandibular_plane', _fma, 'deg', (21.9 - 3.2, 21.9 + 3.2), 2, 3, _DOWNS),
    Measurement('facial_angle', _facial_angle, 'deg', (87.8 - 3.6, 87.8 + 3.6), 2, 3, _DOWNS),
    Measurement('convexity', _convexity, 'deg', (-5.1, 5.1), 2, 3, _DOWNS),
)}
CHALLENGE = ('SNA', 'SNB', 'ANB', 'ODI', 'APDI', 'FHI', 'FHA', 'MW')


def values(points: np.ndarray, spacing_mm: np.ndarray | float) -> dict[str, np.ndarray]:
  """All measurements.

  Args:
    points: [..., 19, 2] in pixels, in the order of `records.LANDMARKS`, NaN where missing.
    spacing_mm: [...] or a number; NaN leaves lengths unknown, angles and ratios need none.

  Returns:
    Name -> [...]; NaN where a landmark is missing.
  """
  points = np.asarray(points, np.float64)
  if points.shape[-2:] != (len(LANDMARKS), 2):
    raise ValueError(f'points {points.shape}: allowed is [..., {len(LANDMARKS)}, 2]')
  spacing = np.broadcast_to(np.asarray(spacing_mm, np.float64), points.shape[:-2])
  return {name: m.value(points) * (spacing if m.unit == 'mm' else 1) for name, m in MEASUREMENTS.items()}


def classify(name: str, value: np.ndarray, mw_between: str = 'normal') -> np.ndarray:
  """Classes of a measurement, int [...]: 1 normal, see `Measurement`; 0 where it is NaN.

  Args:
    name: key of `MEASUREMENTS`.
    value: [...].
    mw_between: what the challenge leaves undefined, an overjet above 0 and below 2 mm: class 1
      'normal' (with it the junior doctor agrees with the senior as published), class 2 like
      'edge_to_edge' (0 mm), or 0 'unknown'.
  """
  if mw_between not in MW_BETWEEN:
    raise ValueError(f'mw_between={mw_between!r}: allowed is {", ".join(MW_BETWEEN)}')
  m, value = MEASUREMENTS[name], np.asarray(value, np.float64)
  low, high = m.normal
  found = np.select([value > high, value < low, np.isfinite(value)], [m.above, m.below, 1], UNKNOWN)
  if name == 'MW':
    between = {'edge_to_edge': 2, 'normal': 1, 'unknown': UNKNOWN}[mw_between]
    found = np.where(value == 0, 2, np.where((value > 0) & (value < low), between, found))
  return found


def propagate(points_px: np.ndarray, covariance_px2: np.ndarray, spacing_mm: np.ndarray,
              rng: np.random.Generator, draws: int = 1000,
              mw_between: str = 'normal') -> dict[str, dict[str, np.ndarray]]:
  """Measurements as distributions: landmarks drawn independently, each as a Gaussian.

  Args:
    points_px: [N, 19, 2].
    covariance_px2: [N, 19, 2, 2] total covariance.
    spacing_mm: [N], NaN where unknown.
    rng: of the draws.
    draws: how many.
    mw_between: see `classify`.

  Returns:
    Name -> `value` [N] of the points themselves, `sd` [N], `low` and `high` [N] of the central 90 %
    interval, `class` [N], `probability` [N, 5] of the classes 0 (unknown) to 4, and `decided` [N]:
    whether all of the interval is of one class.
  """
  points = np.asarray(points_px, np.float64)
  half = _roots(np.asarray(covariance_px2, np.float64))
  noise = rng.standard_normal((draws, *points.shape))
  drawn = values(points + np.einsum('nlij,dnlj->dnli', half, noise), spacing_mm)
  found = {}
  for name, value in values(points, spacing_mm).items():
    sample = drawn[name]
    low, high = np.quantile(sample, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2], axis=0)
    classes = classify(name, sample, mw_between)
    probability = np.stack([(classes == k).mean(0) for k in range(5)], -1)
    one = classify(name, value, mw_between)
    inside = (sample >= low) & (sample <= high)
    found[name] = {'value': value, 'sd': sample.std(0), 'low': low, 'high': high, 'class': one,
                   'probability': probability,
                   'decided': ((classes == one) | ~inside).all(0) & (one != UNKNOWN)}
  return found


def _roots(covariance: np.ndarray) -> np.ndarray:
  """Square roots [..., 2, 2] of covariances, which rounding may have made slightly negative."""
  known = np.isfinite(covariance).all((-1, -2), keepdims=True)
  variance, axes = np.linalg.eigh(np.where(known, covariance, 0))
  return np.where(known, axes * np.sqrt(np.maximum(variance, 0))[..., None, :], np.nan)


def success_rate(predicted: np.ndarray, true: np.ndarray) -> float:
  """Success classification rate: the mean of the diagonal of the confusion matrix of two [N] classes.

  Each true class that occurs has the same weight; pairs with class 0 are left out. NaN without a pair.
  """
  known = (predicted != UNKNOWN) & (true != UNKNOWN)
  predicted, true = predicted[known], true[known]
  rates = [(predicted[true == k] == k).mean() for k in np.unique(true)]
  return float(np.mean(rates)) if rates else np.nan


def brier(probability: np.ndarray, true: np.ndarray) -> float:
  """Mean squared distance of class probabilities [N, 5] from the true classes [N] (Brier 1950)."""
  known = true != UNKNOWN
  hit = np.eye(probability.shape[1])[true[known]]
  return float(np.square(probability[known] - hit).sum(1).mean()) if known.any() else np.nan


def challenge(points_px: np.ndarray, covariance_px2: np.ndarray, truth_px: np.ndarray,
              spacing_mm: np.ndarray, rng: np.random.Generator, draws: int = 1000) -> dict:
  """The second task of the challenge: are images classified as by the true points?

  Args:
    points_px, covariance_px2, spacing_mm: see `propagate`.
    truth_px: [N, 19, 2].
    rng, draws: of `propagate`.

  Returns:
    `success_rate`: mean over the measurements; `measurements`: name -> `images` with a known class,
    `success_rate`, `brier`, `mean_error` (absolute, in `unit`), `interval_coverage` (of the 90 %
    intervals), `decided` (share of images whose interval spans no threshold) and
    `success_rate_decided` among those.
  """
  true = values(truth_px, spacing_mm)
  rows = {}
  for name, found in propagate(points_px, covariance_px2, spacing_mm, rng, draws).items():
    if name not in CHALLENGE:
      continue
    classes, known = classify(name, true[name]), np.isfinite(true[name]) & np.isfinite(found['value'])
    decided = found['decided'] & known
    covered = (found['low'] <= true[name]) & (true[name] <= found['high'])
    rows[name] = {
        'unit': MEASUREMENTS[name].unit, 'images': int(known.sum()),
        'success_rate': success_rate(found['class'], classes),
        'brier': brier(found['probability'], np.where(known, classes, UNKNOWN)),
        'mean_error': _mean(np.abs(found['value'] - true[name])[known]),
        'interval_coverage': _mean(covered[known]), 'decided': _mean(decided[known]),
        'success_rate_decided': success_rate(found['class'][decided], classes[decided])}
  rates = [row['success_rate'] for row in rows.values() if np.isfinite(row['success_rate'])]
  return {'success_rate': _mean(np.array(rates)), 'measurements': rows}


def _mean(values: np.ndarray) -> float:
  return float(values.mean()) if values.size else np.nan
