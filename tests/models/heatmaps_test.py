import dataclasses
import math

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.config import HeatmapConfig
from ceph_tf.models import heatmaps

_SIZE = (40, 48)


def _gaussian(x, y, covariance=((4.0, 0.0), (0.0, 4.0)), size_hw=_SIZE):
  """A Gaussian of height 1 around (x, y), numpy [h, w], by its definition."""
  rows, columns = np.mgrid[:size_hw[0], :size_hw[1]]
  offset = np.stack([columns - x, rows - y], -1)
  return np.exp(-0.5 * np.einsum('hwi,ij,hwj->hw', offset, np.linalg.inv(covariance), offset))


def _batch(*maps):
  """Heatmaps [h, w] as [1, h, w, L]."""
  return tf.constant(np.stack(maps, -1)[None], tf.float32)


def test_render_is_a_gaussian_of_height_one():
  points = seeds.rng(0).uniform(3, 36, (2, 5, 2)).astype(np.float32)
  found = heatmaps.render(tf.constant(points), _SIZE, 1.7).numpy()
  assert found.shape == (2, *_SIZE, 5)
  for b in range(2):
    for k in range(5):
      expected = _gaussian(*points[b, k], np.eye(2) * 1.7**2)
      np.testing.assert_allclose(found[b, :, :, k], expected, atol=1e-5)


@pytest.mark.parametrize('x, y, known', [
    (0.0, 0.0, True), (-0.5, 3.0, True), (-0.6, 3.0, False), (47.5, 39.5, True), (47.6, 3.0, False),
    (3.0, 39.6, False), (math.nan, 3.0, False), (3.0, math.nan, False), (math.inf, 3.0, False)])
def test_a_point_that_is_unknown_or_outside_gives_an_empty_heatmap(x, y, known):
  points = tf.constant([[[x, y], [5.0, 5.0]]])
  assert heatmaps.inside(points, _SIZE).numpy().tolist() == [[known, True]]
  found = heatmaps.render(points, _SIZE, 2.0).numpy()
  assert np.isfinite(found).all() and found[..., 0].any() == known and found[..., 1].any()


@pytest.mark.parametrize('sigma', [0.6, 1.5, 3.0])
def test_gaussian_filter_is_that_of_scipy(sigma):
  maps = seeds.rng(1).normal(size=(2, *_SIZE, 3)).astype(np.float32)
  found = heatmaps.gaussian_filter(tf.constant(maps), sigma).numpy()
  radius = math.ceil(4 * sigma)
  for b in range(2):
    for k in range(3):
      expected = scipy.ndimage.gaussian_filter(
          maps[b, :, :, k].astype(float), sigma, mode='constant', truncate=radius / sigma)
      np.testing.assert_allclose(found[b, :, :, k], expected, atol=1e-5)


def test_a_filter_without_width_changes_nothing():
  maps = tf.random.stateless_normal([1, *_SIZE, 2], [1, 2])
  np.testing.assert_array_equal(heatmaps.gaussian_filter(maps, 0.0), maps)


def test_argmax_points_are_x_then_y():
  maps = np.zeros((2, *_SIZE, 2), np.float32)
  maps[0, 7, 31, 0] = maps[0, 39, 47, 1] = maps[1, 0, 5, 0] = maps[1, 12, 0, 1] = 1.0
  np.testing.assert_array_equal(heatmaps.argmax_points(tf.constant(maps)),
                                [[[31, 7], [47, 39]], [[5, 0], [0, 12]]])


def test_moments_of_a_gaussian_are_its_own():
  covariance = np.array([[9.0, 3.0], [3.0, 4.0]])
  density = _gaussian(21.3, 17.6, covariance)
  mean, found = heatmaps.moments(_batch(density / density.sum()))
  np.testing.assert_allclose(mean[0, 0], [21.3, 17.6], atol=0.01)
  np.testing.assert_allclose(found[0, 0], covariance, rtol=0.01)


def test_covariance_keeps_its_digits_far_from_the_origin():
  density = np.zeros((8, 900))
  density[4, 880:882] = 0.5
  _, covariance = heatmaps.moments(_batch(density))
  np.testing.assert_allclose(covariance[0, 0], [[0.25, 0], [0, 0]], atol=1e-3)


def test_entropy_of_a_gaussian_and_of_the_extremes():
  density = _gaussian(24.0, 20.0)
  point, flat = np.zeros(_SIZE), np.full(_SIZE, 1 / math.prod(_SIZE))
  point[3, 4] = 1.0
  found = heatmaps.entropy_nats(_batch(density / density.sum(), point, flat))[0]
  np.testing.assert_allclose(found, [math.log(2 * math.pi * math.e * 4.0), 0.0, math.log(math.prod(_SIZE))],
                             atol=1e-3)


def test_densities_sum_to_one_whatever_the_output():
  for loss in ('cross_entropy', 'mse'):
    output = 30.0 * tf.random.stateless_normal([2, *_SIZE, 3], [3, 4]) - 5.0
    output *= [1.0, 1.0, -1.0]
    density = heatmaps.to_density(output, loss)
    np.testing.assert_allclose(tf.reduce_sum(density, [1, 2]), np.ones((2, 3)), atol=1e-4)
    assert float(tf.reduce_min(density)) >= 0
  flat = heatmaps.to_density(-tf.ones([1, *_SIZE, 1]), 'mse')
  np.testing.assert_allclose(flat, np.full_like(flat, 1 / math.prod(_SIZE)), rtol=1e-4)


def test_local_mean_leaves_out_what_is_far():
  density = _gaussian(12.4, 9.7, np.eye(2)) + 0.7 * _gaussian(40.0, 30.0, np.eye(2))
  density = _batch(density / density.sum())
  mean = heatmaps.local_mean(density, tf.constant([[[12.0, 10.0]]]), 6)
  np.testing.assert_allclose(mean[0, 0], [12.4, 9.7], atol=0.01)
  assert np.abs(heatmaps.moments(density)[0][0, 0] - [12.4, 9.7]).min() > 5


def test_local_mean_of_each_landmark_also_at_the_border():
  rng = np.random.default_rng(0)
  density = rng.uniform(size=(2, 12, 9, 3)).astype(np.float32)
  centres = np.array([[[0, 0], [8, 11], [4, 5]], [[1, 9], [7, 0], [8, 5]]])
  found = heatmaps.local_mean(tf.constant(density), tf.constant(centres, tf.float32), 2)
  for at in np.ndindex(2, 3):
    x, y = centres[at]
    ys, xs = np.mgrid[max(y - 2, 0):min(y + 3, 12), max(x - 2, 0):min(x + 3, 9)]
    weights = density[at[0], ys, xs, at[1]]
    expected = [np.average(xs, weights=weights), np.average(ys, weights=weights)]
    np.testing.assert_allclose(found[at[0], at[1]], expected, rtol=1e-5)


def _output(points_px, loss, cfg, second=0.0):
  """What a perfect network would put out, with a second, lower bump of relative height `second`."""
  target = heatmaps.render(tf.constant(points_px), _SIZE, cfg.target_sigma_px)
  target += second * heatmaps.render(tf.constant(points_px + 18.0, tf.float32), _SIZE, cfg.target_sigma_px)
  return cfg.amplitude * target if loss == 'mse' else tf.math.log(target + 1e-9)


@pytest.mark.parametrize('loss', ['cross_entropy', 'mse'])
@pytest.mark.parametrize('decode, second, tolerance', [
    ('global', 0.0, 0.03), ('local', 0.0, 0.03), ('argmax', 0.0, 0.5),
    ('local', 0.4, 0.03), ('argmax', 0.4, 0.5)])
def test_points_are_recovered(loss, decode, second, tolerance):
  cfg = HeatmapConfig(decode=decode)
  points = seeds.rng(2).uniform(8, 20, (3, 4, 2)).astype(np.float32)
  found = heatmaps.decode(_output(points, loss, cfg, second), loss, cfg)
  assert np.abs(found.points_px - points).max() <= tolerance + 1e-4


def test_argmax_filters_before_it_looks():
  maps = 1000.0 * _gaussian(15.0, 12.0)
  maps[30, 40] = 1500.0  # a single hot pixel
  found = heatmaps.decode(_batch(maps), 'mse', HeatmapConfig(decode='argmax', filter_sigma_px=2.0))
  np.testing.assert_array_equal(found.points_px[0, 0], [15, 12])


@pytest.mark.parametrize('sigma', [1.0, 1.5, 3.0])
def test_the_peak_of_a_heatmap_like_its_target_is_one(sigma):
  cfg = HeatmapConfig(target_sigma_px=sigma)
  points = np.array([[[20.0, 16.0], [25.0, 22.0]]], np.float32)
  for loss in ('cross_entropy', 'mse'):
    found = heatmaps.decode(_output(points, loss, cfg), loss, cfg)
    np.testing.assert_allclose(found.peak, np.ones((1, 2)), atol=0.01)


def test_a_wider_heatmap_has_a_lower_peak_more_covariance_and_entropy():
  maps = [_gaussian(20.0, 20.0, np.eye(2) * s**2) for s in (1.5, 3.0)]
  cfg = HeatmapConfig(target_sigma_px=1.5)
  found = heatmaps.decode(tf.math.log(_batch(*maps) + 1e-12), 'cross_entropy', cfg)
  assert float(found.peak[0, 1]) == pytest.approx(0.25, rel=0.02)
  assert float(found.entropy_nats[0, 1] - found.entropy_nats[0, 0]) == pytest.approx(math.log(4), rel=0.02)
  np.testing.assert_allclose(found.covariance_px2[0, 1], 9 * np.eye(2), atol=0.1)


def test_decode_fields_agree_with_the_density_they_come_with():
  cfg = dataclasses.replace(HeatmapConfig(), decode='global')
  found = heatmaps.decode(tf.random.stateless_normal([2, *_SIZE, 3], [8, 9]), 'cross_entropy', cfg)
  mean, covariance = heatmaps.moments(found.density)
  np.testing.assert_allclose(found.points_px, mean)
  np.testing.assert_allclose(found.covariance_px2, covariance)
  np.testing.assert_allclose(found.entropy_nats, heatmaps.entropy_nats(found.density))
