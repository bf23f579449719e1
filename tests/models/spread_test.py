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


def softplus(x):
  return np.log1p(np.exp(x)) + spread.FLOOR_PX


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
      l11, l21, l22 = numbers[0, 1, 1, 1::2]
    else:
      l11, l21, l22 = 0.25 * numbers[0, 0, 1, 0::2] + 0.75 * numbers[0, 1, 0, 0::2]
    expected = [[softplus(l11), 0], [l21, softplus(l22)]]
    np.testing.assert_allclose(found[0, landmark], expected, rtol=1e-5, atol=1e-6)


def test_scale_stays_finite_and_above_its_floor():
  numbers = tf.constant([-1e4, 5.0, 1e4], shape=[1, 1, 1, 3])
  scale = spread.scale_tril(numbers, tf.ones([1, 1, 1, 1]))[0, 0].numpy()
  np.testing.assert_allclose(scale, [[spread.FLOOR_PX, 0], [5, 1e4]], rtol=1e-4)


@pytest.mark.parametrize('beta', [0.0, 0.5, 1.0])
def test_likelihood_is_that_of_scipy_times_the_weight(beta):
  mean, truth = np.array([3.0, 4.0]), np.array([3.6, 2.9])
  scale = np.array([[0.8, 0], [-0.5, 1.5]])
  expected = -scipy.stats.multivariate_normal(mean, scale @ scale.T).logpdf(truth)
  mean_px, scale_px, truth_px = (tf.constant(a[None, None], tf.float32) for a in (mean, scale, truth))
  found = spread.beta_nll(spread.normal(mean_px, scale_px), truth_px, tf.constant([[True]]), beta)
  assert float(found[0, 0]) == pytest.approx((0.8 * 1.5)**beta * expected, rel=1e-5)


def test_a_truth_far_away_counts_as_one_at_five_standard_deviations():
  def value_and_gradient(x):
    scale = tf.Variable([[[[2.0, 0.0], [0.0, 3.0]]]])
    with tf.GradientTape() as tape:
      distribution = spread.normal(tf.zeros([1, 1, 2]), scale)
      value = spread.beta_nll(distribution, tf.constant([[[x, 0.0]]]), tf.constant([[True]]), 0.0)
    return float(value[0, 0]), tape.gradient(value, scale).numpy()[0, 0]
  at_five, gradient = value_and_gradient(10.0)
  assert at_five == pytest.approx(12.5 + np.log(2 * np.pi * 6), rel=1e-5)
  # d/dl of log l + x^2 / (2 l^2), at z = 5: (1 - z^2) / l.
  assert gradient[0, 0] == pytest.approx((1 - 25) / 2, rel=1e-4)
  far, same = value_and_gradient(1000.0)
  assert far == pytest.approx(at_five, rel=1e-4)
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


def test_the_likelihood_teaches_the_spread_and_the_features_but_not_the_heatmap():
  cfg = config()
  network = unet.build(cfg.model, cfg.input, 2, 'float32', seed=1)
  images = tf.random.stateless_normal([2, 32, 32, 1], [1, 2])
  points = tf.constant(seeds.rng(1).uniform(5, 25, (2, 2, 2)), tf.float32)
  def gradients(loss):
    with tf.GradientTape() as tape:
      output = unet.run(network, images, unet.no_noise(cfg.model), training=True)
      value = loss(*spread.split(output, 'gaussian'))
    variables = network.model.trainable_variables
    found = tape.gradient(value, variables, unconnected_gradients='zero')
    return {v.path: np.abs(g).max() for v, g in zip(variables, found, strict=True)}
  nll = gradients(lambda maps, numbers: losses.nll(maps, numbers, points, cfg))
  assert nll['spread/kernel'] > 0 and nll['spread/bias'] > 0 and nll['down0_conv0/kernel'] > 0
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
  cfg, rng = config('model.filters=8,8', 'train.nll_beta=0.5'), seeds.rng(0, 'jitter')
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
    ('train.nll_beta=1.5', r'train.nll_beta=1.5: allowed is 0..1')])
def test_what_is_not_allowed_is_named(field, message):
  with pytest.raises(ConfigError, match=message):
    config(field)
