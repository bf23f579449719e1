"""The gaussian head: pooling and likelihood by hand, and what training makes of them."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.config import ConfigError, Experiment
from ceph_tf.models import heatmaps, losses, spread, unet
from ceph_tf.overrides import override

SIZE = (12, 10)


def config(*fields):
  return override(Experiment(), [
      'input.height=32', 'input.width=32', 'model.filters=4,8', 'model.stem_stride=1', 'model.norm=none',
      'train.precision=float32', 'model.head=gaussian', *fields]).network


def exponential(x):
  return np.clip(10 * np.exp(x), 0.01, 100)


def test_split_takes_heatmaps_first_and_leaves_another_head_alone():
  output = tf.reshape(tf.range(8.0), [1, 1, 1, 8])
  maps, numbers = spread.split(output, 'gaussian')
  assert maps.numpy().ravel().tolist() == [0, 1] and numbers.numpy().ravel().tolist() == [2, 3, 4, 5, 6, 7]
  maps, numbers = spread.split(output, 'heatmap')
  assert maps is output and numbers is None


def test_scale_is_pooled_by_the_density_by_hand():
  density = np.zeros((1, 2, 2, 2), np.float32)  # of landmark 0 at two pixels, of landmark 1 at one
  density[0, 0, 1, 0], density[0, 1, 0, 0], density[0, 1, 1, 1] = 0.25, 0.75, 1.0
  numbers = seeds.rng(0, 'numbers').normal(size=(1, 2, 2, 6)).astype(np.float32)
  found = spread.scale_tril(tf.constant(numbers), tf.constant(density)).numpy()
  for landmark in range(2):
    if landmark:
      log_l11, ratio, log_l22 = numbers[0, 1, 1, 1::2]
    else:
      log_l11, ratio, log_l22 = 0.25 * numbers[0, 0, 1, 0::2] + 0.75 * numbers[0, 1, 0, 0::2]
    l11, l22 = exponential(log_l11), exponential(log_l22)
    expected = [[l11, 0], [ratio * l22, l22]]
    np.testing.assert_allclose(found[0, landmark], expected, rtol=1e-5, atol=1e-6)


def test_scale_stays_within_its_bounds():
  numbers = tf.constant([-1e4, 5.0, 1e4], shape=[1, 1, 1, 3])
  scale = spread.scale_tril(numbers, tf.ones([1, 1, 1, 1]))[0, 0].numpy()
  np.testing.assert_allclose(scale, [[0.01, 0], [500, 100]], rtol=1e-4)


@pytest.mark.parametrize('beta', [0.0, 0.5, 1.0])
def test_likelihood_is_that_of_scipy_times_the_weight(beta):
  mean, truth = np.array([3.0, 4.0]), np.array([3.6, 2.9])
  scale = np.array([[0.8, 0], [-0.5, 1.5]])
  expected = -scipy.stats.multivariate_normal(mean, scale @ scale.T).logpdf(truth)
  mean_px, scale_px, truth_px = (tf.constant(a[None, None], tf.float32) for a in (mean, scale, truth))
  found = spread.beta_nll(spread.normal(mean_px, scale_px), truth_px, tf.constant([[True]]), beta)
  assert float(found[0, 0]) == pytest.approx((0.8 * 1.5)**beta * expected, rel=1e-5)


def test_a_scale_at_its_bounds_still_has_a_gradient():
  numbers = tf.Variable(tf.constant([-1e3, 0.0, 1e3], shape=[1, 1, 1, 3]))
  with tf.GradientTape() as tape:
    distribution = spread.normal(tf.zeros([1, 1, 2]), spread.scale_tril(numbers, tf.ones([1, 1, 1, 1])))
    loss = spread.beta_nll(distribution, tf.constant([[[0.02, 0.0]]]), tf.constant([[True]]), 0.0)
  # 1 - z^2 by each logarithm: 0.02 px at 0.01 px, so it grows; nothing at 100 px, so it falls.
  np.testing.assert_allclose(np.ravel(tape.gradient(loss, numbers))[[0, 2]], [1 - 4, 1], rtol=1e-3)


def test_a_truth_far_away_counts_as_one_at_three_standard_deviations():
  def value_and_gradient(x):
    scale = tf.Variable([[[[2.0, 0.0], [0.0, 3.0]]]])
    with tf.GradientTape() as tape:
      distribution = spread.normal(tf.zeros([1, 1, 2]), scale)
      value = spread.beta_nll(distribution, tf.constant([[[x, 0.0]]]), tf.constant([[True]]), 0.0)
    return float(value[0, 0]), tape.gradient(value, scale).numpy()[0, 0]
  at_three, gradient = value_and_gradient(6.0)
  assert at_three == pytest.approx(4.5 + np.log(2 * np.pi * 6), rel=1e-5)
  # d/dl of log l + x^2 / (2 l^2), at z = 3: (1 - z^2) / l.
  assert gradient[0, 0] == pytest.approx((1 - 9) / 2, rel=1e-4)
  far, same = value_and_gradient(1000.0)
  assert far == pytest.approx(at_three, rel=1e-4)
  np.testing.assert_allclose(same, gradient, rtol=1e-3)


@pytest.mark.parametrize('loss', ['cross_entropy', 'mse'])
@pytest.mark.parametrize('missing', [[np.nan, np.nan], [3.0, np.nan], [-4.0, 5.0], [5.0, 99.0]])
def test_missing_landmarks_weigh_nothing(loss, missing):
  cfg, rng = config(f'train.loss={loss}'), seeds.rng(0, 'missing')
  output = tf.Variable(rng.normal(size=(3, *SIZE, 8)), dtype=tf.float32)
  points = rng.uniform(3, 8, (3, 2, 2)).astype(np.float32)
  gone = points.copy()
  gone[1, 0] = missing
  with tf.GradientTape() as tape:
    found = losses.of_output(output, tf.constant(gone), cfg)
  gradient = tape.gradient(found, output).numpy()
  assert np.isfinite(gradient).all()
  assert not gradient[1][..., 0::2].any() and gradient[1][..., 1::2].any() and gradient[0].any()
  alone = losses.of_output(tf.gather(output, [0, 2]), tf.constant(points[[0, 2]]), cfg)
  other = losses.of_output(output[1:2], tf.constant(gone[1:2]), cfg)
  assert float(found) == pytest.approx((4 * float(alone) + float(other)) / 5, rel=1e-4)
  assert float(losses.of_output(output, tf.constant(points * np.nan), cfg)) == 0


@pytest.mark.parametrize('share', [0.0, 0.5, 1.0])
def test_the_likelihood_teaches_the_spread_and_by_a_share_the_features_but_not_the_heatmap(share):
  cfg = config(f'model.spread_gradient={share}')
  network = unet.build(cfg.model, cfg.input, 2, 'float32', seed=1)
  images = tf.random.stateless_normal([2, 32, 32, 1], [1, 2])
  points = tf.constant(seeds.rng(1).uniform(5, 25, (2, 2, 2)), tf.float32)
  def gradients(loss):
    with tf.GradientTape() as tape:
      output = unet.run(network, [images], unet.no_noise(cfg.model), training=True)
      value = loss(*spread.split(output, 'gaussian'))
    variables = network.model.trainable_variables
    found = tape.gradient(value, variables, unconnected_gradients='zero')
    return {v.path: np.abs(g).max() for v, g in zip(variables, found, strict=True)}
  nll = gradients(lambda maps, numbers: losses.nll(maps, numbers, points, cfg))
  assert nll['spread/kernel'] > 0 and nll['spread/bias'] > 0
  network = unet.build(config('model.spread_gradient=1').model, cfg.input, 2, 'float32', seed=1)
  whole = gradients(lambda maps, numbers: losses.nll(maps, numbers, points, cfg))
  assert whole['down0_conv0/kernel'] > 0
  assert nll['down0_conv0/kernel'] == pytest.approx(share * whole['down0_conv0/kernel'], rel=1e-4)
  assert nll['heatmaps/kernel'] == nll['heatmaps/bias'] == 0
  heatmap = gradients(lambda maps, numbers: losses.cross_entropy(maps, points, cfg.heatmap))
  assert heatmap['spread/kernel'] == 0 and heatmap['heatmaps/kernel'] > 0


def test_points_peaks_and_entropies_are_those_of_the_heatmap_alone():
  cfg = config().heatmap
  output = tf.random.stateless_normal([2, *SIZE, 12], [3, 4])
  for loss in ('cross_entropy', 'mse'):
    found = heatmaps.decode(output, loss, cfg, 'gaussian')
    plain = heatmaps.decode(output[..., :3], loss, cfg)
    for name in ('points_px', 'peak', 'entropy_nats', 'density'):
      np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))
    scale = spread.scale_tril(output[..., 3:], plain.density)
    np.testing.assert_allclose(found.covariance_px2, scale @ tf.linalg.matrix_transpose(scale), rtol=1e-5)
    assert not np.allclose(found.covariance_px2, plain.covariance_px2)


def test_the_covariance_becomes_that_of_the_truths():
  """Landmarks that doctors scatter by a known covariance, wide for a bright image, narrow for a dark."""
  cfg, rng = config('model.filters=8,8'), seeds.rng(0, 'jitter')
  network = unet.build(cfg.model, cfg.input, 1, 'float32', seed=0)
  roots = np.array([[[0.5, 0], [0, 1.0]], [[2.0, 0], [1.5, 1.0]]])
  kind = np.arange(64) % 2
  images = np.where(kind, 1.0, -1.0)[:, None, None, None] * np.ones((1, 32, 32, 1), np.float32)
  y, x = np.mgrid[:32, :32]
  maps = -((x - 16.0)**2 + (y - 14.0)**2)[None, ..., None] / 4
  maps = tf.constant(np.repeat(maps, 64, 0), tf.float32)
  optimizer = keras.optimizers.Adam(0.02)
  optimizer.build(network.model.trainable_variables)
  at = np.array([16.0, 14.0])

  @tf.function
  def step(points):
    with tf.GradientTape() as tape:
      _, numbers = spread.split(network.model(images, training=True), 'gaussian')
      loss = losses.nll(maps, numbers, points, cfg)  # the heatmap is the same, and right
    variables = network.model.trainable_variables
    optimizer.apply(tape.gradient(loss, variables, unconnected_gradients='zero'), variables)

  for _ in range(300):
    noise = np.einsum('nij,nj->ni', roots[kind], rng.normal(size=(64, 2)))
    step(tf.constant((at + noise)[:, None], tf.float32))
  _, numbers = spread.split(network.model(images[:2], training=False), 'gaussian')
  found = heatmaps.decode(tf.concat([maps[:2], numbers], -1), 'cross_entropy', cfg.heatmap, 'gaussian')
  for one, root in zip(found.covariance_px2.numpy()[:, 0], roots, strict=True):
    np.testing.assert_allclose(one, root @ root.T, rtol=0.25, atol=0.25)


@pytest.mark.parametrize('field, message', [
    ('model.head=gauss', "model.head='gauss': allowed is gaussian, heatmap; did you mean 'gaussian'"),
    ('train.nll_weight=0', 'train.nll_weight=0.0: allowed is > 0'),
    ('model.spread_gradient=2', 'model.spread_gradient=2.0: allowed is 0..1'),
    ('train.nll_beta=1.5', r'train.nll_beta=1.5: allowed is 0..1')])
def test_what_is_not_allowed_is_named(field, message):
  with pytest.raises(ConfigError, match=message):
    config(field)
