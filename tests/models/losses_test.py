import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.config import HeatmapConfig
from ceph_tf.models import losses

_SIZE = (24, 20)
_CFG = HeatmapConfig(target_sigma_px=1.5, amplitude=50.0)


def _example(seed=0, batch=3, landmarks=4):
  rng = seeds.rng(seed)
  output = rng.normal(size=(batch, *_SIZE, landmarks)).astype(np.float32)
  return output, rng.uniform(4, 15, (batch, landmarks, 2)).astype(np.float32)


def _target(x, y):
  rows, columns = np.mgrid[:_SIZE[0], :_SIZE[1]]
  return np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / _CFG.target_sigma_px**2)


def _cross_entropy(logits, target):
  logits = logits.astype(np.float64)
  probability = np.exp(logits) / np.exp(logits).sum()
  return -(target / target.sum() * np.log(probability)).sum()


def _mse(output, target):
  return ((output - _CFG.amplitude * target) ** 2).mean()


_BY_HAND = {'cross_entropy': _cross_entropy, 'mse': _mse}


def test_every_loss_is_tested():
  assert set(_BY_HAND) == set(losses.LOSSES)


@pytest.mark.parametrize('name', sorted(_BY_HAND))
def test_loss_is_the_mean_over_landmarks_of_its_definition(name):
  output, points = _example()
  expected = np.mean([_BY_HAND[name](output[b, :, :, k], _target(*points[b, k]))
                      for b in range(3) for k in range(4)])
  found = losses.LOSSES[name](tf.constant(output), tf.constant(points), _CFG)
  assert float(found) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize('name', sorted(_BY_HAND))
@pytest.mark.parametrize('missing', [[np.nan, np.nan], [3.0, np.nan], [-4.0, 5.0], [5.0, 99.0]])
def test_missing_landmarks_weigh_nothing(name, missing):
  output, points = _example()
  known = [(b, k) for b in range(3) for k in range(4) if (b, k) not in ((0, 1), (2, 3))]
  points[0, 1] = points[2, 3] = missing
  expected = np.mean([_BY_HAND[name](output[b, :, :, k], _target(*points[b, k])) for b, k in known])
  output = tf.Variable(output)
  with tf.GradientTape() as tape:
    found = losses.LOSSES[name](output, tf.constant(points), _CFG)
  gradient = tape.gradient(found, output).numpy()
  assert float(found) == pytest.approx(expected, rel=1e-4)
  assert np.isfinite(gradient).all()
  assert not gradient[0, :, :, 1].any() and not gradient[2, :, :, 3].any() and gradient[0, :, :, 0].any()


@pytest.mark.parametrize('name', sorted(_BY_HAND))
def test_a_batch_without_any_landmark_costs_nothing(name):
  output, points = _example()
  assert float(losses.LOSSES[name](tf.constant(output), tf.constant(points * np.nan), _CFG)) == 0.0


@pytest.mark.parametrize('name', sorted(_BY_HAND))
def test_the_target_itself_is_the_minimum(name):
  _, points = _example()
  target = np.stack([[_target(*p) for p in row] for row in points]).transpose(0, 2, 3, 1)
  best = np.log(target + 1e-30) if name == 'cross_entropy' else _CFG.amplitude * target
  output = tf.Variable(best, dtype=tf.float32)
  with tf.GradientTape() as tape:
    lowest = losses.LOSSES[name](output, tf.constant(points), _CFG)
  assert np.abs(tape.gradient(lowest, output)).max() < 1e-5
  shifted = losses.LOSSES[name](tf.roll(output, 2, 1), tf.constant(points), _CFG)
  assert float(shifted) > float(lowest) + 0.1


def test_cross_entropy_survives_huge_logits():
  output, points = _example()
  assert np.isfinite(losses.cross_entropy(tf.constant(1e4 * output), tf.constant(points), _CFG))


def test_a_landmark_outside_teaches_not_to_know_it_where_that_is_asked():
  output, points = _example(landmarks=2)
  points[:, 1] = [100, 100]
  cfg = HeatmapConfig(target_sigma_px=1.5, outside='uniform')
  uniform = np.mean([_cross_entropy(output[b, :, :, 1], np.ones(_SIZE)) for b in range(3)])
  known = np.mean([_cross_entropy(output[b, :, :, 0], _target(*points[b, 0])) for b in range(3)])
  both = float(losses.cross_entropy(tf.constant(output), tf.constant(points), cfg))
  assert both == pytest.approx((known + uniform) / 2, rel=1e-4)
  assert float(losses.cross_entropy(tf.constant(output), tf.constant(points), _CFG)) == pytest.approx(
      known, rel=1e-4)
  points[:, 1] = np.nan  # but a missing one teaches nothing
  assert float(losses.cross_entropy(tf.constant(output), tf.constant(points), cfg)) == pytest.approx(
      known, rel=1e-4)


def test_what_is_distilled_is_the_mean_of_the_teachers():
  rng = seeds.rng(1)
  drawn = rng.dirichlet(np.full(np.prod(_SIZE), 0.1), (2, 3, 4)).reshape(2, 3, 4, *_SIZE)
  first, second = drawn.transpose(0, 1, 3, 4, 2)
  output = rng.normal(size=first.shape)
  expected = np.mean([_cross_entropy(output[b, :, :, k], first[b, :, :, k])
                      for b in range(3) for k in range(4)])
  found = losses.distillation(tf.constant(output), tf.constant(first))
  assert float(found) == pytest.approx(expected, rel=1e-6)
  best = tf.Variable(np.log((first + second) / 2))
  with tf.GradientTape() as tape:
    both = sum(losses.distillation(best, tf.constant(one)) for one in (first, second))
  assert np.abs(tape.gradient(both, best)).max() < 1e-9
