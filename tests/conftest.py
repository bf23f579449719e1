import os
import pathlib

import pytest

from ceph_tf.config import DataConfig


def pytest_collection_modifyitems(items):
  """Files that are slow first, or one of several workers is left alone with them at the end."""
  slow = {item.path for item in items if item.get_closest_marker('slow')}
  items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope='session')
def isbi_dir() -> pathlib.Path:
  """The ISBI 2015 data, from CEPH_TF_ISBI or `../shared/data/isbi2015` beside the repository."""
  default = pathlib.Path(__file__).parents[2] / 'shared' / 'data' / 'isbi2015'
  folder = pathlib.Path(os.environ.get('CEPH_TF_ISBI', default))
  if not (folder / 'RawImage').is_dir():
    pytest.skip(f'no ISBI 2015 data in {folder}; set CEPH_TF_ISBI to the folder with RawImage')
  return folder


@pytest.fixture(scope='session')
def phantom_records():
  """Twelve small phantoms: 8 to train, 1 to validate, 1 to calibrate, 2 to test."""
  from ceph_tf.data.datasets import DATASETS
  cfg = DataConfig(validation_images=1, calibration_images=1, phantom_images=10,
                   phantom_test_images=2, phantom_size_px=160)
  return list(DATASETS['phantom'](cfg, 0))
