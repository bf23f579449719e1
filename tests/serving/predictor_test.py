import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ceph_tf.config import Experiment, SamplerConfig
from ceph_tf.data import examples, preprocess
from ceph_tf.data import input as data_input
from ceph_tf.models import unet
from ceph_tf.overrides import override
from ceph_tf.serving.predictor import Predictor
from ceph_tf.uncertainty.measures import MEASURES

LANDMARKS = 19


def config(*fields):
  return override(Experiment(), ['input.height=32', 'input.width=32', 'model.filters=4,8', *fields]).network


DROPOUT = ('model.dropout_rate=0.5', 'model.dropout_at=down1')
SAMPLERS = {
    'baseline': (config(), SamplerConfig()),
    'mc_dropout': (config(*DROPOUT), SamplerConfig('passes', 4, chunk=2)),
    'ensemble': (config(), SamplerConfig('members', 2)),
}


def predictor(model):
  cfg, sampler = SAMPLERS[model]
  count = sampler.num_samples if sampler.kind == 'members' else 1
  networks = [unet.build(cfg.model, cfg.input, LANDMARKS, cfg.train.precision, k) for k in range(count)]
  return Predictor(networks, cfg, sampler, seed=5)


def picture(seed, height=90, width=70, extension='.png', dtype=np.uint8):
  rng = np.random.default_rng(seed)
  small = rng.uniform(0, np.iinfo(dtype).max, (9, 7)).astype(dtype)
  return cv2.imencode(extension, cv2.resize(small, (width, height)))[1].tobytes()


PICTURES = [picture(0), picture(1, 50, 120, '.jpg'), picture(2, 33, 33, '.bmp'),
            picture(3, 200, 150, '.png', np.uint16)]


def ask(folder, files, spacing_mm=None, signature='serving_default'):
  spacing = [np.nan] * len(files) if spacing_mm is None else spacing_mm
  return tf.saved_model.load(str(folder)).signatures[signature](
      image_bytes=tf.constant(files), spacing_mm=tf.constant(spacing, tf.float32))


@pytest.fixture(scope='module', params=SAMPLERS)
def exported(request, tmp_path_factory):
  folder = tmp_path_factory.mktemp('export') / request.param
  predictor(request.param).export(folder)
  return request.param, folder


def test_signatures(exported):
  model, folder = exported
  signatures = tf.saved_model.load(str(folder)).signatures
  assert set(signatures) == {'serving_default', 'predict_image', 'mean_heatmap', 'preprocess', 'features'}
  answers = ask(folder, PICTURES)
  samples = {'baseline': 1, 'mc_dropout': 4, 'ensemble': 2}[model]
  batch = len(PICTURES)
  assert {name: tuple(value.shape) for name, value in answers.items()} == {
      'points_px': (batch, 19, 2), 'samples_px': (batch, samples, 19, 2),
      'covariance_px2': (batch, 19, 2, 2), 'aleatoric_px2': (batch, 19, 2, 2),
      'points_mm': (batch, 19, 2), 'covariance_mm2': (batch, 19, 2, 2), 'aleatoric_mm2': (batch, 19, 2, 2),
      'spread_mm': (batch, 19), 'total_sd_mm': (batch, 19), 'ere_mm': (batch, 19),
      'features': (batch, 12), 'status': (batch,), **{name: (batch, 19) for name in MEASURES}}
  np.testing.assert_allclose(answers['points_px'], np.mean(answers['samples_px'], 1), rtol=1e-5)
  alone = signatures['features'](image_bytes=tf.constant(PICTURES))['features']
  np.testing.assert_allclose(alone, answers['features'], rtol=1e-2, atol=1e-3)


def test_an_answer_depends_on_its_image_alone(exported):
  together = ask(exported[1], PICTURES)
  turned = ask(exported[1], PICTURES[::-1])
  for position, one in enumerate(PICTURES):
    alone = ask(exported[1], [one])
    for name in ('points_px', 'samples_px', 'mha', 'total_sd_px'):
      np.testing.assert_allclose(together[name][position], alone[name][0], rtol=1e-3, atol=2e-2)
      np.testing.assert_allclose(together[name][position], turned[name][-1 - position], rtol=1e-3, atol=2e-2)


def test_mean_heatmap_lies_where_it_says(exported):
  """A blob in the source is, by scale and offset, where the network image was sampled from."""
  signatures = tf.saved_model.load(str(exported[1])).signatures
  answer = signatures['mean_heatmap'](image_bytes=tf.constant(PICTURES))
  assert answer['density'].shape == (len(PICTURES), 16, 16, 19)
  np.testing.assert_allclose(tf.reduce_sum(answer['density'], [1, 2]), 1, rtol=1e-3)
  corners = np.array([[-0.5, -0.5], [69.5, 89.5]])  # of the first picture, 70 x 90, padded to a square
  there = corners * answer['scale'][0].numpy() + answer['offset'][0].numpy()
  np.testing.assert_allclose(there[:, 1], [-0.5, 15.5], atol=1e-3)
  assert -0.5 < there[0, 0] < 2.5 and there[:, 0].sum() == pytest.approx(15, abs=0.6)


def test_image_signature_agrees_with_bytes(exported):
  signatures = tf.saved_model.load(str(exported[1])).signatures
  gray = cv2.imdecode(np.frombuffer(PICTURES[0], np.uint8), cv2.IMREAD_GRAYSCALE)
  from_bytes = ask(exported[1], PICTURES[:1], [0.5])
  from_float = signatures['predict_image'](
      image=tf.constant(gray[None, ..., None], tf.float32), spacing_mm=tf.constant([0.5]))
  np.testing.assert_allclose(from_bytes['points_mm'], from_float['points_mm'], atol=0.1)
  np.testing.assert_allclose(from_bytes['points_px'], from_float['points_px'], atol=0.2)


def test_runs_in_a_process_that_knows_nothing_of_ours(exported, tmp_path):
  np.savez(tmp_path / 'images.npz', **{str(i): np.frombuffer(p, np.uint8) for i, p in enumerate(PICTURES)})
  subprocess.run([sys.executable, '-m', 'ceph_tf.serving.outside', str(exported[1]),
                  str(tmp_path / 'images.npz'), str(tmp_path / 'answers.npz')], check=True)
  here = ask(exported[1], PICTURES)
  with np.load(tmp_path / 'answers.npz') as outside:
    np.testing.assert_allclose(here['samples_px'], outside['samples_px'], atol=2e-2)


def test_training_and_serving_see_the_same_network_image(tmp_path, phantom_records):
  """No skew: the same bytes, through the input chain and through the predictor."""
  examples.write(iter(phantom_records), tmp_path, 2, 'phantom')
  model = predictor('baseline')
  seen = {}

  def remember(admitted):
    seen['images'], seen['frame'] = admitted.images, admitted.frame
    return {'points_px': tf.zeros([len(admitted.images)])}

  model.predict = remember
  train = [record for record in phantom_records if record.split == 'train']
  model.serve(tf.constant([record.image_bytes for record in train]), tf.fill([len(train)], 0.1))
  shards = [str(path) for path in sorted(tmp_path.glob('train-*.tfrecord'))]
  trained_on = list(data_input.encoded(shards, model.cfg.input, 'truth'))
  assert [row['image_id'].numpy().decode() for row in trained_on] == [r.image_id for r in train]
  for k, row in enumerate(trained_on):
    np.testing.assert_array_equal(row['image'], seen['images'][k])
    np.testing.assert_array_equal(row['frame'].scale, seen['frame'].scale[k])
    np.testing.assert_array_equal(row['frame'].offset, seen['frame'].offset[k])
    truth = train[k].points_px['truth']
    np.testing.assert_allclose(row['frame'].to_source(row['points_px']), truth, atol=1e-2)


def test_bytes_that_are_no_image_are_refused():
  with pytest.raises(tf.errors.InvalidArgumentError):
    preprocess.encode(tf.constant(b'no image'), config().input)
