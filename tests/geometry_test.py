import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import geometry

_SIZES = [((2400, 1935), (320, 256)), ((101, 77), (64, 48)), ((33, 200), (64, 48)), ((7, 5), (64, 48)),
          ((64, 48), (64, 48)), ((1, 900), (32, 32))]


@pytest.mark.parametrize('fit', ['pad', 'stretch'])
@pytest.mark.parametrize('source_hw, network_hw', _SIZES)
def test_there_and_back_again(source_hw, network_hw, fit):
  frame, _, _ = geometry.fit_frame(tf.constant(source_hw), network_hw, fit)
  points = tf.constant([[0.0, 0.0], [source_hw[1] - 1, source_hw[0] - 1], [3.25, 4.5]])
  np.testing.assert_allclose(frame.to_source(frame.to_network(points)), points, atol=1e-2)


@pytest.mark.parametrize('source_hw, network_hw', _SIZES)
def test_stretch_maps_border_to_border(source_hw, network_hw):
  frame, size, before = geometry.fit_frame(tf.constant(source_hw), network_hw, 'stretch')
  corners = tf.constant([[-0.5, -0.5], [source_hw[1] - 0.5, source_hw[0] - 0.5]])
  np.testing.assert_allclose(frame.to_network(corners),
                             [[-0.5, -0.5], [network_hw[1] - 0.5, network_hw[0] - 0.5]], atol=1e-3)
  assert tuple(size.numpy()) == network_hw and not before.numpy().any()


@pytest.mark.parametrize('source_hw, network_hw', _SIZES)
def test_pad_centres_the_image_and_fits_one_side(source_hw, network_hw):
  frame, size, before = geometry.fit_frame(tf.constant(source_hw), network_hw, 'pad')
  size, before = size.numpy(), before.numpy()
  assert np.all(size <= network_hw) and np.any(size == network_hw) and np.all(size >= 1)
  after = np.array(network_hw) - size - before
  assert np.all((after - before >= 0) & (after - before <= 1))
  corners = frame.to_network(tf.constant([[-0.5, -0.5], [source_hw[1] - 0.5, source_hw[0] - 0.5]]))
  np.testing.assert_allclose(corners, [before[::-1] - 0.5, (before + size)[::-1] - 0.5], atol=1e-3)


def test_pad_keeps_the_aspect_ratio_of_an_ordinary_film():
  frame, _, _ = geometry.fit_frame(tf.constant((2400, 1935)), (320, 256), 'pad')
  assert float(frame.scale[0] / frame.scale[1]) == pytest.approx(1.0, rel=0.005)


def test_frames_of_a_batch_apply_each_to_its_own_points():
  frames = [geometry.fit_frame(tf.constant(size), (64, 48), 'pad')[0] for size in ((100, 70), (60, 90))]
  batch = geometry.Frame(*(tf.stack(parts) for parts in zip(*frames, strict=True)))
  points = tf.constant(np.random.default_rng(0).uniform(0, 60, (2, 5, 2)), tf.float32)
  for b, frame in enumerate(frames):
    np.testing.assert_allclose(batch.to_network(points)[b], frame.to_network(points[b]), rtol=1e-6)
    np.testing.assert_allclose(batch.to_source(points)[b], frame.to_source(points[b]), rtol=1e-6)


def test_covariance_scales_like_the_points():
  frame, _, _ = geometry.fit_frame(tf.constant((200, 90)), (64, 48), 'stretch')
  rng = np.random.default_rng(1)
  network = rng.normal(size=(500, 2)).astype(np.float32) @ np.array([[3, 1], [0, 2]], np.float32)
  source = frame.to_source(tf.constant(network)).numpy()
  found = frame.covariance_to_source(tf.constant(np.cov(network.T), tf.float32)[None])[0]
  np.testing.assert_allclose(found, np.cov(source.T), rtol=1e-3)


def test_nan_points_stay_nan():
  frame, _, _ = geometry.fit_frame(tf.constant((200, 90)), (64, 48), 'pad')
  points = frame.to_network(tf.constant([[np.nan, np.nan], [1.0, 2.0]])).numpy()
  assert np.isnan(points[0]).all() and np.isfinite(points[1]).all()


@pytest.mark.parametrize('stride', [1, 2, 4])
def test_heatmap_pixels_lie_in_the_middle_of_the_network_pixels_they_cover(stride):
  pixel = tf.constant([[0.0, 3.0]])
  covered = np.arange(stride)
  expected = [[covered.mean(), 3 * stride + covered.mean()]]
  np.testing.assert_allclose(geometry.heatmap_to_network(pixel, stride), expected)
  np.testing.assert_allclose(geometry.network_to_heatmap(tf.constant(expected, tf.float32), stride), pixel)
