import dataclasses
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ceph_tf.config import InputConfig
from ceph_tf.data import examples, preprocess
from ceph_tf.data import input as data_input
from ceph_tf.uncertainty.measures import MEASURES


def ask(folder, files, spacing_mm=None, signature='serving_default'):
  spacing = [np.nan] * len(files) if spacing_mm is None else spacing_mm
  return tf.saved_model.load(str(folder)).signatures[signature](
      image_bytes=tf.constant(files), spacing_mm=tf.constant(spacing, tf.float32))


@pytest.fixture(scope='module', params=[
    'baseline', 'mc_dropout', 'flipout', 'film_ensemble', 'views', 'ensemble', 'gaussian'])
def raw(request, predictor, tmp_path_factory):
  """Name and folder of a model of which nothing was fitted."""
  folder = tmp_path_factory.mktemp('export') / request.param
  predictor(request.param).export(folder)
  return request.param, folder


def test_signatures(raw, pictures):
  model, folder = raw
  signatures = tf.saved_model.load(str(folder)).signatures
  assert set(signatures) == {'serving_default', 'predict_image', 'mean_heatmap', 'preprocess', 'features'}
  answers = ask(folder, pictures)
  samples = {'baseline': 1, 'mc_dropout': 4, 'flipout': 3, 'film_ensemble': 3, 'views': 3,
             'ensemble': 2, 'gaussian': 1}[model]
  batch = len(pictures)
  assert {name: tuple(value.shape) for name, value in answers.items()} == {
      'points_px': (batch, 19, 2), 'samples_px': (batch, samples, 19, 2),
      'covariance_px2': (batch, 19, 2, 2), 'aleatoric_px2': (batch, 19, 2, 2),
      'points_mm': (batch, 19, 2), 'covariance_mm2': (batch, 19, 2, 2), 'aleatoric_mm2': (batch, 19, 2, 2),
      'spread_mm': (batch, 19), 'total_sd_mm': (batch, 19), 'ere_mm': (batch, 19),
      'features': (batch, 12), 'status': (batch,), **{name: (batch, 19) for name in MEASURES}}
  np.testing.assert_allclose(answers['points_px'], np.mean(answers['samples_px'], 1), rtol=1e-5)
  alone = signatures['features'](image_bytes=tf.constant(pictures))['features']
  np.testing.assert_allclose(alone, answers['features'], rtol=1e-2, atol=1e-3)


def test_each_weight_is_stored_once_in_16_bits(raw):
  stored = tf.train.load_checkpoint(str(raw[1] / 'variables/variables'))
  types = stored.get_variable_to_dtype_map()
  shapes = {name: shape for name, shape in stored.get_variable_to_shape_map().items() if shape}
  statistics = {name for name in shapes if types[name] == tf.float32}
  assert all(len(shapes[name]) == 1 for name in statistics)
  assert bool(statistics) == (raw[0] == 'flipout')  # folded into the kernels of all others
  assert {types[name] for name in shapes.keys() - statistics} == {tf.float16}
  biases = [shape for shape in shapes.values() if shape == [19]]
  assert len(biases) == (2 if raw[0] == 'ensemble' else 1)  # of the layer of each network that makes heatmaps


def test_an_answer_depends_on_its_image_alone(raw, pictures):
  together = ask(raw[1], pictures)
  turned = ask(raw[1], pictures[::-1])
  for position, one in enumerate(pictures):
    alone = ask(raw[1], [one])
    for name in ('points_px', 'samples_px', 'mha', 'total_sd_px'):
      np.testing.assert_allclose(together[name][position], alone[name][0], rtol=1e-3, atol=2e-2)
      np.testing.assert_allclose(together[name][position], turned[name][-1 - position], rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize('raw', ['mc_dropout'], indirect=True)  # what a model is makes no difference here
def test_a_batch_of_nothing_or_of_other_spacings_is_refused_in_words(raw, pictures):
  signatures = tf.saved_model.load(str(raw[1])).signatures
  for name in ('serving_default', 'mean_heatmap'):
    spacing = {'spacing_mm': tf.zeros([0])} if name == 'serving_default' else {}
    with pytest.raises(tf.errors.InvalidArgumentError, match='no image: allowed is a batch of one or more'):
      signatures[name](image_bytes=tf.constant([], tf.string), **spacing)
  for spacing in ([0.1], [0.1] * (len(pictures) + 1)):
    with pytest.raises(tf.errors.InvalidArgumentError, match='spacing_mm: allowed is one for each image'):
      ask(raw[1], pictures, spacing)


def test_a_file_answers_what_its_predictor_does(raw, pictures, predictor):
  # As a graph: there a convolution may be one operation with what follows, and round just once.
  serve = tf.function(predictor(raw[0]).serve)
  here = serve(tf.constant(pictures), tf.fill([len(pictures)], 0.1))
  there = ask(raw[1], pictures, [0.1] * len(pictures))
  for name in ('points_px', 'samples_px', 'mha', 'total_sd_px'):
    np.testing.assert_allclose(there[name], here[name], rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize('raw', ['mc_dropout'], indirect=True)  # what a model is makes no difference here
def test_mean_heatmap_lies_where_it_says(raw, pictures):
  """A blob in the source is, by scale and offset, where the network image was sampled from."""
  signatures = tf.saved_model.load(str(raw[1])).signatures
  answer = signatures['mean_heatmap'](image_bytes=tf.constant(pictures))
  assert answer['density'].shape == (len(pictures), 16, 16, 19)
  np.testing.assert_allclose(tf.reduce_sum(answer['density'], [1, 2]), 1, rtol=1e-3)
  corners = np.array([[-0.5, -0.5], [69.5, 89.5]])  # of the first picture, 70 x 90, padded to a square
  there = corners * answer['scale'][0].numpy() + answer['offset'][0].numpy()
  np.testing.assert_allclose(there[:, 1], [-0.5, 15.5], atol=1e-3)
  assert -0.5 < there[0, 0] < 2.5 and there[:, 0].sum() == pytest.approx(15, abs=0.6)


@pytest.mark.parametrize('raw', ['mc_dropout'], indirect=True)  # what a model is makes no difference here
def test_what_is_fitted_tempers_the_mean_heatmap_and_says_so(predictor, pictures, raw, tmp_path, some_fitted):
  model, folder = raw
  by = np.linspace(0.5, 4, 19)
  predictor(model, dataclasses.replace(some_fitted, temperatures=by)).export(tmp_path / 'fitted')
  files = tf.constant([*pictures, b'no image'])
  before, after = (tf.saved_model.load(str(path)).signatures['mean_heatmap'](image_bytes=files)
                   for path in (folder, tmp_path / 'fitted'))
  assert 'temperature' not in before
  np.testing.assert_allclose(after['temperature'][:-1], np.tile(by, (len(pictures), 1)), rtol=1e-6)
  assert np.isnan(after['temperature'][-1]).all() and np.isnan(after['density'][-1]).all()
  powered = before['density'].numpy()[:-1].astype(float)**(1 / by)
  powered /= powered.sum((1, 2), keepdims=True)
  np.testing.assert_allclose(after['density'][:-1], powered, rtol=0.05, atol=1e-4)


@pytest.mark.parametrize('raw', ['mc_dropout'], indirect=True)  # what a model is makes no difference here
def test_image_signature_agrees_with_bytes(raw, pictures):
  signatures = tf.saved_model.load(str(raw[1])).signatures
  gray = cv2.imdecode(np.frombuffer(pictures[0], np.uint8), cv2.IMREAD_GRAYSCALE)
  from_bytes = ask(raw[1], pictures[:1], [0.5])
  from_float = signatures['predict_image'](
      image=tf.constant(gray[None, ..., None], tf.float32), spacing_mm=tf.constant([0.5]))
  np.testing.assert_allclose(from_bytes['points_mm'], from_float['points_mm'], atol=0.1)
  np.testing.assert_allclose(from_bytes['points_px'], from_float['points_px'], atol=0.2)


@pytest.mark.parametrize('raw', ['mc_dropout'], indirect=True)  # what a model is makes no difference here
def test_runs_in_a_process_that_knows_nothing_of_ours(raw, pictures, tmp_path):
  np.savez(tmp_path / 'images.npz', **{str(i): np.frombuffer(p, np.uint8) for i, p in enumerate(pictures)})
  subprocess.run([sys.executable, '-m', 'ceph_tf.serving.outside', str(raw[1]),
                  str(tmp_path / 'images.npz'), str(tmp_path / 'answers.npz')], check=True)
  here = ask(raw[1], pictures)
  with np.load(tmp_path / 'answers.npz') as outside:
    np.testing.assert_allclose(here['samples_px'], outside['samples_px'], atol=2e-2)


def test_training_and_serving_see_the_same_network_image(predictor, tmp_path, phantom_records):
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
    preprocess.encode(tf.constant(b'no image'), InputConfig())


@pytest.mark.parametrize('exported', ['mc_dropout'], indirect=True)
def test_a_bad_image_has_a_status_and_no_answer_and_the_others_do_not_notice(exported, pictures):
  files = [b'no image', *pictures, pictures[0][:60]]
  mixed, alone = (ask(exported.path, some, [0.1] * len(some)) for some in (files, pictures))
  assert mixed['status'].numpy().tolist() == [b'not_an_image', *[b'ok'] * len(pictures), b'damaged']
  for name in set(alone) - {'status'}:
    np.testing.assert_allclose(mixed[name][1:-1], alone[name], rtol=1e-3, atol=2e-2, err_msg=name)
    bad = mixed[name].numpy()[[0, -1]]
    assert (np.isnan(bad) if bad.dtype == np.float32 else bad == (name == 'refer')).all(), name


@pytest.mark.parametrize('exported', ['mc_dropout'], indirect=True)
def test_what_has_a_length_is_there_in_mm_too(exported, pictures):
  spacing = np.array([0.5, np.nan, 2.0, 0.1], np.float32)
  answer = ask(exported.path, pictures, spacing)
  in_px = {name for name in answer if name.rpartition('_')[2] in ('px', 'px2')} - {'samples_px'}
  assert {'points_px', 'covariance_px2', 'region_radius_px', 'region_ellipse_px2', 'spread_px'} <= in_px
  for name in in_px:
    in_mm = answer[name.replace('px', 'mm')].numpy()
    assert np.isnan(in_mm[1]).all() and np.isfinite(answer[name][1]).all()
    for row, mm in ((0, 0.5), (2, 2.0), (3, 0.1)):
      factor = mm**2 if name.endswith('2') else mm
      np.testing.assert_allclose(in_mm[row], factor * answer[name][row], rtol=1e-5)


@pytest.mark.parametrize('exported', ['mc_dropout'], indirect=True)
def test_preprocess_shows_what_the_network_sees(exported, pictures):
  signature = tf.saved_model.load(str(exported.path)).signatures['preprocess']
  answer = signature(image_bytes=tf.constant([*pictures, b'no image']))
  size = InputConfig(height=32, width=32)
  for k, data in enumerate(pictures):
    image, frame = preprocess.encode(tf.constant(data), size)
    np.testing.assert_allclose(answer['image'][k], image, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answer['scale'][k], frame.scale, rtol=1e-6)
    np.testing.assert_allclose(answer['offset'][k], frame.offset, atol=1e-5)
  assert answer['status'][-1] == b'not_an_image' and np.isnan(answer['image'][-1]).all()
