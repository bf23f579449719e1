"""What is loaded, what it calls itself, and models that are none of ours."""

import hashlib
import json
import math

import numpy as np
import pytest
import tensorflow as tf

from ceph_tf.data.records import LANDMARKS, DataError
from ceph_tf.serving import saved_model
from ceph_tf.uncertainty import fitted as fitting


@pytest.fixture(scope='module')
def folder(predictor, tmp_path_factory):
  folder = tmp_path_factory.mktemp('models') / 'mc_x' / '12'
  predictor('baseline').export(folder)
  return folder


def test_name_version_and_defaults(folder):
  model = saved_model.load(folder)
  assert (model.name, model.version, model.lineage_sha256) == ('mc_x', 12, None)
  assert model.landmarks == LANDMARKS and (model.coverage, model.bins) == (None, None)


def test_what_lies_beside_the_model(folder, tmp_path):
  other = tmp_path / 'plain'
  tf.io.gfile.makedirs(str(other / 'assets.extra'))
  for path in folder.rglob('*'):
    if path.is_file():
      target = other / path.relative_to(folder)
      target.parent.mkdir(exist_ok=True)
      target.write_bytes(path.read_bytes())
  (other / 'lineage.json').write_bytes(b'{}')
  (other / 'assets.extra/landmarks.json').write_text(json.dumps([f'p{k}' for k in range(19)]))
  rng = np.random.default_rng(0)
  eye = np.broadcast_to(np.eye(2), (9, 19, 2, 2))
  fitted = fitting.fit(rng.normal(size=(9, 3)), rng.normal(size=(9, 1, 3)), rng.normal(size=(9, 19, 2)), eye,
                       rng.uniform(size=(9, 1, 19)), 0.9, 4, 0.05)
  summary = fitting.summary(fitted, list(LANDMARKS))
  (other / 'assets.extra/calibration.json').write_text(json.dumps(summary))
  model = saved_model.load(other)
  assert (model.name, model.version) == ('plain', None)
  assert model.lineage_sha256 == hashlib.sha256(b'{}').hexdigest()
  assert model.landmarks[3] == 'p3' and (model.coverage, model.bins) == (0.9, 4)
  (other / 'assets.extra/calibration.json').write_text('[1]')
  with pytest.raises(DataError, match='calibration.json holds no object'):
    saved_model.load(other)
  (other / 'assets.extra/calibration.json').unlink()
  (other / 'assets.extra/landmarks.json').write_text('["one"]')
  with pytest.raises(DataError, match='does not name the 19 landmarks'):
    saved_model.load(other)
  (other / 'assets.extra/landmarks.json').write_text('[')
  with pytest.raises(DataError, match='landmarks.json is no JSON'):
    saved_model.load(other)


def test_answers_are_those_of_the_signature(folder, pictures):
  model = saved_model.load(folder)
  answers = model.ask(pictures, [0.1, math.nan, 1.0, 2.0])
  expected = model.loaded.signatures['serving_default'](
      image_bytes=tf.constant(pictures), spacing_mm=tf.constant([0.1, math.nan, 1.0, 2.0]))
  assert len(answers) == len(pictures)
  for k, answer in enumerate(answers):
    assert set(answer) == set(expected) and answer['status'] == b'ok'
    np.testing.assert_allclose(answer['points_mm'], expected['points_mm'][k], rtol=1e-4, atol=1e-2)


def test_a_model_of_others_is_named(tmp_path):
  class Other(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name='x')])
    def double(self, x):
      return {'y': 2 * x}

  other = Other()
  tf.saved_model.save(other, str(tmp_path / 'a'), signatures={'serving_default': other.double})
  with pytest.raises(DataError, match='no model of ours: serving_default takes x and answers y; needed are'):
    saved_model.load(tmp_path / 'a')
  tf.saved_model.save(other, str(tmp_path / 'b'), signatures={'more': other.double})
  with pytest.raises(DataError, match='takes nothing and answers nothing'):
    saved_model.load(tmp_path / 'b')


@pytest.mark.parametrize('content', [None, b'', b'garbage' * 50])
def test_no_or_a_damaged_model_is_one_line(tmp_path, content):
  if content is not None:
    (tmp_path / 'saved_model.pb').write_bytes(content)
  with pytest.raises(DataError, match='holds no SavedModel that can be loaded|no model of ours') as caught:
    saved_model.load(tmp_path)
  assert '\n' not in str(caught.value)
