"""Crops and back: by round trip, by hand, and where a crop leaves the image."""

import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import geometry, seeds
from ceph_tf.config import CropConfig
from ceph_tf.data import crops
from ceph_tf.data import input as data_input


def numbered(batch=2, height=12, width=10):
  """Images whose pixel (x, y) of image b holds 1000 b + 100 y + x + 1."""
  b, y, x = np.mgrid[:batch, :height, :width]
  return tf.constant((1000 * b + 100 * y + x + 1)[..., None], tf.float32)


def test_the_point_is_in_the_middle_pixel_and_the_way_back_is_exact():
  points = tf.random.stateless_uniform([2, 5, 2], [1, 2], -20.0, 30.0)
  frame = geometry.crop_frame(points, 8)
  inside = crops.to_crops(points, frame)
  assert tf.reduce_max(tf.abs(inside - 4)) <= 0.5
  np.testing.assert_allclose(crops.from_crops(inside, frame), points, atol=1e-5)
  covariance = tf.eye(2, batch_shape=[2, 5])[..., None, :, :]
  np.testing.assert_array_equal(frame.covariance_to_source(covariance), covariance)


def test_a_crop_holds_the_pixels_around_its_point():
  images = numbered()
  frame = geometry.crop_frame(tf.constant([[[4.2, 5.0], [6.0, 3.6]], [[3.0, 9.0], [4.0, 4.0]]]), 4)
  found = crops.cut(images, frame, 4).numpy()
  assert found.shape == (2, 2, 4, 4, 1)
  np.testing.assert_array_equal(found[0, 0, :, :, 0], images[0, 3:7, 2:6, 0])
  np.testing.assert_array_equal(found[0, 1, :, :, 0], images[0, 2:6, 4:8, 0])
  np.testing.assert_array_equal(found[1, 0, :, :, 0], images[1, 7:11, 1:5, 0])


def test_a_landmark_is_where_its_pixel_is():
  images, points = numbered(), tf.constant([[[7.0, 2.0]], [[1.0, 11.0]]])
  frame = geometry.crop_frame(points + [1.3, -1.4], 6)
  found, at = crops.cut(images, frame, 6).numpy(), crops.to_crops(points, frame).numpy().astype(int)
  for b, (x, y) in enumerate([(7, 2), (1, 11)]):
    assert found[b, 0, at[b, 0, 1], at[b, 0, 0], 0] == 1000 * b + 100 * y + x + 1


@pytest.mark.parametrize('centre,filled', [
    ((0.0, 0.0), (slice(2, 4), slice(2, 4))), ((9.0, 11.0), (slice(0, 3), slice(0, 3)))])
def test_outside_the_image_a_crop_is_of_mean_gray(centre, filled):
  crop = crops.cut(numbered(1), geometry.crop_frame(tf.constant([[centre]]), 4), 4)[0, 0, :, :, 0].numpy()
  assert (crop[filled] > 0).all() and (crop > 0).sum() == crop[filled].size


def test_a_crop_beside_the_image_is_empty():
  for centre in ((-50.0, 4.0), (4.0, 1e6)):
    assert not crops.cut(numbered(1), geometry.crop_frame(tf.constant([[centre]]), 4), 4).numpy().any()


def test_a_crop_is_seen_with_what_surrounds_it():
  images = numbered(2, 24, 20)
  frame = geometry.crop_frame(tf.constant([[[9.0, 11.0], [12.0, 8.0]], [[8.0, 12.0], [1.0, 1.0]]]), 6)
  seen, landmark = crops.to_see(images, frame, 6)
  np.testing.assert_array_equal(landmark[:, 0], [0, 1, 0, 1])
  np.testing.assert_array_equal(seen[..., 0], tf.reshape(crops.cut(images, frame, 6), [4, 6, 6]))
  # The crop around (9, 11) begins at (6, 8), its surroundings 3 pixels before that, with means of 2 x 2.
  around = images[0, 5:17, 3:15, 0].numpy()
  np.testing.assert_allclose(seen[0, :, :, 1], around.reshape(6, 2, 6, 2).mean((1, 3)))
  assert not seen[3, :2, :, 1].numpy().any()  # above the image


def test_jitter_is_small_for_most_and_large_for_some():
  points = tf.fill([200, 50, 2], 100.0)
  moved = (crops.jittered(points, (1.0, 16.0), seeds.tensor(0, 'jitter')) - points).numpy()
  # A normal times a log-uniform factor: E[x^2] is the mean of the variances, (16^2 - 1) / (2 ln 16).
  assert moved.std() == pytest.approx(np.sqrt(255 / (2 * np.log(16))), rel=0.03)
  assert abs(moved.mean()) < 0.2
  # Half of the deviations are below 4: the median of |x| is far below that of one normal of this width.
  assert np.median(abs(moved)) < 0.6 * 0.6745 * moved.std()
  again = crops.jittered(points, (1.0, 16.0), seeds.tensor(0, 'jitter'))
  np.testing.assert_array_equal(again - points, moved)


def test_a_missing_landmark_has_a_crop_all_the_same():
  points = tf.constant([[[np.nan, np.nan], [5.0, 5.0]]])
  moved = crops.jittered(points, (1.0, 2.0), seeds.tensor(0, 'jitter'))
  np.testing.assert_array_equal(moved[0, 0], [0, 0])
  frame = geometry.crop_frame(moved, 4)
  assert np.isnan(crops.to_crops(points, frame)[0, 0]).all()
  assert np.isfinite(crops.to_crops(points, frame)[0, 1]).all()


def share_inside(density, frame, stride, size_px):
  return tf.reduce_sum(density * crops.cover(density.shape[1:3], frame, stride, size_px), [1, 2])


def test_the_share_of_a_heatmap_in_its_crop_by_hand():
  density = np.zeros((1, 6, 5, 2), np.float32)
  density[0, 2, 3] = 0.5  # covers x 5.5..7.5 and y 3.5..5.5 of the image
  density[0, 5, 0] = 0.5
  frame = geometry.crop_frame(tf.constant([[[6.0, 4.0], [8.0, 5.0]]]), 4)
  # The crops cover x 3.5..7.5 and y 1.5..5.5, and x 5.5..9.5 and y 2.5..6.5.
  np.testing.assert_allclose(share_inside(density, frame, 2, 4), [[0.5, 0.5]])
  frame = geometry.crop_frame(tf.constant([[[5.0, 4.0], [9.0, 6.0]]]), 4)
  # x 2.5..6.5: half of the pixel; x 6.5..10.5, y 3.5..7.5: half of it.
  np.testing.assert_allclose(share_inside(density, frame, 2, 4), [[0.25, 0.25]])


def test_far_from_its_heatmap_a_crop_holds_nothing_and_over_all_of_it_everything():
  density = tf.nn.softmax(tf.random.stateless_normal([2, 30, 3], [1, 2]), axis=1)
  density = tf.reshape(density, [2, 6, 5, 3])
  away = geometry.crop_frame(tf.fill([2, 3, 2], 100.0), 8)
  np.testing.assert_array_equal(share_inside(density, away, 2, 8), np.zeros((2, 3)))
  around = geometry.crop_frame(tf.fill([2, 3, 2], 5.0), 64)
  np.testing.assert_allclose(share_inside(density, around, 2, 64), np.ones((2, 3)), rtol=1e-5)


def spot_images(points, height=40, width=32):
  """Images [B, H, W, 1] that are 1 in the pixels of points [B, L, 2], 0 elsewhere."""
  y, x = np.mgrid[:height, :width]
  at = points[:, :, :, None, None]
  return tf.constant(((x == at[:, :, 0]) & (y == at[:, :, 1])).any(1)[..., None], tf.float32)


def test_training_crops_show_each_one_its_landmark():
  points = np.array([[[20, 9], [7, 30], [11, 15]], [[3, 3], [16, 20], [29, 38]]], np.float32)
  cfg = CropConfig(size_px=16, jitter_px=(1.0, 3.0), landmarks=2)
  seen = set()
  for step in range(20):
    found = crops.of_batch(spot_images(points), tf.constant(points), seeds.tensor(step, 'crops'), cfg)
    assert found['image'].shape == (4, 16, 16, 2) and found['points_px'].shape == (4, 1, 2)
    landmarks = found['landmark'].numpy()[:, 0]
    assert landmarks[0] != landmarks[1] and landmarks[2] != landmarks[3]
    seen |= {*landmarks}
    for crop, point in zip(found['image'].numpy(), found['points_px'].numpy()[:, 0], strict=True):
      x, y = np.rint(point).astype(int)
      if 0 <= x < 16 and 0 <= y < 16:  # a large jitter takes it out of the crop
        assert crop[y, x, 0] == 1
  assert seen == {0, 1, 2}


def test_of_fewer_landmarks_than_asked_for_all_are_taken_and_missing_ones_stay_missing():
  points = tf.constant([[[20.0, 9.0], [np.nan, np.nan]]])
  found = crops.of_batch(tf.ones([1, 40, 32, 1]), points, seeds.tensor(0, 'crops'), CropConfig(size_px=16))
  assert sorted(found['landmark'].numpy()[:, 0]) == [0, 1]
  missing = np.isnan(found['points_px'].numpy()).all((1, 2))
  np.testing.assert_array_equal(missing, found['landmark'].numpy()[:, 0] == 1)


def test_validation_crops_lead_back_to_the_source_image():
  points = np.array([[[20, 9], [7, 30]], [[3, 3], [16, 20]]], np.float32)
  frame = geometry.Frame(np.array([[0.5, 0.5], [0.25, 0.25]], np.float32),
                         np.array([[1, 2], [3, 4]], np.float32))
  whole = tf.data.Dataset.from_tensor_slices({
      'image': spot_images(points), 'points_px': points, 'frame': frame,
      'spacing_mm': np.array([0.1, 0.2], np.float32)})
  cfg = CropConfig(size_px=16, jitter_px=(1.0, 4.0))
  found = list(data_input.validation(whole, cfg))
  assert len(found) == 4 and [int(one['landmark'][0]) for one in found] == [0, 1, 0, 1]
  for number, one in enumerate(found):
    image, landmark = divmod(number, 2)
    source = (points[image, landmark] - frame.offset[image]) / frame.scale[image]
    np.testing.assert_allclose(one['frame'].to_source(one['points_px'])[0], source, atol=1e-4)
    assert float(one['spacing_mm']) == pytest.approx([0.1, 0.2][image])
  for one, again in zip(found, data_input.validation(whole, cfg), strict=True):
    np.testing.assert_array_equal(one['image'], again['image'])
  assert data_input.validation(whole, CropConfig()) is whole
