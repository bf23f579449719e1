"""recalibrator: a SavedModel is brought to where the calibration films are from, and nothing is trained."""

import json
import pathlib
import shutil

import numpy as np

from ceph_tf.config import AnalyzeConfig
from ceph_tf.data.records import DataError
from ceph_tf.serving import saved_model as pushed_model
from ceph_tf.serving.recalibrated import FILMS, NEEDED, Recalibrated
from ceph_tf.uncertainty import conformal, habits
from ceph_tf.uncertainty import fitted as fitting
from pipelines import cases, digests
from pipelines.artifacts import Anomalies, Examples, Predictions, ServableModel
from pipelines.dsl import In, Out, component

ORIGIN = 'assets.extra/origin'  # the papers of the model before


@component
def recalibrator(servable: In[ServableModel], calibration: In[Predictions], examples: In[Examples],
                 anomalies: In[Anomalies], recalibrated: Out[ServableModel], *, cfg: AnalyzeConfig,
                 truth: str):
  """Takes the habits of the site's doctors out of its errors, and fits regions, bins and alarms anew.

  Regions hold what the films of each patient have left of their errors once the habits are taken away
  that the other patients show. Alarms compare with these films, and no copies of them: this is their scanner.

  Args:
    servable: the model.
    calibration: its predictions of the split 'calibration', whose films must not have trained it.
    examples: with the truths.
    anomalies: names films that occur more than once.
    recalibrated: the model with what was fitted; see `ceph_tf.serving.recalibrated`.
    cfg: coverage, bins, alpha.
    truth: the one that habits are seen in.

  Raises:
    DataError: too few patients or truths, films that it was recalibrated on before, or a model that nothing
      was fitted for.
  """
  found = calibration.read()
  if missing := [name for name in NEEDED if not {name, f'measure/{name}'} & found.keys()]:
    raise DataError(f'the model does not answer with {", ".join(missing)}: it was trained with '
                    'data.calibration_images=0, and has nothing that could be fitted anew')
  ids = found['image_id'].tolist()
  rows = cases.unseen(ids, anomalies.read()['duplicates'], examples, ('train', 'validation'))
  found = {name: value[rows] for name, value in found.items() if np.ndim(value)}
  ids, points = found['image_id'].tolist(), found['points_px']
  films = cases.records(examples, 'calibration', ids)
  patients, shas = [r.patient_id for r in films], [digests.of_bytes(r.image_bytes) for r in films]
  needed, number = fitting.needed_patients(cfg.coverage, cfg.alpha), len(set(patients))
  if number < needed:
    raise DataError(f'the calibration images, without training images and repetitions, are of {number} '
                    f'patients: a coverage of {cfg.coverage:g} and an alpha of {cfg.alpha:g} need {needed} '
                    '(settings: data.calibration_images, analyze.coverage, analyze.alpha)')
  model = pushed_model.load(servable.saved_model)
  before = model.calibration.get(FILMS, [])
  if again := [i for i, one in zip(ids, shas, strict=True) if one in before]:
    raise DataError(f'the model was already recalibrated on {len(again)} of the {len(ids)} calibration '
                    f'images ({cases.some(again)}), where its errors would flatter it; allowed are other '
                    'images, or the model that it was before')
  size = habits.size_px(points).numpy()[:, None, None]
  errors = (points - cases.truths(films, truth)) / size
  left = (errors - habits.of_others(errors, patients)) * size
  fitted = fitting.refit(
      found['ood_score'][:, None], -left, found['covariance_px2'],
      found[f'measure/{fitting.BIN_MEASURE}'][:, None], cfg.coverage, cfg.bins, cfg.alpha, patients)
  if not fitted.has_regions:
    raise DataError(f'no landmark has a truth of {conformal.needed_patients(cfg.coverage)} calibration '
                    f'patients, which a coverage of {cfg.coverage:g} needs')
  habit = habits.fit(errors, patients)
  Recalibrated(model.loaded, fitted, habit).export(recalibrated.saved_model)
  calibrated = model.calibration | fitting.summary(fitted, list(model.landmarks)) | {
      'habits_in_head_sizes': habit.tolist(), FILMS: sorted({*before, *shas})}
  _describe(servable.saved_model, recalibrated.saved_model, list(model.landmarks), calibrated)


def _describe(before: pathlib.Path, after: pathlib.Path, landmarks: list[str], calibration: dict) -> None:
  """Writes `assets.extra/` of the model `after`, with the papers of the one before."""
  origin = after / ORIGIN
  origin.mkdir(parents=True)
  for paper in ('lineage.json', 'experiment.json', 'evaluation.json', 'assets.extra/calibration.json'):
    if (before / paper).is_file():
      shutil.copy(before / paper, origin)
  if (before / ORIGIN).is_dir():
    shutil.copytree(before / ORIGIN, origin / 'origin')
  for name, content in (('landmarks.json', landmarks), ('calibration.json', calibration)):
    (origin.parent / name).write_text(json.dumps(content, indent=2), 'utf-8')
  if (before / 'assets.extra/sampler.json').is_file():
    shutil.copy(before / 'assets.extra/sampler.json', origin.parent)
