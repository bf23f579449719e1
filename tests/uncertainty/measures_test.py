import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import geometry
from ceph_tf.uncertainty import measures
from ceph_tf.uncertainty.samplers import Samples


def samples(points, covariance=None, peak=None):
  """Samples of one image and one landmark: points [S, 2]."""
  points = tf.constant(points, tf.float32)[:, None, None, :]
  size = points.shape[0]
  covariance = np.zeros((size, 2, 2)) if covariance is None else covariance
  peak = np.ones(size) if peak is None else peak
  return Samples(points, tf.constant(peak, tf.float32)[:, None, None],
                 tf.constant(covariance, tf.float32)[:, None, None],
                 entropy_nats=tf.reshape(tf.range(size, dtype=tf.float32), [size, 1, 1]),
                 expected_radius_px=2 * tf.ones([size, 1, 1]),
                 mean_peak=tf.constant([[0.25]]), mean_entropy_nats=tf.constant([[7.0]]),
                 mean_density=tf.ones([1, 1, 1, 1]))


SQUARE = [[0, 0], [2, 0], [2, 2], [0, 2]]  # centre (1, 1), every corner sqrt(2) away


def test_prediction_is_the_mean_and_spread_the_mean_distance_to_it():
  drawn = samples(SQUARE)
  np.testing.assert_allclose(measures.mean_points_px(drawn)[0, 0], [1, 1])
  assert float(measures.spread_px(drawn)[0, 0]) == pytest.approx(2**0.5)


def test_one_sample_has_no_spread():
  assert float(measures.spread_px(samples([[3, 4]]))[0, 0]) == 0
  np.testing.assert_array_equal(measures.epistemic_covariance_px2(samples([[3, 4]]))[0, 0], np.zeros((2, 2)))


def test_total_covariance_is_that_of_the_samples_plus_the_mean_of_the_heatmaps():
  heatmaps = np.array([np.diag([1, 3])] * 2 + [np.diag([3, 5])] * 2)
  drawn = samples(SQUARE, heatmaps)
  np.testing.assert_allclose(measures.epistemic_covariance_px2(drawn)[0, 0], np.eye(2))
  np.testing.assert_allclose(measures.aleatoric_covariance_px2(drawn)[0, 0], np.diag([2, 4]))
  np.testing.assert_allclose(measures.total_covariance_px2(drawn)[0, 0], np.diag([3, 5]))
  assert float(measures.total_sd_px(drawn)[0, 0]) == pytest.approx(8**0.5)


def test_total_covariance_is_that_of_all_draws_pooled():
  rng = np.random.default_rng(0)
  draws = rng.normal(size=(5, 4000, 2)) * [1, 3] + rng.normal(size=(5, 1, 2)) * 4
  drawn = samples(draws.mean(1), np.stack([np.cov(d.T, bias=True) for d in draws]))
  np.testing.assert_allclose(
      measures.total_covariance_px2(drawn)[0, 0], np.cov(draws.reshape(-1, 2).T, bias=True), rtol=1e-4)


def test_mha_is_the_mean_peak():
  assert float(measures.mha(samples(SQUARE, peak=[0.2, 0.4, 0.6, 0.8]))[0, 0]) == pytest.approx(0.5)


def test_entropy_of_the_mean_is_expected_entropy_plus_mutual_information():
  drawn = samples(SQUARE)
  assert float(measures.entropy_nats(drawn)[0, 0]) == 7
  assert float(measures.expected_entropy_nats(drawn)[0, 0]) == 1.5
  assert float(measures.mutual_information_nats(drawn)[0, 0]) == 5.5


def test_e_mha_is_of_the_mean_heatmap_and_ere_the_mean_radius():
  assert float(measures.e_mha(samples(SQUARE))[0, 0]) == 0.25
  assert float(measures.ere_px(samples(SQUARE))[0, 0]) == 2


def test_every_measure_gives_one_number_per_landmark():
  for name, measure in measures.MEASURES.items():
    assert measure(samples(SQUARE)).shape == (1, 1), name
  assert measures.CONFIDENCES <= measures.MEASURES.keys()


def test_source_pixels_scale_lengths_and_covariances():
  frame = geometry.Frame(tf.constant([[0.5, 0.25]]), tf.constant([[3.0, 7.0]]))
  drawn = samples(SQUARE, np.array([np.diag([1, 1])] * 4))
  moved = drawn.to_source(frame)
  np.testing.assert_allclose(measures.mean_points_px(moved)[0, 0], [(1 - 3) / 0.5, (1 - 7) / 0.25])
  np.testing.assert_allclose(measures.epistemic_covariance_px2(moved)[0, 0], np.diag([4, 16]))
  np.testing.assert_allclose(measures.aleatoric_covariance_px2(moved)[0, 0], np.diag([4, 16]))
  assert float(measures.ere_px(moved)[0, 0]) == pytest.approx(2 * 8**0.5)
