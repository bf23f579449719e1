"""The embedded dataset: a function of the seed, disjoint splits, usable records."""

import dataclasses

import cv2
import numpy as np
import pytest

from ceph_tf.config import DataConfig
from ceph_tf.data.datasets import phantom as dataset
from ceph_tf.data.records import LANDMARKS, DataError


@pytest.fixture(scope='module')
def small() -> DataConfig:
  return DataConfig(
    validation_images=2,
    calibration_images=1,
    phantom_images=6,
    phantom_test_images=3,
    phantom_size_px=120,
  )


def test_dataset_is_a_function_of_the_seed(small):
  once, again = list(dataset.records(small, 7)), list(dataset.records(small, 7))
  assert [r.image_bytes for r in once] == [r.image_bytes for r in again]
  np.testing.assert_array_equal(
    [r.points_px['truth'] for r in once], [r.points_px['truth'] for r in again]
  )
  other = list(dataset.records(small, 8))
  assert all(a.image_bytes != b.image_bytes for a, b in zip(once, other, strict=True))
  fewer = list(dataset.records(dataclasses.replace(small, phantom_images=5), 7))
  assert {r.image_id: r.image_bytes for r in fewer}.items() <= {
    r.image_id: r.image_bytes for r in once
  }.items()


def test_dataset_splits_are_disjoint_and_images_differ(small):
  records = list(dataset.records(small, 7))
  splits = [r.split for r in records]
  assert [splits.count(s) for s in ('train', 'validation', 'calibration', 'test')] == [3, 2, 1, 3]
  assert len({r.patient_id for r in records}) == len({r.image_bytes for r in records}) == 9
  shapes = np.array([r.points_px['truth'] - r.points_px['truth'][0] for r in records]) * 2.0
  for i in range(9):
    for j in range(i):
      assert np.abs(shapes[i] - shapes[j]).max() > 1
  with pytest.raises(DataError):
    list(dataset.records(dataclasses.replace(small, phantom_images=4, validation_images=4), 7))


def test_records_face_right_and_hold_their_landmarks(small):
  for record in dataset.records(small, 3):
    image = cv2.imdecode(np.frombuffer(record.image_bytes, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (
      image.shape == (record.height_px, record.width_px) == (120, 96) and record.spacing_mm == 2.0
    )
    x, y = record.points_px['truth'].T
    assert x.min() > 0 and y.min() > 0 and x.max() < 96 and y.max() < 120
    at = dict(zip(LANDMARKS, record.points_px['truth'], strict=True))
    assert (
      at['nasion'][0] > at['sella'][0] > at['porion'][0]
      and at['menton'][1] > at['ans'][1] > at['nasion'][1]
    )
    assert image[:, -3:].mean() < 60 < 120 < image[40, 40]  # air in front of the face, the vault
