"""From stored predictions of a test and a calibration split to `analysis.json`.

Schema (lengths in mm, rates are fractions, intervals are 95 % bootstrap intervals over
patients as [low, high]; a figure that is unknown is null):

    schema_version  1
    title, split, truth, landmarks
    status, words   'computed', or 'not_possible' and why; then there is nothing below
    config          coverage, bins, bootstrap, gross_mm
    calibration     images used; `left_out`: those whose film is also a training image
    measures        name -> confidence (larger is better), `status`: 'used', 'constant'
                    (with its `value`: nothing can be ranked by it) or 'missing'
    published       the thesis's correlations: measure, model, pearson_pooled, source
    subsets         `official`, and `leak_free` where films repeat ->
      images, patients, points, mre_mm
      perfect_aurc_mm what a ranking by the error itself would reach
      best            the measure with the smallest AURC, or null
      measures        name of a used measure ->
        correlations    see `association.correlations`
        selective       see `selective.evaluate`, points referred
        bins            see `calibrated.bins`
      regions         see `calibrated.regions`
      temperature     see `calibrated.tempering`
      recalibrated    likewise, for every second patient, with what needs no measure of uncertainty
                      calibrated on the others: what a user's own labels repair where the set is another
    shift           see `uncertainty.shift.check`: is the set like the calibration images? Null where
                    no measure can tell. Needs no labels, and so is there in any case. With
                    `strange_ids`, the names behind `strange_images`
"""

import dataclasses
from collections.abc import Collection

import numpy as np

from ceph_tf import seeds
from ceph_tf.config import AnalyzeConfig
from ceph_tf.data.records import DataError
from ceph_tf.evaluation import association, calibrated, published, selective
from ceph_tf.evaluation.evaluate import Cases, primary_truth
from ceph_tf.uncertainty.calibration import confidence_to_uncertainty
from ceph_tf.uncertainty.measures import CONFIDENCES

SCHEMA_VERSION = 1
_FLOOR_CONFIDENCE = 1e-3
_CONSTANT = 1e-6  # relative: the mutual information of one network is rounding


def uncertainty(name: str, values: np.ndarray) -> np.ndarray:
  """A measure as an uncertainty: not negative, larger is worse.

  A confidence becomes its inverse, with a floor that depends on no data: so that
  calibration and test images are treated alike.
  """
  if name in CONFIDENCES:
    return 1 / np.maximum(values, _FLOOR_CONFIDENCE)
  return np.maximum(values, 0)


def take(cases: Cases, rows: np.ndarray) -> Cases:
  """The images chosen by a mask [N]."""
  return dataclasses.replace(
      cases,
      **{name: tuple(x for x, chosen in zip(getattr(cases, name), rows, strict=True) if chosen)
         for name in ('image_id', 'patient_id')},
      **{name: getattr(cases, name)[rows]
         for name in ('spacing_mm', 'points_px', 'samples_px', 'covariance_px2', 'refer',
                      'region_radius_px', 'truth_score', 'area_mm2') if getattr(cases, name) is not None},
      **{name: {key: value[rows] for key, value in getattr(cases, name).items()}
         for name in ('measures', 'truths_px', 'tempering')})


def obstacle(cases: Cases, truth: str) -> str:
  """Why nothing can be said about these images, in words; '' if something can."""
  if not np.isfinite(cases.truths_px[truth]).all(-1).any():
    return (f'no image of {cases.split} has a truth {truth!r}: errors, and what depends on them, '
            f'need labelled images')
  if not np.isfinite(cases.spacing_mm).any():
    return (f'no image of {cases.split} has a known spacing: measures, regions and errors are in '
            f'mm, give the images a spacing')
  if not np.isfinite(cases.error_mm(truth)).any():
    return f'no image of {cases.split} has a prediction, a truth and a spacing'
  return ''


def status(values: np.ndarray) -> dict:
  """Whether a measure [N, L] can rank anything."""
  known = values[np.isfinite(values)]
  if not known.size:
    return {'status': 'missing'}
  if np.ptp(known) <= _CONSTANT * max(1.0, np.abs(known).max()):
    return {'status': 'constant', 'value': float(known.mean())}
  return {'status': 'used'}


def analyze(
    cases: Cases,
    calibration: Cases,
    leak_free: Collection[str],
    unseen: Collection[str],
    cfg: AnalyzeConfig,
    truth: str,
    title: str,
    seed: int,
) -> dict:
  """All that is known about the uncertainties, as documented at the top of this file.

  Args:
    cases: the test images.
    calibration: the calibration images.
    leak_free: ids of test images without a copy in the training side or before them.
    unseen: ids of calibration images without a copy among the images trained on.
    cfg: coverage, bins, resamples, gross errors.
    truth: 'senior', 'junior', 'mean' or 'truth'.
    title: what was analysed, for people.
    seed: of the bootstrap.

  Raises:
    DataError: test images without any label or spacing (see `obstacle`), or
      calibration images of other landmarks or measures.
  """
  truth = primary_truth(cases, truth)
  if words := obstacle(cases, truth):
    raise DataError(words)
  _same_kind(cases, calibration, truth)
  kept = np.isin(calibration.image_id, list(unseen))
  left_out = [i for i, keep in zip(calibration.image_id, kept, strict=True) if not keep]
  calibration = take(calibration, kept)
  subsets = {'official': np.ones(len(cases.image_id), bool)}
  clean = np.isin(cases.image_id, list(leak_free))
  if not clean.all():
    subsets['leak_free'] = clean
  measures = {name: {'confidence': name in CONFIDENCES, **status(values)}
              for name, values in cases.measures.items()}
  used = [name for name, facts in measures.items() if facts['status'] == 'used']
  return {
      **heading(title, cases.split, truth, cases.landmark_names, 'computed', ''),
      'config': dataclasses.asdict(cfg),
      'calibration': {'images': len(calibration.image_id),
                      'left_out': left_out},
      'measures': measures,
      'published': published.figures(pearson_pooled='error'),
      'subsets': {
          name: _subset(take(cases, rows), calibration, used, cfg, truth, (seed, 'analyze', name))
          for name, rows in subsets.items() if np.isfinite(cases.error_mm(truth)[rows]).any()
      },
  }


def heading(title: str, split: str, truth: str, names: tuple[str, ...], state: str,
            words: str) -> dict:
  """The first fields of an analysis, possible or not."""
  return {'schema_version': SCHEMA_VERSION, 'title': title, 'split': split, 'truth': truth,
          'landmarks': list(names), 'status': state, 'words': words}


def _same_kind(cases: Cases, calibration: Cases, truth: str) -> None:
  if calibration.landmark_names != cases.landmark_names:
    raise DataError(f'landmarks of the calibration images {calibration.landmark_names} and of '
                    f'{cases.split} {cases.landmark_names}: must be the same')
  if set(calibration.measures) != set(cases.measures):
    raise DataError(f'measures of the calibration images {sorted(calibration.measures)} and of '
                    f'{cases.split} {sorted(cases.measures)}: must be the same')
  if truth not in calibration.truths_px:
    raise DataError(f'calibration images have no truth {truth!r}: they have '
                    f'{", ".join(calibration.truths_px) or "none"}')


def _subset(cases: Cases, calibration: Cases, used: list[str], cfg: AnalyzeConfig, truth: str,
            seed: tuple) -> dict:
  error, error_calibration = cases.error_mm(truth), calibration.error_mm(truth)
  u = {name: uncertainty(name, cases.measures[name]) for name in used}
  u_calibration = {name: uncertainty(name, calibration.measures[name]) for name in used}
  odd = np.unique(np.asarray(cases.patient_id, dtype=str), return_inverse=True)[1] % 2 == 1
  figures = {}
  for name in used:
    if not (np.isfinite(u[name]) & np.isfinite(error)).any():
      continue
    figures[name] = {
        'correlations': association.correlations(
            cases.measures[name], error, cases.patient_id, seeds.rng(*seed, 'correlation', name),
            cfg.bootstrap),
        'selective': selective.evaluate(
            u[name], error, cases.patient_id, seeds.rng(*seed, 'selective', name), cfg.bootstrap,
            gross_mm=cfg.gross_mm),
        'bins': _bins(name, calibration, error_calibration, cases, error, cfg.bins),
    }
  return {
      'images': len(cases.image_id),
      'patients': len(set(cases.patient_id)),
      'points': int(np.isfinite(error).sum()),
      'mre_mm': float(np.nanmean(error)),
      'perfect_aurc_mm': perfect_aurc_mm(error),
      'best': ranked(figures)[0][0] if figures else None,
      'measures': figures,
      'regions': calibrated.regions(
          calibration, cases, truth, {name: (u_calibration[name], u[name]) for name in figures},
          cfg.coverage),
      'temperature': calibrated.tempering(cases),
      'recalibrated': calibrated.regions(
          take(cases, odd), take(cases, ~odd), truth, {}, cfg.coverage),
  }


def ranked(measures: dict) -> list[tuple[str, dict]]:
  """The measures of a subset and their figures, the smallest AURC first."""
  return sorted(measures.items(), key=lambda item: item[1]['selective']['figures']['aurc_mm'])


def binned(name: str, values: np.ndarray) -> np.ndarray:
  """A measure [N, L] of one split as Schobs et al. bin it.

  Raises:
    ValueError: a landmark without any confidence above zero.
  """
  return confidence_to_uncertainty(values) if name in CONFIDENCES else values


def _bins(name: str, calibration: Cases, error_calibration: np.ndarray, cases: Cases,
          error: np.ndarray, count: int) -> dict:
  try:
    before, now = (binned(name, part.measures[name]) for part in (calibration, cases))
  except ValueError as problem:
    return {'status': 'not_possible', 'words': str(problem)}
  return calibrated.bins(before, error_calibration, now, error, count, cases.landmark_names)


def perfect_aurc_mm(error_mm: np.ndarray) -> float:
  """The area under the risk-coverage curve of a ranking by the error itself."""
  known = np.sort(error_mm[np.isfinite(error_mm)])
  return float((np.cumsum(known) / np.arange(1, known.size + 1)).mean())
