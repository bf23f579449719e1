import dataclasses

import numpy as np
import pytest

from ceph_tf.data import records

SENIOR = np.zeros((19, 2), np.float32)
JUNIOR = np.full((19, 2), 4, np.float32)


def test_nineteen_different_landmarks():
  assert len(records.LANDMARKS) == len(set(records.LANDMARKS)) == 19


def test_mean_is_missing_where_any_is():
  junior = JUNIOR.copy()
  junior[3] = np.nan
  mean = records.truth_points({'senior': SENIOR, 'junior': junior}, 'mean')
  assert np.all(np.isnan(mean[3]))
  np.testing.assert_array_equal(np.delete(mean, 3, 0), 2)


def test_single_truth_answers_to_every_name():
  for name in ('truth', 'mean', 'senior'):
    assert records.truth_points({'truth': JUNIOR}, name) is JUNIOR


def test_unknown_truth_names_the_known_ones():
  with pytest.raises(records.DataError, match="'resident'.*senior, junior, mean"):
    records.truth_points({'senior': SENIOR, 'junior': JUNIOR}, 'resident')


def test_record_checks_split_and_shape():
  good = records.Record('a', b'', 0.1, 'train', 'a', {'truth': SENIOR}, 10, 10)
  assert good.points_px['truth'].dtype == np.float32
  for change in ({'split': 'holdout'}, {'points_px': {'truth': SENIOR[:18]}}, {'points_px': {}}):
    with pytest.raises(records.DataError, match="'a'"):
      dataclasses.replace(good, **change)
