"""From stored predictions of changed X-rays to `stress.json`.

Schema (lengths in mm; an unknown figure is null; `score` is a measure as an uncertainty, or
`ood_score`; figures of a measure with one value everywhere are left out):

    schema_version  1
    title, truth, status, words
    published       the thesis's Pearson correlations of mean measure and magnitude or angle
    elastic         `levels` (fractions of the height), `images`, `error_mm` per level, and
                    `measures`: name -> `mean` per level, `pearson`, `spearman` (with the level),
                    `auroc` per level: each level's images against those of level 0
    rotation        `source`, `levels` (degrees), `error_mm` or null, and `measures`: name -> `value`
                    per angle, `pearson`, `spearman` (with the absolute angle)
    separation      changed films -> `films`, `referred` (share; null for a model without a policy),
                    `scores`: name -> `auroc`, `aupr`, `fpr_at_95_tpr` against the same X-rays unchanged
    scanner         the same X-rays 'clean' and as each of `perturb.SCANNERS` shows them -> `films`, `mre_mm`,
                    `sdr_2mm`, `coverage` of their circles (null without), `referred` (likewise), `ood_auroc`
                    against 'clean': what should stay as it is. Landmarks that a change moved
                    off the film do not count
    shift           changed films -> the outcome of `uncertainty.shift.check` against the
                    calibration images
"""

from collections.abc import Mapping

import numpy as np
from scipy import stats

from ceph_tf.evaluation import analyze, metrics, published
from ceph_tf.uncertainty import ranking, shift
from ceph_tf.uncertainty.measures import CONFIDENCES

SCHEMA_VERSION = 1
ANGLE_BANDS_DEG = ((10, 20), (20, 30), (30, 45))  # each without its first angle
_UPRIGHT_DEG = 5  # a head turned less is ordinary
_ELASTIC_STEPS = 4


def measures_of(predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Image-level measures [N], lengths in mm where a spacing is known (else px): means over landmarks."""
  spacing = np.asarray(predictions['spacing_mm'], np.float64)
  known = np.isfinite(spacing).all()
  found = {}
  for key in sorted(k for k in predictions if k.startswith('measure/')):
    name, value = key.removeprefix('measure/'), np.asarray(predictions[key], np.float64)
    if name.endswith('_px') and known:
      name, value = f'{name.removesuffix("_px")}_mm', value * spacing[:, None]
    found[name] = shift.image_level(value)
  return found


def scores_of(predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Everything that could raise an alarm, [N]: larger is worse."""
  scores = {name: analyze.uncertainty(name, value) for name, value in measures_of(predictions).items()}
  if 'ood_score' in predictions:  # a model without anything fitted has none
    scores['ood_score'] = np.asarray(predictions['ood_score'], np.float64)
  return scores


def error_mm(predictions: Mapping[str, np.ndarray]) -> np.ndarray:
  """Radial errors [N, L], NaN where the truth is unknown."""
  return metrics.radial_error_mm(predictions['points_px'], predictions['truth_px'],
                                 predictions['spacing_mm'])


def rows(predictions: Mapping[str, np.ndarray], chosen: np.ndarray) -> dict[str, np.ndarray]:
  """The predictions of the films chosen by a mask [N]."""
  return {name: value[chosen] for name, value in predictions.items()}


def correlation(level: np.ndarray, value: np.ndarray) -> dict:
  """Pearson and Spearman; NaN where one side is constant or not known."""
  if not np.isfinite(value).all() or analyze.status(value)['status'] != 'used' or np.ptp(level) == 0:
    return {'pearson': np.nan, 'spearman': np.nan}
  return {'pearson': float(stats.pearsonr(level, value).statistic),
          'spearman': float(stats.spearmanr(level, value).statistic)}


def by_level(level: np.ndarray, value: np.ndarray) -> np.ndarray:
  """Means over the films of each distinct level, NaN where nothing is known."""
  found = []
  for one in np.unique(level):
    chosen = value[level == one]
    chosen = chosen[np.isfinite(chosen)]
    found.append(chosen.mean() if chosen.size else np.nan)
  return np.array(found)


def separation(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
  """AUROC, AUPR and FPR at 95 % TPR of telling scores of changed films from those of unchanged ones."""
  return ranking.separation(np.concatenate([before, after]),
                            np.repeat([False, True], [len(before), len(after)]))


def elastic(predictions: Mapping[str, np.ndarray]) -> dict:
  """The experiment with distorted copies, as documented at the top of this file."""
  level = predictions['level']
  levels = np.unique(level)
  if len(levels) < 3:
    raise ValueError(f'{len(levels)} magnitudes: a correlation needs at least 3')
  error = error_mm(predictions)
  measures, scores = measures_of(predictions), scores_of(predictions)
  found = {}
  for name, score in scores.items():
    value = measures.get(name, score)
    if analyze.status(value)['status'] != 'used':
      continue
    mean = by_level(level, value)
    against = [separation(score[level == levels[0]], score[level == one])['auroc'] for one in levels]
    found[name] = {'mean': mean.tolist(), **correlation(levels, mean), 'auroc': against}
  return {'levels': levels.tolist(), 'images': int(np.sum(level == levels[0])),
          'error_mm': by_level(np.repeat(level, error.shape[1]), error.ravel()).tolist(),
          'measures': found}


def rotation(predictions: Mapping[str, np.ndarray]) -> dict:
  """The experiment with a turning head."""
  level, error = predictions['level'], error_mm(predictions)
  measures = measures_of(predictions)
  if 'ood_score' in predictions:
    measures['ood_score'] = predictions['ood_score']
  found = {name: {'value': value.tolist(), **correlation(np.abs(level), value)}
           for name, value in measures.items() if analyze.status(value)['status'] == 'used'}
  known = np.isfinite(error).any()
  return {'source': str(predictions['image_id'][0]), 'levels': level.tolist(),
          'error_mm': np.nanmean(error, 1).tolist() if known else None, 'measures': found}


def changed_films(elastic_predictions, rotation_predictions, condition_predictions) -> dict:
  """Name -> (predictions of films unchanged, of films changed)."""
  level = elastic_predictions['level']
  levels = np.unique(level)
  unchanged = rows(elastic_predictions, level == levels[0])
  pairs = {}
  steps = np.unique(np.linspace(0, len(levels) - 1, _ELASTIC_STEPS + 1).round().astype(int))
  for k in steps[steps > 0]:
    pairs[f'elastic, {100 * levels[k]:.2g} % of the height'] = (
        unchanged, rows(elastic_predictions, level == levels[k]))
  angle = np.abs(rotation_predictions['level'])
  upright = rows(rotation_predictions, angle <= _UPRIGHT_DEG)
  for low, high in ANGLE_BANDS_DEG:
    if (band := (angle > low) & (angle <= high)).any():
      pairs[f'rotation, {low} to {high} degrees'] = upright, rows(rotation_predictions, band)
  kind = condition_predictions['condition']
  clean = rows(condition_predictions, kind == 'clean')
  for name in dict.fromkeys(kind[kind != 'clean'].tolist()):
    pairs[name.replace('_', ' ')] = clean, rows(condition_predictions, kind == name)
  return pairs


def separations(pairs: dict) -> dict:
  """For each kind of change AUROC, AUPR and FPR at 95 % TPR of each score, and how many are referred."""
  found = {}
  for change, sides in pairs.items():
    (before, after), figures = map(scores_of, sides), {}
    for name in [name for name in before if name in after]:  # not px and mm, where a spacing is unknown
      if analyze.status(np.concatenate([before[name], after[name]]))['status'] == 'used':
        figures[name] = separation(before[name], after[name])
    films = len(sides[1]['image_id'])
    found[change] = {'films': films, 'referred': _mean(_referred(sides[1])), 'scores': figures}
  return found


def shifts(changed: dict, calibration: dict[str, np.ndarray], rng: np.random.Generator,
           stated: float) -> dict:
  """What the shift check says about the scores of each changed set, by those that are finite and vary."""
  usable = [name for name, value in calibration.items()
            if value.size >= 2 and analyze.status(value)['status'] == 'used'
            and np.isfinite(value).all() and not name.endswith('_px')]  # px of images of another size
  found = {}
  for change, after in changed.items():
    names = [name for name in usable if name in after and np.isfinite(after[name]).all()]
    if names:
      # Scores are uncertainties: what is larger is the inverse of a confidence.
      before, now = ({f'1/{k}' if k in CONFIDENCES else k: side[k] for k in names}
                     for side in (calibration, after))
      found[change] = shift.check(before, now, rng, stated=stated)
  return found


def scanner(predictions: Mapping[str, np.ndarray]) -> dict:
  """Errors and alarms under changes that a model should not notice, as documented at the top of this file."""
  kind, error = predictions['condition'], error_mm(predictions)
  off_px = np.linalg.norm(predictions['points_px'] - predictions['truth_px'], axis=-1)
  unknown = np.full(error.shape, np.nan)
  radius_px = predictions.get('region_radius_px', unknown)
  referred, ood = _referred(predictions), np.asarray(predictions.get('ood_score', unknown[:, 0]), float)
  found = {}
  for name in dict.fromkeys(kind.tolist()):
    chosen, clean = kind == name, kind == 'clean'
    errors = error[chosen][np.isfinite(error[chosen])]
    stated = chosen[:, None] & np.isfinite(off_px) & np.isfinite(radius_px)
    ood_known = np.isfinite(ood[clean | chosen]).all()
    found[name] = {
        'films': int(chosen.sum()),
        'mre_mm': _mean(errors),
        'sdr_2mm': _mean(errors <= 2 + metrics.TOLERANCE_MM),
        'coverage': _mean((off_px <= radius_px)[stated]),
        'referred': _mean(referred[chosen]),
        'ood_auroc': separation(ood[clean], ood[chosen])['auroc'] if ood_known else np.nan}
  return found


def _referred(predictions: Mapping[str, np.ndarray]) -> np.ndarray:
  """Which films are referred [N], as floats, NaN where the model has no policy."""
  unknown = np.full(len(predictions['image_id']), np.nan)
  return np.asarray(predictions.get('refer', unknown), float)


def _mean(values: np.ndarray) -> float:
  return float(values.mean()) if values.size else np.nan


def stress(elastic_predictions: Mapping, rotation_predictions: Mapping, condition_predictions: Mapping,
           scanner_predictions: Mapping, calibration: Mapping, title: str, truth: str, stated: float,
           rng: np.random.Generator) -> dict:
  """Everything, as documented at the top of this file.

  Args:
    elastic_predictions, rotation_predictions, condition_predictions, scanner_predictions: the arrays of
      `stress_inferrer`.
    calibration: `predictions.npz` of the calibration split.
    title: for people.
    truth: which truth moved along.
    stated: coverage of the regions, for the words of the shift check.
    rng: of permutations.
  """
  pairs = changed_films(elastic_predictions, rotation_predictions, condition_predictions)
  return {
      'schema_version': SCHEMA_VERSION, 'title': title, 'truth': truth,
      'published': published.figures(elastic='elastic', rotation='rotation'),
      'elastic': elastic(elastic_predictions),
      'rotation': rotation(rotation_predictions),
      'separation': separations(pairs),
      'scanner': scanner(scanner_predictions),
      'shift': shifts({change: scores_of(after) for change, (_, after) in pairs.items()},
                      scores_of(calibration), rng, stated),
  }
