"""Views by hand, and a network that sees the same whatever the view."""

import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.config import Experiment, InputConfig, SamplerConfig
from ceph_tf.models import heatmaps, unet
from ceph_tf.overrides import override
from ceph_tf.uncertainty import samplers, views

INPUT = InputConfig(height=64, width=48)
SAMPLER = SamplerConfig('views', 5, view_rotate_deg=10, view_scale=0.1, view_shift=0.05)


def density_at(points, sigma=2.0, size_hw=(64, 48)):
  rendered = heatmaps.render(tf.constant([points], tf.float32), size_hw, sigma)
  return rendered / tf.reduce_sum(rendered, [1, 2], keepdims=True)


def decoded(points, sigma=2.0):
  density = density_at(points, sigma)
  mean, covariance = heatmaps.moments(density)
  return heatmaps.Decoded(mean, heatmaps.peak_of(density), covariance, heatmaps.entropy_nats(density),
                          density)


def test_the_first_view_changes_nothing_and_the_others_cancel_out():
  found = views.matrices(SAMPLER, INPUT)
  assert found.shape == (5, 3, 3)
  np.testing.assert_array_equal(found[0], np.eye(3))
  middle = np.array([23.5, 31.5, 1])
  np.testing.assert_allclose((found @ middle).mean(0), middle, atol=1e-4)
  # Angles 0, 90, 180, 270 degrees on the circle, by hand: turned, larger, turned back, smaller.
  np.testing.assert_allclose(found[1][:2, :2], [[np.cos(np.pi / 18), -np.sin(np.pi / 18)],
                                                [np.sin(np.pi / 18), np.cos(np.pi / 18)]], atol=1e-6)
  np.testing.assert_allclose(found[2][:2, :2], 1.1 * np.eye(2), atol=1e-6)
  np.testing.assert_allclose(found[4][:2, :2], 0.9 * np.eye(2), atol=1e-6)
  np.testing.assert_allclose(found[2] @ middle - middle, [-3.2, 0, 0], atol=1e-5)


def test_heatmap_pixels_of_a_stride_lie_in_the_middle_of_theirs():
  view = np.array([[[1, 0, 4], [0, 1, -2], [0, 0, 1]]], np.float32)  # shifts by (4, -2) network pixels
  np.testing.assert_allclose(views.of_heatmaps(view, 2)[0] @ [10, 20, 1], [12, 19, 1], atol=1e-5)
  zoom = np.array([[[2, 0, 0], [0, 2, 0], [0, 0, 1]]], np.float32)  # network pixel 1 to 2
  # Heatmap pixel 0 is network pixel 0.5, seen at 1, which is heatmap pixel 0.25.
  np.testing.assert_allclose(views.of_heatmaps(zoom, 2)[0] @ [0, 0, 1], [0.25, 0.25, 1], atol=1e-6)


@pytest.mark.parametrize('number', range(5))
def test_what_a_view_shows_is_brought_back_to_where_it_was(number):
  view = tf.constant(views.matrices(SAMPLER, INPUT)[number])
  point = np.array([20.0, 36.0])
  there = np.linalg.solve(view.numpy(), [*point, 1])[:2]
  # A blob drawn in the network image is seen where its point is in the view.
  seen = views.seen(density_at([point], 3.0), view)
  np.testing.assert_allclose(heatmaps.moments(seen / tf.reduce_sum(seen))[0][0, 0], there, atol=0.1)
  found = views.back(decoded([there]), view)
  np.testing.assert_allclose(found.points_px[0, 0], point, atol=0.02)
  np.testing.assert_allclose(tf.reduce_sum(found.density), 1, atol=1e-4)
  mean, covariance = heatmaps.moments(found.density)
  np.testing.assert_allclose(mean[0, 0], point, atol=0.05)
  # A view's pixel of area a holds the density of a pixels: all figures agree with the moved density.
  np.testing.assert_allclose(found.covariance_px2, covariance, atol=0.5)
  np.testing.assert_allclose(found.entropy_nats, heatmaps.entropy_nats(found.density), atol=0.06)
  np.testing.assert_allclose(found.peak, heatmaps.peak_of(found.density), rtol=0.12)


def shifted(x_px):
  return tf.constant([[1.0, 0, x_px], [0, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize('sigma', [0.5, 1.0, 3.0])
def test_a_peak_between_pixels_stays_as_sharp_as_it_was(sigma):
  moved = views.back(decoded([[20, 36]], sigma), shifted(0.5)).density
  exact = density_at([[20.5, 36]], sigma)
  # Interpolated itself, the density of the sharpest has 0.25 nats more than the exact one.
  extra = heatmaps.entropy_nats(moved) - heatmaps.entropy_nats(exact)
  np.testing.assert_allclose(extra, 0, atol=1e-3)
  np.testing.assert_allclose(heatmaps.moments(moved)[0][0, 0], [20.5, 36], atol=1e-3)


def test_all_mass_in_one_pixel_is_divided_by_its_neighbours():
  spike = np.zeros((1, 64, 48, 1), np.float32)
  spike[0, 36, 20, 0] = 1
  moved = views.back(decoded([[20, 36]])._replace(density=spike), shifted(0.5)).density.numpy()[0, :, :, 0]
  np.testing.assert_allclose(moved[36, 20:22], 0.5, atol=1e-4)


def test_density_that_leaves_the_heatmap_is_lost_and_where_none_is_left_nothing_is_known():
  both = decoded([[20, 36]])._replace(density=(density_at([[20, 36]]) + density_at([[45, 10]])) / 2)
  moved = views.back(both, shifted(20.0)).density
  np.testing.assert_allclose(heatmaps.moments(moved)[0][0, 0], [40, 36], atol=0.02)
  gone = views.back(both, shifted(100.0)).density
  np.testing.assert_allclose(gone, np.full(gone.shape, 1 / (64 * 48)), rtol=1e-4)


def test_a_covariance_turns_with_its_view():
  turned = tf.constant([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
  long = heatmaps.Decoded(tf.zeros([1, 1, 2]), tf.ones([1, 1]), tf.constant([[[[4.0, 1], [1, 2]]]]),
                          tf.zeros([1, 1]), density_at([[20, 30]]))
  np.testing.assert_allclose(views.back(long, turned).covariance_px2[0, 0], [[2, -1], [-1, 4]], atol=1e-5)


def drawn(fields, sampler, batch, weights=0):
  cfg = override(Experiment(), ['input.height=32', 'input.width=32', 'model.filters=4,8,8',
                                'train.precision=float32', *fields]).network
  network = unet.build(cfg.model, cfg.input, 5, 'float32', weights)
  return samplers.draw([network], [batch], cfg, sampler, seeds.tensor(7))


def images(batch=3):
  smooth = tf.random.stateless_normal([batch, 8, 8, 1], [0, 1])
  return tf.image.resize(smooth, [32, 32])


@pytest.mark.parametrize('fields', [[], ['model.dropout_rate=0.5', 'model.dropout_at=down1'],
                                    ['model.head=gaussian']])
def test_an_answer_does_not_depend_on_its_batch(fields):
  together = drawn(fields, SAMPLER, images())
  assert together.points_px.shape == (5, 3, 5, 2)
  alone = drawn(fields, SAMPLER, images()[2:])
  for a, b in zip(together, alone, strict=True):
    rows = np.asarray(a)[:, 2:] if np.ndim(a) and np.shape(a)[0] == 5 else np.asarray(a)[2:]
    np.testing.assert_allclose(rows, b, rtol=1e-3, atol=1e-3)


def test_views_that_change_nothing_are_the_network_alone():
  still = SamplerConfig('views', 3, view_rotate_deg=1e-6, view_scale=0, view_shift=0)  # 0 is refused
  same, one = drawn([], still, images()), drawn([], SamplerConfig(), images())
  for name in ('points_px', 'peak', 'covariance_px2', 'entropy_nats', 'expected_radius_px'):
    for k in range(3):
      np.testing.assert_allclose(getattr(same, name)[k], getattr(one, name)[0], rtol=1e-3, atol=1e-3)
  np.testing.assert_allclose(same.mean_density, one.mean_density, atol=1e-6)


def test_views_disagree_where_they_do_not_change_nothing():
  points = drawn([], SAMPLER, images()).points_px.numpy()
  assert np.abs(points[1:] - points[:1]).max(axis=(1, 2, 3)).min() > 0.1
