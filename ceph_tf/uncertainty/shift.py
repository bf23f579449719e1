"""Does a new set without labels look like the calibration set? Pure numpy and scipy.

Conformal regions hold their coverage for images exchangeable with those they were
calibrated on. Labels cannot be had on a new set, but image-level values can: the mean of
each measure over the landmarks, an out-of-distribution score. All tests here are
valid for any distribution of these values; none can prove that nothing changed.

- Each measure: two-sample Kolmogorov-Smirnov, Holm-corrected (Holm 1979).
- All measures together: permutation test of the energy distance of their ranks
  (Szekely & Rizzo, J. Stat. Plan. Inference 143 (2013)).
- Each new image: a conformal p-value of how strange it is among the calibration
  images (Vovk et al. 2005; Laxhammar & Falkman 2015).
"""

import math
from collections.abc import Mapping

import numpy as np
from scipy import stats
from scipy.spatial import distance

from ceph_tf.uncertainty import ranking

PERMUTATIONS = 1999


def image_level(measure: np.ndarray) -> np.ndarray:
  """Mean over the landmarks, [N] from [N, L]; NaN only where all are NaN."""
  measure = np.asarray(measure, np.float64)
  known = ~np.isnan(measure)
  with np.errstate(invalid='ignore'):
    return np.where(known, measure, 0).sum(1) / known.sum(1)


def holm(p: np.ndarray) -> np.ndarray:
  """Holm's adjusted p-values [K]: any family-wise error stays below the level."""
  p = np.asarray(p, np.float64)
  order = np.argsort(p)
  adjusted = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
  out = np.empty(p.size)
  out[order] = np.minimum(adjusted, 1)
  return out


def image_p_values(calibration: np.ndarray, new: np.ndarray) -> np.ndarray:
  """Conformal p-value of each new image by itself: [M], at least 1 / (N + 1).

  An image is as strange as its most deviant measure, in standard deviations from the
  mean, both taken over the calibration images and the image itself: only so are all
  N + 1 treated alike, and p is exact for any number of measures.

  Args:
    calibration: [N, K] values of K measures.
    new: [M, K].
  """
  p = []
  for image in new:
    pool = np.concatenate([calibration, image[None]])
    deviation = np.abs(pool - pool.mean(0))
    spread = pool.std(0)
    strange = (deviation / np.where(spread > 0, spread, 1)).max(1)
    p.append(np.mean(strange >= strange[-1] * (1 - 1e-9)))
  return np.array(p)


def energy_distance(apart: np.ndarray, chosen: np.ndarray) -> np.ndarray:
  """2 E|X - Y| - E|X - X'| - E|Y - Y'| for R ways to divide T images in two.

  Args:
    apart: [T, T] distances of the images.
    chosen: [R, T], 1 for the images of one side, 0 for the other.

  Returns:
    [R].
  """
  to_chosen = chosen @ apart
  among = (to_chosen * chosen).sum(1)
  across = to_chosen.sum(1) - among
  rest = apart.sum() - 2 * across - among
  m = chosen.sum(1)
  n = chosen.shape[1] - m
  return 2 * across / (n * m) - among / m**2 - rest / n**2


def energy_p_value(
    calibration: np.ndarray, new: np.ndarray, rng: np.random.Generator,
    permutations: int = PERMUTATIONS
) -> float:
  """P-value of the energy distance between two sets of K measures, [N, K] and [M, K]."""
  pool = np.concatenate([calibration, new])
  ranks = stats.rankdata(pool, axis=0) / len(pool)
  apart = distance.squareform(distance.pdist(ranks))
  n, m = len(calibration), len(new)
  chosen = np.zeros((permutations + 1, n + m))
  chosen[0, n:] = 1
  chosen[1:, :m] = 1
  chosen[1:] = rng.permuted(chosen[1:], axis=1)
  energy = energy_distance(apart, chosen)
  return float(np.mean(energy >= energy[0] - 1e-12))


def check(
    calibration: Mapping[str, np.ndarray],
    new: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    alpha: float = 0.05,
    stated: float = 0.9,
) -> dict:
  """Tests exchangeability of a new, unlabelled set and says the outcome in words.

  Args:
    calibration: measure name -> [N] image-level values, see `image_level`.
    new: the same names -> [M], M >= 1.
    rng: of the permutations.
    alpha: probability of an alarm when nothing changed.
    stated: coverage of the regions, for the words.

  Returns:
    `verdict`: 'shifted', 'no_shift_seen' or 'cannot_tell' (no outcome of so few images
    could be significant); `trust_regions`: False if shifted, None if unknown; `words`;
    `p_value` of the verdict; `alpha`, `calibration_images`, `new_images`; `measures`:
    for each name `ks`, `p_value`, `p_holm` and `larger`, the probability that a new
    image has the larger value; `energy_p_value`; `image_p_values` [M];
    `strange_images`, those with p <= alpha, of which `strange_by_chance` are expected.
    With one new image the verdict is its conformal p-value.

  Raises:
    ValueError: other names, no measure, fewer than 2 calibration images, no new
      image, or a value that is not finite.
  """
  a, b = _matrices(calibration, new)
  n, m = len(a), len(b)
  measures, energy = [], None
  p_images = image_p_values(a, b)
  if m == 1:
    p, smallest = float(p_images[0]), 1 / (n + 1)
  else:
    tests = [stats.ks_2samp(a[:, k], b[:, k]) for k in range(a.shape[1])]
    adjusted = holm([t.pvalue for t in tests])
    measures = [
        {'measure': name, 'ks': float(t.statistic), 'p_value': float(t.pvalue),
         'p_holm': float(adjusted[k]), 'larger': _larger(a[:, k], b[:, k])}
        for k, (name, t) in enumerate(zip(calibration, tests, strict=True))
    ]
    energy = energy_p_value(a, b, rng)
    p = min(1.0, 2 * min(energy, float(adjusted.min())))
    smallest = 2 / min(math.comb(n + m, m), PERMUTATIONS + 1)
  verdict = 'shifted' if p <= alpha else 'cannot_tell' if smallest > alpha else 'no_shift_seen'
  strange = [int(i) for i in np.flatnonzero(p_images <= alpha)]
  return {
      'verdict': verdict,
      'trust_regions': None if verdict == 'cannot_tell' else verdict != 'shifted',
      'words': _words(verdict, p, smallest, alpha, n, m, stated, measures, strange),
      'p_value': p,
      'alpha': alpha,
      'calibration_images': n,
      'new_images': m,
      'measures': measures,
      'energy_p_value': energy,
      'image_p_values': [float(value) for value in p_images],
      'strange_images': strange,
      'strange_by_chance': alpha * m,
  }


def _matrices(calibration: Mapping, new: Mapping) -> tuple[np.ndarray, np.ndarray]:
  if not calibration or set(calibration) != set(new):
    raise ValueError(f'measures of the calibration set {sorted(calibration)} and of the new set '
                     f'{sorted(new)}: must be the same, at least one')
  sides = []
  for values, side, least in ((calibration, 'calibration', 2), (new, 'new', 1)):
    columns = [np.asarray(values[name], np.float64) for name in calibration]
    for name, column in zip(calibration, columns, strict=True):
      if column.shape != (columns[0].size,) or column.size < least:
        raise ValueError(f'{name} of the {side} set has shape {column.shape}: must be [N], one '
                         f'value per image, as for all measures, N >= {least}')
      if not np.isfinite(column).all():
        row = int(np.argmin(np.isfinite(column)))
        raise ValueError(f'{name} of the {side} set is {column[row]} for image {row}: must be '
                         f'finite; leave the image or the measure out')
    sides.append(np.stack(columns, 1))
  return sides[0], sides[1]


def _larger(calibration: np.ndarray, new: np.ndarray) -> float:
  is_new = np.repeat([False, True], [calibration.size, new.size])
  return ranking.auroc(*ranking.cumulative(np.concatenate([calibration, new]), is_new))


def _words(verdict: str, p: float, smallest: float, alpha: float, n: int, m: int, stated: float,
           measures: list[dict], strange: list[int]) -> str:
  regions = f'the {100 * stated:g} % regions'
  those = 'this image' if m == 1 else 'this set'
  if verdict == 'cannot_tell':
    return (f'{regions.capitalize()} cannot be vouched for on {those}: with {n} calibration and '
            f'{m} new images p cannot fall to {alpha:g} (smallest {smallest:.3f}), so no shift '
            f'could be noticed.')
  if verdict == 'shifted':
    found = [f'{row["measure"]} is {_direction(row["larger"])} (p = {row["p_holm"]:.2g})'
             for row in sorted(measures, key=lambda row: row['p_holm']) if row['p_holm'] <= alpha]
    why = f': {", ".join(found)}' if found else ''
    return (f'{regions.capitalize()} should not be trusted on {those}: it differs from the {n} '
            f'calibration images (p = {p:.2g}){why}.')
  text = (f'No sign that {those} differs from the {n} calibration images (p = {p:.2g}): no reason '
          f'to distrust {regions}, but no proof either.')
  if len(strange) > 2 * alpha * m + 1:
    text += f' {len(strange)} of {m} images are strange by themselves: look at them.'
  return text


def _direction(larger: float) -> str:
  return 'larger' if larger > 0.6 else 'smaller' if larger < 0.4 else 'distributed otherwise'
