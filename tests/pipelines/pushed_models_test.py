"""Which model is meant by a path, and what it is called."""

import os

import pytest

from ceph_tf.config import ConfigError
from pipelines import pushed_models


def model_in(folder, age):
  folder.mkdir(parents=True)
  (folder / 'saved_model.pb').touch()
  os.utime(folder / 'saved_model.pb', (1e9 - age, 1e9 - age))
  return folder


def test_the_newest_version_of_the_model_that_was_pushed_last(tmp_path):
  with pytest.raises(ConfigError, match='there is no SavedModel'):
    pushed_models.newest_model(tmp_path)
  old, new = model_in(tmp_path / 'a/9', 5), model_in(tmp_path / 'a/10', 20)
  assert pushed_models.newest_model(old) == old
  assert pushed_models.newest_model(tmp_path / 'a') == new == pushed_models.newest_model(tmp_path)
  other = model_in(tmp_path / 'b/1', 10)
  (tmp_path / 'b/2').mkdir()  # nothing in it
  (tmp_path / 'README.md').touch()
  assert pushed_models.newest_model(tmp_path) == other
  with pytest.raises(ConfigError, match='there is no SavedModel'):
    pushed_models.newest_model(tmp_path / 'README.md')


def test_a_version_is_called_by_its_model(tmp_path):
  assert pushed_models.title(tmp_path / 'a' / '10') == 'a, version 10'
  assert pushed_models.title(tmp_path / 'mine') == 'mine'
