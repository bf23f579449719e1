"""From predictions and truths to the content of `evaluation.json`.

Schema of `evaluation.json` (lengths in mm unless `_px`; rates are fractions; a
figure that is unknown is null):

    schema_version      1
    title, split        what was evaluated; splits joined with '+' if several
    truth               the truth the network was trained on, or that judges it; blessing uses it
    images              number of images; `images_without_spacing` of them have
                        no mm figures and count only in the `_px` figures
    spacing_mm          {min, max} of the known ones, or null
    milliseconds_per_image
    landmarks           names, in the order of the arrays
    results             truth -> subset -> figures. Truths: `senior`, `junior`,
                        `mean`, or the only one, `truth`. Subsets: `official`, and
                        `leak_free` where films repeat in other splits or in this one
      figures           images, patients, points, missing_truth, missing_prediction,
                        mre_mm, sd_mm, median_mm, sdr_{2,2.5,3,4}mm, mre_px,
                        median_px, intervals {figure: [low, high]} (95 %, over
                        patients), per_landmark [{landmark, points, mre_mm, ..., systematic_x_mm,
                        systematic_y_mm}], random {points, mre_mm, ...} (see `systematic`)
    between_doctors     subset -> mre_mm, ... of junior against senior, or null
    correlations        measure -> pearson_pooled, spearman_pooled, pearson_within,
                        spearman_within, with the errors against `truth`
    alarms              subset -> `alarms.alarms`, by the errors against `truth`; null without a policy
    circles             subset -> points, coverage (share of the truths inside their circles, on referred
                        images, too), mean_radius_mm; null where the model states no regions
    clinical            subset -> truth and `clinical.challenge`; null for other landmarks
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from ceph_tf import seeds
from ceph_tf.config import EvaluateConfig
from ceph_tf.data.records import DataError, Record, truth_points
from ceph_tf.evaluation import alarms, metrics, systematic

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Cases:
  """Predictions and truths of the same N images, in the same order.

  Attributes:
    image_id, patient_id: N names.
    split: the split, or several joined with '+'.
    spacing_mm: [N], NaN where unknown.
    points_px: [N, L, 2] predictions.
    samples_px: [N, S, L, 2].
    covariance_px2: [N, L, 2, 2].
    measures: name -> [N, L]; what arrived as `*_px` is in mm here and named `*_mm`.
    truths_px: truth name -> [N, L, 2].
    landmark_names: L names.
    milliseconds_per_image: NaN if not measured.
    refer: bool [N], a doctor must look; None where the model has no policy.
    region_radius_px: [N, L] of the circles; None where the model states no regions.
    truth_score: [N, L], see `uncertainty.highest_density`; None where heatmaps were not looked at.
    area_mm2: [N, L, K], of the highest-density regions at its `LEVELS`, likewise.
    tempering: what `heatmap_inferrer` keeps of heatmaps before and after: name -> [N, L] or [N].
  """

  image_id: tuple[str, ...]
  patient_id: tuple[str, ...]
  split: str
  spacing_mm: np.ndarray
  points_px: np.ndarray
  samples_px: np.ndarray
  covariance_px2: np.ndarray
  measures: dict[str, np.ndarray]
  truths_px: dict[str, np.ndarray]
  landmark_names: tuple[str, ...]
  milliseconds_per_image: float
  refer: np.ndarray | None = None
  region_radius_px: np.ndarray | None = None
  truth_score: np.ndarray | None = None
  area_mm2: np.ndarray | None = None
  tempering: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

  def error_mm(self, truth: str) -> np.ndarray:
    """Radial errors [N, L] against one truth."""
    return metrics.radial_error_mm(self.points_px, self.truths_px[truth], self.spacing_mm)


def align(predictions: Mapping[str, np.ndarray], records: Iterable[Record]) -> Cases:
  """Brings predictions and records together by image id.

  Args:
    predictions: the arrays of `predictions.npz`.
    records: at least those of the predicted split; image bytes are not kept.

  Raises:
    DataError: no prediction at all, a prediction without a record, an image
      predicted twice, or an image of a predicted split without a prediction.
  """
  ids = [str(i) for i in predictions['image_id']]
  if not ids:
    raise DataError('predictions.npz holds no image: is the split empty?')
  if len(set(ids)) != len(ids):
    twice = sorted({i for i in ids if ids.count(i) > 1})
    raise DataError(f'predictions.npz: image {twice[0]!r} was predicted more than once')
  found = {r.image_id: dataclasses.replace(r, image_bytes=b'') for r in records}
  unknown = [i for i in ids if i not in found]
  if unknown:
    raise DataError(f'predictions.npz: image {unknown[0]!r} ({len(unknown)} of {len(ids)}) '
                    f'is not among the examples')
  splits = sorted({found[i].split for i in ids})
  left_out = sorted({i for i, r in found.items() if r.split in splits} - set(ids))
  if left_out:
    raise DataError(f'predictions.npz: {len(left_out)} images of {"+".join(splits)} have no '
                    f'prediction, first {left_out[0]!r}')
  rows = [found[i] for i in ids]
  spacing = np.array([r.spacing_mm for r in rows], np.float64)
  return Cases(
      image_id=tuple(ids),
      patient_id=tuple(r.patient_id for r in rows),
      split='+'.join(splits),
      spacing_mm=spacing,
      points_px=np.asarray(predictions['points_px'], np.float64),
      samples_px=np.asarray(predictions['samples_px'], np.float64),
      covariance_px2=np.asarray(predictions['covariance_px2'], np.float64),
      measures=_measures(predictions, spacing),
      truths_px=_truths(rows),
      landmark_names=tuple(rows[0].landmark_names),
      milliseconds_per_image=float(predictions.get('milliseconds_per_image', np.nan)),
      refer=predictions.get('refer'),
      region_radius_px=predictions.get('region_radius_px'),
  )


def _measures(predictions: Mapping[str, np.ndarray], spacing: np.ndarray) -> dict:
  measures = {}
  for key in sorted(k for k in predictions if k.startswith('measure/')):
    name, value = key.removeprefix('measure/'), np.asarray(predictions[key], np.float64)
    if name.endswith('_px'):
      name, value = name.removesuffix('_px') + '_mm', value * spacing[:, None]
    measures[name] = value
  return measures


def _truths(rows: list[Record]) -> dict[str, np.ndarray]:
  names = list(dict.fromkeys(name for r in rows for name in r.points_px))
  missing = np.full((len(rows[0].landmark_names), 2), np.nan)
  truths = {name: np.stack([r.points_px.get(name, missing) for r in rows]) for name in names}
  if len(names) > 1:
    truths['mean'] = truth_points(truths, 'mean')
  return {name: np.asarray(points, np.float64) for name, points in truths.items()}


def primary_truth(cases: Cases, truth: str) -> str:
  """The key of `cases.truths_px` that `truth` of the configuration means."""
  if set(cases.truths_px) == {'truth'}:
    return 'truth'
  if truth == 'mean' and len(cases.truths_px) == 1:
    return next(iter(cases.truths_px))
  if truth not in cases.truths_px:
    raise DataError(f'truth={truth!r}: allowed is {", ".join(cases.truths_px)}')
  return truth


def evaluate(
    cases: Cases, leak_free: Collection[str], cfg: EvaluateConfig, truth: str, title: str, seed: int
) -> dict:
  """All figures of one evaluation, as documented at the top of this file.

  Args:
    cases: see `align`.
    leak_free: ids of images without a copy in the training side or before them.
    cfg: number of bootstrap resamples.
    truth: 'senior', 'junior', 'mean' or 'truth'.
    title: what was evaluated, for people.
    seed: of the bootstrap.
  """
  primary = primary_truth(cases, truth)
  subsets = {'official': np.ones(len(cases.image_id), bool)}
  clean = np.array([i in set(leak_free) for i in cases.image_id])
  if not clean.all():
    subsets['leak_free'] = clean
  known = cases.spacing_mm[np.isfinite(cases.spacing_mm)]
  return {
      'schema_version': SCHEMA_VERSION,
      'title': title,
      'split': cases.split,
      'truth': primary,
      'images': len(cases.image_id),
      'images_without_spacing': len(cases.image_id) - len(known),
      'spacing_mm': {'min': float(known.min()), 'max': float(known.max())} if len(known) else None,
      'milliseconds_per_image': cases.milliseconds_per_image,
      'landmarks': list(cases.landmark_names),
      'results': {
          name: {
              subset: _figures(cases, name, rows, cfg.bootstrap,
                               seeds.rng(seed, 'bootstrap', name, subset))
              for subset, rows in subsets.items()
          }
          for name in cases.truths_px
      },
      'between_doctors': _between_doctors(cases, subsets),
      'correlations': {
          name: metrics.correlations(measure, cases.error_mm(primary))
          for name, measure in cases.measures.items()
      },
      'alarms': _alarms(cases, subsets, primary),
      'circles': _circles(cases, subsets, primary),
  }


def _figures(
    cases: Cases, truth: str, rows: np.ndarray, resamples: int, rng: np.random.Generator
) -> dict:
  truth_px, points_px = cases.truths_px[truth][rows], cases.points_px[rows]
  error_px = metrics.radial_error_px(points_px, truth_px)
  error_mm = error_px * cases.spacing_mm[rows, None]
  error_xy_mm = systematic.error_xy_mm(points_px, truth_px, cases.spacing_mm[rows])
  patients = [p for p, chosen in zip(cases.patient_id, rows, strict=True) if chosen]
  seen = np.isfinite(error_px)
  return {
      'images': int(rows.sum()),
      'patients': len(set(patients)),
      'missing_truth': int(np.isnan(truth_px).any(-1).sum()),
      'missing_prediction': int(np.isnan(points_px).any(-1).sum()),
      **metrics.summarize(error_mm),
      'mre_px': float(error_px[seen].mean()) if seen.any() else np.nan,
      'median_px': float(np.median(error_px[seen])) if seen.any() else np.nan,
      'intervals': metrics.bootstrap_intervals(error_mm, patients, rng, resamples),
      'random': metrics.summarize(systematic.random_error_mm(error_xy_mm, patients)),
      'per_landmark': [
          row | {'systematic_x_mm': float(x), 'systematic_y_mm': float(y)} for row, (x, y) in zip(
              metrics.per_landmark(error_mm, cases.landmark_names),
              systematic.systematic_error_mm(error_xy_mm), strict=True)],
  }


def _between_doctors(cases: Cases, subsets: dict[str, np.ndarray]) -> dict | None:
  if not {'senior', 'junior'} <= set(cases.truths_px):
    return None
  error_mm = metrics.radial_error_mm(
      cases.truths_px['junior'], cases.truths_px['senior'], cases.spacing_mm)
  return {name: metrics.summarize(error_mm[rows]) for name, rows in subsets.items()}


def _alarms(cases: Cases, subsets: dict[str, np.ndarray], truth: str) -> dict | None:
  if cases.refer is None:
    return None
  error_mm = cases.error_mm(truth)
  radius_px = np.full(error_mm.shape, np.nan) if cases.region_radius_px is None else cases.region_radius_px
  radius_mm = radius_px * cases.spacing_mm[:, None]
  return {name: alarms.alarms(np.array(cases.image_id)[rows].tolist(), cases.refer[rows], radius_mm[rows],
                              error_mm[rows])
          for name, rows in subsets.items()}


def _circles(cases: Cases, subsets: dict[str, np.ndarray], truth: str) -> dict | None:
  if cases.region_radius_px is None:
    return None
  error_px = metrics.radial_error_px(cases.points_px, cases.truths_px[truth])
  radius_mm = cases.region_radius_px * cases.spacing_mm[:, None]
  known = np.isfinite(error_px) & np.isfinite(cases.region_radius_px)

  def of(rows):
    inside, radii = (error_px <= cases.region_radius_px)[rows][known[rows]], radius_mm[rows][known[rows]]
    radii = radii[np.isfinite(radii)]
    return {'points': inside.size, 'coverage': float(inside.mean()) if inside.size else np.nan,
            'mean_radius_mm': float(radii.mean()) if radii.size else np.nan}
  return {name: of(rows) for name, rows in subsets.items()}


def bless(evaluation: dict, cfg: EvaluateConfig) -> dict:
  """Whether the figures on the official split, against the training truth, suffice.

  Returns:
    `blessed`, `reasons` (why not; empty when blessed) and the figures compared.
  """
  figures = evaluation['results'][evaluation['truth']]['official']
  mre_mm, sdr = figures['mre_mm'], figures['sdr_4mm']
  reasons = []
  if not figures['points']:
    reasons.append('no landmark has a known truth, a prediction and a known spacing')
  else:
    if mre_mm > cfg.max_mre_mm:
      reasons.append(f'MRE {mre_mm:.2f} mm is above evaluate.max_mre_mm={cfg.max_mre_mm:g}')
    if sdr < cfg.min_sdr_4mm:
      reasons.append(f'SDR(4 mm) {sdr:.3f} is below evaluate.min_sdr_4mm={cfg.min_sdr_4mm:g}')
  return {'blessed': not reasons, 'reasons': reasons, 'truth': evaluation['truth'],
          'split': evaluation['split'], 'mre_mm': mre_mm, 'sdr_4mm': sdr}


def plain(tree):
  """A tree as JSON can hold it: tuples become lists, NaN and infinity become null."""
  if isinstance(tree, Mapping):
    return {key: plain(value) for key, value in tree.items()}
  if isinstance(tree, (list, tuple)):
    return [plain(value) for value in tree]
  if isinstance(tree, float) and not np.isfinite(tree):
    return None
  return tree
