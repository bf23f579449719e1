"""A SavedModel enters the pipeline: whole, and only if it fits the examples."""

import json
import shutil

import pytest

from ceph_tf.data.records import LANDMARKS, DataError
from pipelines import artifacts, digests
from pipelines.components.importer import importer


@pytest.fixture
def folder(tiny_models, tmp_path):
  return shutil.copytree(tiny_models / 'tiny' / '1', tmp_path / 'tiny')


def imported(folder, examples, tmp_path):
  servable = artifacts.ServableModel(tmp_path / 'out')
  servable.path.mkdir()
  importer.function(examples=examples, servable=servable, saved_model=str(folder))
  return servable


def test_the_copy_is_whole(folder, examples, tmp_path):
  servable = imported(folder, examples, tmp_path)
  assert servable.calibrated
  assert digests.tree_digest(servable.saved_model) == digests.tree_digest(folder)


def test_another_model_in_the_same_folder_is_noticed(folder):
  before = importer.external(saved_model=str(folder))
  assert importer.external(saved_model=str(folder)) == before
  (folder / 'assets.extra/calibration.json').write_text('{}')
  assert importer.external(saved_model=str(folder)) != before


def test_other_landmarks_than_the_examples_are_refused(folder, examples, tmp_path):
  names = [*LANDMARKS[1::-1], *LANDMARKS[2:]]  # the first two have changed places
  (folder / 'assets.extra/landmarks.json').write_text(json.dumps(names))
  with pytest.raises(DataError, match=r'19 landmarks \(nasion, sella, .* 19 \(sella, nasion, '):
    imported(folder, examples, tmp_path)
  assert not (tmp_path / 'out/saved_model').exists()


def test_a_damaged_model_is_refused(folder, examples, tmp_path):
  (folder / 'saved_model.pb').write_bytes(b'no protocol buffer')
  with pytest.raises(DataError, match='holds no SavedModel that can be loaded'):
    imported(folder, examples, tmp_path)
