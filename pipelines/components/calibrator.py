"""calibrator: what training, validation and calibration images say about the answers of a model."""

import numpy as np

from ceph_tf.config import AnalyzeConfig
from ceph_tf.data.records import DataError
from ceph_tf.uncertainty import fitted as fitting
from ceph_tf.uncertainty import temperature
from pipelines import cases
from pipelines.artifacts import Anomalies, Calibration, Examples, Predictions
from pipelines.dsl import In, Out, component


@component
def calibrator(train: In[Predictions], validation: In[Predictions], calibration: In[Predictions],
               examples: In[Examples], anomalies: In[Anomalies],
               fitted: Out[Calibration], *, cfg: AnalyzeConfig, truth: str):
  """Writes `fitted.npz`; see `ceph_tf.uncertainty.fitted`.

  Args:
    train: `features` of the split 'train' and of copies of it, for their density.
    validation: mean heatmaps of the split 'validation', for temperatures: the calibration split is
      left for regions, which are fitted on what these made of the heatmaps.
    calibration: predictions of the split 'calibration', whose films must not be trained on: of each
      image as it is, for everything, and of its copies, for p-values.
    examples: with the truths.
    anomalies: names films that occur more than once; copies of training films are left out.
    fitted: the numbers.
    cfg: coverage, bins, alpha.
    truth: the truth the network was trained on.

  Raises:
    DataError: no calibration image that was not also trained on.
  """
  ids, found = _by_image(calibration.read())
  duplicates = anomalies.read()['duplicates']
  rows = cases.unseen(ids, duplicates, examples, ('train', 'validation'))
  if not rows.any():
    raise DataError(f'all {len(ids)} calibration images are also training images; set '
                    'data.calibration_images=0 or give other films')
  films = cases.records(examples, 'calibration', ids)
  truths = cases.truths(films, truth)
  result = fitting.fit(
      train.read()['features'], found['features'][rows],
      (truths - found['points_px'][:, 0])[rows], found['covariance_px2'][rows, 0],
      found[f'measure/{fitting.BIN_MEASURE}'][rows],
      cfg.coverage, cfg.bins, cfg.alpha, _temperatures(validation.read(), duplicates, examples, truth),
      [film.patient_id for film, chosen in zip(films, rows, strict=True) if chosen])
  fitting.save(result, fitted.fitted)


def _by_image(answers: dict[str, np.ndarray]) -> tuple[list[str], dict[str, np.ndarray]]:
  """N image ids, and arrays [N, C, ...] of each image and then its copies, of those with N * C rows."""
  ids = list(dict.fromkeys(answers['image_id'].tolist()))
  return ids, {name: value.reshape(len(ids), -1, *value.shape[1:]) for name, value in answers.items()}


def _temperatures(heatmaps: dict[str, np.ndarray], duplicates: list, examples: Examples,
                  truth: str) -> np.ndarray | None:
  """Of the answers of `mean_heatmap`; None where no validation image is unlike the training images."""
  ids = [str(i) for i in heatmaps.get('image_id', ())]
  rows = cases.unseen(ids, duplicates, examples, ('train',))
  if not rows.any():
    return None
  truths = cases.truths(cases.records(examples, 'validation', ids), truth)
  truths_px = truths * heatmaps['scale'][:, None] + heatmaps['offset'][:, None]
  return temperature.fit(np.moveaxis(heatmaps['density'][rows], -1, 1), truths_px[rows])
