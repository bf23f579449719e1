"""A tiny model with all that is fitted inside, where a pusher would have put it."""

import importlib.util
import json
import pathlib

import pytest

from ceph_tf.data.records import LANDMARKS
from ceph_tf.uncertainty import fitted as fitting


def loaded(path):
  """A file of tests as a module: tests are no package."""
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope='session')
def xray_files():
  return loaded(pathlib.Path(__file__).parents[1] / 'xray_files.py')


@pytest.fixture(scope='session')
def tiny_models(tmp_path_factory):
  """The folder of models; in it `tiny`, version 1."""
  tiny = loaded(pathlib.Path(__file__).parents[1] / 'serving' / 'conftest.py')
  models = tmp_path_factory.mktemp('models')
  folder, fitted = models / 'tiny' / '1', tiny.some_fitted()
  tiny.predictor('mc_dropout', fitted).export(folder)
  (folder / 'assets.extra').mkdir()
  summary = fitting.summary(fitted, list(LANDMARKS))
  (folder / 'assets.extra' / 'calibration.json').write_text(json.dumps(summary), 'utf-8')
  return models
