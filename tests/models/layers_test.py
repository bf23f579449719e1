"""Layers that take noise: what is random, what is learned, and what survives a file."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from ceph_tf import seeds
from ceph_tf.config import Experiment
from ceph_tf.models import train, unet
from ceph_tf.models.layers import ChannelMask, Conv2DFlipout, Conv2DReparameterization, OwnAffine, kl_nats
from ceph_tf.overrides import override

KINDS = pytest.mark.parametrize('kind', [Conv2DReparameterization, Conv2DFlipout])
MEAN, DRAW, OTHER = ([row] for row in ([3, 4, 0], [3, 4, 1], [3, 5, 1]))
MEMBERS = ['model.members=3', 'model.members_at=down1,up0']
VARIATIONAL = ['model.variational_at=down1,up0', 'model.posterior_scale=0.5']


def features(batch=3, seed=0):
  return tf.constant(np.random.default_rng(seed).normal(size=(batch, 6, 5, 4)), tf.float32)


def layer(kind, **kwargs):
  made = kind(7, 3, name='conv', kernel_initializer=keras.initializers.HeNormal(1), **kwargs)
  made(features(), tf.constant(MEAN))
  made.bias.assign(np.arange(7))
  return made


def config(*fields):
  return override(Experiment(), ['input.height=32', 'input.width=32', 'model.filters=4,8',
                                 'model.stem_stride=1', 'train.precision=float32', *fields]).network


def ordinary(of):
  conv = keras.layers.Conv2D(of.filters, of.kernel_size, padding='same')
  conv.build(features().shape)
  conv.set_weights([of.kernel.numpy(), of.bias.numpy()])
  return conv


@KINDS
@pytest.mark.parametrize('training', [False, True])
def test_a_posterior_of_scale_zero_is_an_ordinary_convolution(kind, training):
  point = layer(kind, posterior_scale=0)
  assert len(point.weights) == 2 and float(point.kl_nats()) == 0
  np.testing.assert_array_equal(point(features(), tf.constant(DRAW), training=training),
                                ordinary(point)(features()))


@KINDS
@pytest.mark.parametrize('training', [False, True])
def test_seeds_that_ask_for_the_mean_get_it(kind, training):
  drawn = layer(kind)
  np.testing.assert_array_equal(drawn(features(), tf.constant(MEAN), training=training),
                                ordinary(drawn)(features()))


@KINDS
@pytest.mark.parametrize('training', [False, True])
def test_a_seed_is_a_draw(kind, training):
  drawn = layer(kind)
  answers = [drawn(features(), tf.constant(row), training=training).numpy() for row in (DRAW, DRAW, OTHER)]
  np.testing.assert_array_equal(answers[0], answers[1])
  assert np.abs(answers[0] - answers[2]).min() > 0
  another = kind.from_config(drawn.get_config() | {'name': 'another'})
  other = another(features(), tf.constant(DRAW), training=training) + drawn.bias
  assert np.abs(other - answers[0]).max() > 0.01


@KINDS
def test_draws_have_the_mean_and_the_scale_of_the_posterior(kind):
  """Of an input that is one pixel, the output is the kernel."""
  drawn = layer(kind, posterior_scale=0.5)
  pixel = np.zeros((1, 3, 3, 4), np.float32)
  pixel[0, 1, 1, 2] = 1
  found = np.stack([drawn(pixel, tf.constant([[0, k, 1]]))[0] - drawn.bias for k in range(300)])
  found = found[:, ::-1, ::-1]
  np.testing.assert_allclose(found.mean(0), drawn.kernel[:, :, 2], atol=0.09)
  scale = 0.5 * np.sqrt(2 / (3 * 3 * 4))
  np.testing.assert_allclose(found.std(0), scale, rtol=0.25)
  assert np.mean(found.std(0)) == pytest.approx(scale, rel=0.02)


@KINDS
def test_an_answer_does_not_depend_on_the_batch(kind):
  drawn, batch = layer(kind), features()
  together = drawn(batch, tf.constant(DRAW)).numpy()
  np.testing.assert_allclose(drawn(batch[::-1], tf.constant(DRAW))[::-1], together, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(drawn(batch[1:2], tf.constant(DRAW))[0], together[1], rtol=1e-5, atol=1e-5)


def test_in_training_flipout_turns_the_signs_of_one_deviation():
  alike = tf.repeat(features(1), 4, axis=0)
  one = layer(Conv2DReparameterization)(alike, tf.constant(DRAW), training=True).numpy()
  np.testing.assert_array_equal(one[0], one[3])
  flipout = layer(Conv2DFlipout)
  turned = flipout(alike, tf.constant(DRAW), training=True).numpy()
  assert np.abs(turned[0] - turned[1]).max() > 0.01
  # With one input channel a turned deviation is the deviation or its negative.
  single = Conv2DFlipout(7, 3, name='conv')
  alike = tf.repeat(features(1)[..., :1], 6, axis=0)
  mean = single(alike, tf.constant(MEAN)).numpy()
  deviation = np.abs(single(alike, tf.constant(DRAW), training=True) - mean)
  expected = np.abs(single(alike, tf.constant(DRAW)) - mean)
  np.testing.assert_allclose(deviation, expected, rtol=1e-3, atol=1e-5)


@KINDS
def test_the_divergence_is_the_one_of_tensorflow_probability_and_of_the_formula(kind):
  drawn = layer(kind, prior_scale=2.0, posterior_scale=0.3)
  he = np.sqrt(2 / (3 * 3 * 4))
  mean, scale, prior = drawn.kernel.numpy().astype(np.float64), 0.3 * he, 2 * he
  expected = np.sum(np.log(prior / scale) + (scale**2 + mean**2) / (2 * prior**2) - 0.5)
  assert float(drawn.kl_nats()) == pytest.approx(expected, rel=1e-4)
  normal = tfp.distributions.Normal
  by_tfp = tf.reduce_sum(tfp.distributions.kl_divergence(normal(mean, scale), normal(0.0 * mean, prior)))
  assert float(drawn.kl_nats()) == pytest.approx(float(by_tfp), rel=1e-4)


@KINDS
@pytest.mark.parametrize('training', [False, True])
def test_bfloat16(kind, training):
  drawn = layer(kind)
  small = kind.from_config(drawn.get_config() | {'dtype': 'mixed_bfloat16'})
  small(features(), tf.constant(DRAW))
  small.set_weights(drawn.get_weights())
  answer = small(features(), tf.constant(DRAW), training=training)
  assert answer.dtype == tf.bfloat16 and {w.dtype for w in small.weights} == {'float32'}
  off = np.abs(tf.cast(answer, tf.float32) - ordinary(drawn)(features()))
  assert 0.01 < off.max() < 2  # drawn, and near the mean
  mean = small(features(), tf.constant(MEAN), training=training)
  np.testing.assert_allclose(tf.cast(mean, tf.float32), ordinary(drawn)(features()), rtol=0.05, atol=0.05)
  assert small.kl_nats().dtype == tf.float32
  np.testing.assert_allclose(small.kl_nats(), drawn.kl_nats(), rtol=1e-6)


@pytest.mark.parametrize('fields,own', [
    (['model.variational_kind=flipout', *VARIATIONAL], 4),
    (['model.variational_kind=reparameterization', *VARIATIONAL], 4), (MEMBERS, 8),
    ([*MEMBERS, *VARIATIONAL, 'model.norm=group'], 12)])
@pytest.mark.parametrize('precision', ['float32', 'mixed_bfloat16'])
def test_after_two_steps_every_weight_has_moved(fields, own, precision):
  cfg = config(*fields, f'train.precision={precision}', 'train.weight_decay=0', 'train.optimizer=adam',
               'model.dropout_rate=0.2', 'model.dropout_at=up0')
  state = train.State(cfg, 3, 8, seed=0)
  model = state.network.model
  before = {weight.path: weight.numpy() for weight in model.weights}
  assert sum(path.endswith(('raw_scale', 'gain', 'offset')) for path in before) == own
  images = tf.constant(np.random.default_rng(0).normal(size=(8, 32, 32, 1)), tf.float32)
  points = tf.constant(np.random.default_rng(1).uniform(4, 28, (8, 3, 2)), tf.float32)
  batch = {'image': images, 'points_px': points}
  for step in range(2):
    state.train_step(tf.constant(step, tf.int64), batch, tf.constant(0.01))
  still = [weight.path for weight in model.weights if np.array_equal(weight.numpy(), before[weight.path])]
  # A bias in front of a batch normalization may stay where it is: its gradient is 0 but for rounding.
  assert not [path for path in still if not path.endswith('bias')]


def test_the_divergence_counts_in_the_loss_by_its_weight_per_training_image():
  batch = {'image': tf.ones([2, 32, 32, 1]), 'points_px': tf.fill([2, 3, 2], 9.0)}
  losses, divergences = [], []
  for weight, num_images in ((0, 8), (0.5, 8), (0.5, 4)):
    state = train.State(config(*VARIATIONAL, f'train.kl_weight={weight}'), 3, num_images, seed=0)
    divergences.append(float(kl_nats(state.network.model)))
    losses.append(float(state.train_step(tf.constant(0, tf.int64), batch, tf.constant(0.01))))
  assert divergences[0] > 100
  assert losses[1] - losses[0] == pytest.approx(0.5 * divergences[0] / 8, rel=1e-3)
  assert losses[2] - losses[0] == pytest.approx(0.5 * divergences[0] / 4, rel=1e-3)


def test_weight_decay_leaves_scales_and_gains_alone():
  state = train.State(config(*VARIATIONAL, *MEMBERS), 3, 8, seed=0)
  decayed = {weight.name for weight in state.network.model.trainable_weights
             if state.optimizer._use_weight_decay(weight)}
  assert decayed == {'kernel'}


def test_only_the_divergence_of_variational_layers_counts():
  assert float(kl_nats(unet.build(config().model, config().input, 3, 'float32', 0).model)) == 0


def asked(network, cfg, seed=5):
  noise = unet.draw_noise(seeds.tensor(seed), 1, cfg.model)
  images = tf.constant(np.random.default_rng(0).normal(size=(2, 32, 32, 1)), tf.float32)
  return [images, *noise], unet.run(network, [images], noise, training=False).numpy()


@pytest.mark.parametrize('fields', [
    ['model.variational_kind=flipout', *VARIATIONAL],
    ['model.variational_kind=reparameterization', *VARIATIONAL], MEMBERS, [*MEMBERS, *VARIATIONAL]])
def test_round_trips(fields, tmp_path):
  """A `.keras` file and a SavedModel hold the network, and its noise means what it meant."""
  cfg = config(*fields, 'model.dropout_rate=0.2', 'model.dropout_at=down0')
  network = unet.build(cfg.model, cfg.input, 3, 'float32', seed=1)
  inputs, expected = asked(network, cfg)
  network.model.save(tmp_path / 'model.keras')
  loaded = keras.saving.load_model(tmp_path / 'model.keras')
  np.testing.assert_allclose(loaded(inputs, training=False), expected, rtol=1e-5, atol=1e-5)
  for ours, theirs in zip(network.model.layers, loaded.layers, strict=True):
    assert ours.get_config() == theirs.get_config()
  archive = keras.export.ExportArchive()
  archive.track(network.model)
  archive.add_endpoint('serve', lambda *given: network.model(list(given), training=False),
                       [tf.TensorSpec([None, *value.shape[1:]], value.dtype) for value in inputs])
  archive.write_out(str(tmp_path / 'saved'), verbose=False)
  saved = tf.saved_model.load(str(tmp_path / 'saved'))  # kept: its weights live as long as it does
  served = saved.serve(*inputs)
  np.testing.assert_allclose(served, expected, rtol=1e-5, atol=1e-5)
  assert np.abs(asked(network, cfg, seed=6)[1] - expected).max() > 1e-3


@pytest.mark.parametrize('kind', unet.VARIATIONAL)
def test_a_network_whose_posteriors_are_points_is_the_network_without(kind):
  cfg = config('model.variational_at=down1,up0', 'model.posterior_scale=0', f'model.variational_kind={kind}')
  drawn = asked(unet.build(cfg.model, cfg.input, 3, 'float32', seed=1), cfg)[1]
  plain = config()
  np.testing.assert_array_equal(
      drawn, asked(unet.build(plain.model, plain.input, 3, 'float32', seed=1), plain)[1])


def test_channel_masks_take_their_channels():
  masked = ChannelMask(1)(tf.ones([2, 1, 1, 2]), tf.constant([[9.0, 2.0, 3.0, 9.0]]))
  np.testing.assert_array_equal(masked[:, 0, 0], [[2, 3], [2, 3]])


def test_a_member_has_its_gain_and_its_offset():
  affine = OwnAffine(3, 0.5, seed=1)
  affine(features(2), tf.constant([[0]]))
  affine.offset.assign(np.arange(12).reshape(3, 4))
  found = affine(features(2), tf.constant([[2], [0]]))
  for row, member in ((0, 2), (1, 0)):
    expected = features(2)[row] * affine.gain[member] + affine.offset[member]
    np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(affine(features(2), tf.constant([[2]]))[0], found[0])


def test_initial_gains_are_spread_about_one_and_seeded():
  def gains(spread, seed):
    affine = OwnAffine(4, spread, seed)
    affine.build((None, 6, 5, 300))
    assert not affine.offset.numpy().any()
    return affine.gain.numpy()
  drawn = gains(0.25, 1)
  assert 0.75 <= drawn.min() < 0.77 and 1.23 < drawn.max() <= 1.25
  assert np.abs(drawn[0] - drawn[1]).max() > 0.2
  np.testing.assert_array_equal(drawn, gains(0.25, 1))
  assert not np.array_equal(drawn, gains(0.25, 2))
  np.testing.assert_array_equal(gains(0.0, 1), 1)


def test_members_compute_in_bfloat16():
  affine = OwnAffine(3, 0.5, seed=1, dtype='mixed_bfloat16')
  found = affine(features(), tf.constant([[2]]))
  assert found.dtype == tf.bfloat16 and affine.gain.dtype == 'float32'
  np.testing.assert_allclose(tf.cast(found, tf.float32), features() * affine.gain[2], rtol=0.02, atol=1e-3)


def test_members_differ_and_rows_of_a_batch_may_be_of_several():
  cfg = config(*MEMBERS)
  network = unet.build(cfg.model, cfg.input, 3, 'float32', seed=1)
  images = tf.constant(np.random.default_rng(0).normal(size=(3, 32, 32, 1)), tf.float32)
  alone = [unet.run(network, [images], [tf.constant([[k]])], training=False).numpy() for k in range(3)]
  assert np.abs(alone[0] - alone[1]).max() > 1e-2 and np.abs(alone[1] - alone[2]).max() > 1e-2
  mixed = unet.run(network, [images], [tf.constant([[2], [0], [1]])], training=False)
  for row, member in enumerate((2, 0, 1)):
    np.testing.assert_allclose(mixed[row], alone[member][row], rtol=1e-4, atol=1e-5)
  quiet = unet.run(network, [images], unet.no_noise(cfg.model), training=False)
  np.testing.assert_array_equal(quiet, alone[0])


def test_without_spread_members_are_the_network_without():
  cfg, plain = config(*MEMBERS, 'model.member_spread=0'), config()
  one, other = (unet.build(c.model, c.input, 3, 'float32', seed=1) for c in (cfg, plain))
  np.testing.assert_allclose(asked(one, cfg)[1], asked(other, plain)[1], rtol=1e-5, atol=1e-6)


def test_in_training_members_are_drawn_and_in_passes_they_come_in_order():
  cfg = config(*MEMBERS, *VARIATIONAL).model
  np.testing.assert_array_equal(unet.draw_noise(seeds.tensor(1), 3, cfg)[-1], [[0], [1], [2]])
  words, drawn = unet.training_noise(seeds.tensor(1), 3000, cfg)
  np.testing.assert_array_equal(words, unet.draw_noise(seeds.tensor(1), 3000, cfg)[0])
  np.testing.assert_allclose(np.bincount(drawn[:, 0]) / 3000, 1 / 3, atol=0.03)
  np.testing.assert_array_equal(drawn, unet.training_noise(seeds.tensor(1), 3000, cfg)[-1])
  assert not np.array_equal(drawn, unet.training_noise(seeds.tensor(2), 3000, cfg)[-1])


def test_a_step_trains_the_members_of_its_images_and_no_other():
  cfg = config('model.members=12', 'model.members_at=up0', 'train.optimizer=adam')
  state = train.State(cfg, 3, 8, seed=0)
  affine = state.network.model.get_layer('up0_member1')
  before = affine.gain.numpy()
  images = tf.constant(np.random.default_rng(0).normal(size=(4, 32, 32, 1)), tf.float32)
  batch = {'image': images, 'points_px': tf.fill([4, 3, 2], 9.0)}
  state.train_step(tf.constant(0, tf.int64), batch, tf.constant(0.01))
  moved = set(np.flatnonzero((affine.gain.numpy() != before).any(1)))
  seed = seeds.fold_in(seeds.tensor(0, 'dropout'), tf.constant(0, tf.int64))
  assert moved == set(unet.training_noise(seed, 4, cfg.model)[-1].numpy()[:, 0]) and len(moved) > 1
