"""calibrator: what training and calibration images say about the answers of a model."""

import numpy as np

from ceph_tf.config import AnalyzeConfig
from ceph_tf.data import examples as tfrecords
from ceph_tf.data.records import DataError, truth_points
from ceph_tf.data.validate import leak_free_ids
from ceph_tf.uncertainty import fitted as fitting
from pipelines.artifacts import Anomalies, Calibration, Examples, Predictions
from pipelines.dsl import In, Out, component


@component
def calibrator(train: In[Predictions], calibration: In[Predictions], examples: In[Examples],
               anomalies: In[Anomalies], fitted: Out[Calibration], *, cfg: AnalyzeConfig, truth: str):
  """Writes `fitted.npz`; see `ceph_tf.uncertainty.fitted`.

  Args:
    train: `features` of the split 'train', for their density.
    calibration: predictions of the split 'calibration', whose films must not be trained on.
    examples: with the truths.
    anomalies: names films that occur more than once; copies of training films are left out.
    fitted: the numbers.
    cfg: coverage, bins, alpha.
    truth: the truth the network was trained on.

  Raises:
    DataError: no calibration image that was not also trained on.
  """
  before = calibration.read()
  records = {r.image_id: r for r in tfrecords.read_records(examples.shards('calibration'))}
  ids = [str(i) for i in before['image_id']]
  seen = {r.image_id: split for split in ('train', 'validation') if split in examples.splits()
          for r in tfrecords.read_records(examples.shards(split))}
  rows = np.isin(ids, list(leak_free_ids(ids, anomalies.read()['duplicates'], seen)))
  if not rows.any():
    raise DataError(f'all {len(ids)} calibration images are also training images; set '
                    'data.calibration_images=0 or give other films')
  truths = np.stack([truth_points(records[i].points_px, truth) for i in ids])
  result = fitting.fit(
      train.read()['features'], before['features'][rows], (truths - before['points_px'])[rows],
      before['covariance_px2'][rows], before[f'measure/{fitting.BIN_MEASURE}'][rows],
      cfg.coverage, cfg.bins, cfg.alpha)
  fitting.save(result, fitted.fitted)
