import os

import pytest

from ceph_tf.config import ConfigError, DataConfig
from ceph_tf.data import datasets
from ceph_tf.data.records import DataError


def test_changes_with_names_sizes_and_times(tmp_path):
  cfg = DataConfig(dataset='csv', data_dir=str(tmp_path))
  digests = [datasets.digest(cfg)]
  file = tmp_path / 'a.csv'
  for content in ('1', '22'):
    file.write_text(content)
    digests.append(datasets.digest(cfg))
  os.utime(file, ns=(1, 1))
  digests.append(datasets.digest(cfg))
  file.rename(tmp_path / 'b.csv')
  digests.append(datasets.digest(cfg))
  assert len(set(digests)) == 5
  assert datasets.digest(cfg) == digests[-1]


def test_missing_folder_and_unknown_dataset(tmp_path):
  with pytest.raises(DataError, match='no such folder'):
    datasets.digest(DataConfig(dataset='csv', data_dir=str(tmp_path / 'x')))
  for function in (datasets.digest, lambda cfg: datasets.records(cfg, 0)):
    with pytest.raises(ConfigError, match="data.dataset='isbi'.*isbi2015"):
      function(DataConfig(dataset='isbi'))
