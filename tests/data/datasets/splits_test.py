import collections

import pytest

from ceph_tf.data import records
from ceph_tf.data.datasets import splits

PATIENTS = [f'{i:03d}' for i in range(150)]


def test_sizes_are_as_asked_for():
  counts = collections.Counter(splits.assign(PATIENTS, 15, 20, seed=0).values())
  assert counts == {'train': 115, 'validation': 15, 'calibration': 20}


def test_same_seed_same_division_in_any_order():
  assert splits.assign(PATIENTS, 15, 20, 3) == splits.assign(PATIENTS[::-1], 15, 20, 3)
  assert splits.assign(PATIENTS, 15, 20, 3) != splits.assign(PATIENTS, 15, 20, 4)


def test_whole_patients_are_taken_and_images_counted():
  images = [f'p{i // 3}' for i in range(30)]  # ten patients, three images each
  division = splits.assign(images, 5, 0, seed=1)
  assert collections.Counter(division[p] for p in images) == {'train': 24, 'validation': 6}


@pytest.mark.parametrize('patients,validation,calibration', [
    (['a', 'b'], 2, 0), (['a'], 1, 0), ([], 1, 0), (['a'] * 50, 1, 1), (['a', 'b', 'c'], 2, 1)])
def test_too_few_patients(patients, validation, calibration):
  with pytest.raises(records.DataError, match=f'too few patients.*{len(set(patients))} patients'):
    splits.assign(patients, validation, calibration, seed=0)
