"""Examples for components that train."""

import pytest

from ceph_tf.data import examples as example_files
from pipelines import artifacts


@pytest.fixture(scope='session')
def examples(tmp_path_factory, phantom_records):
  made = artifacts.Examples(tmp_path_factory.mktemp('examples'))
  example_files.write(iter(phantom_records), made.path, 2, 'phantom')
  return made
