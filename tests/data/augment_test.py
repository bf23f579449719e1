import dataclasses

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.config import AugmentConfig
from ceph_tf.data import augment

_STRONG = AugmentConfig(rotate_deg=25.0, scale=0.25, shift=0.08, elastic_px=6.0, elastic_grid_px=32.0)
_NOTHING = AugmentConfig(rotate_deg=0.0, scale=0.0, shift=0.0, elastic_px=0.0, outside=0.0, gamma=0.0,
                         local_contrast=0.0, shading=0.0, contrast=0.0, brightness=0.0, noise=0.0)
_SIZE = (112, 96)


def _points(seed, batch, count, margin_px=20.0):
  height, width = _SIZE
  return seeds.rng(seed, 'points').uniform(
      margin_px, np.array([width, height]) - 1 - margin_px, (batch, count, 2)).astype(np.float32)


def _spots(points_px, sigma_px=2.0):
  """One image with one Gaussian spot for each point [B, 1, 2]."""
  y, x = np.mgrid[:_SIZE[0], :_SIZE[1]]
  distance = (x - points_px[..., 0, None]) ** 2 + (y - points_px[..., 1, None]) ** 2
  return np.exp(-0.5 * distance / sigma_px**2)[..., None].astype(np.float32)


def _centroid(image):
  """Centre (x, y) of the bright part of an image [H, W]."""
  weight = np.maximum(image - 0.1 * image.max(), 0.0)
  y, x = np.mgrid[:image.shape[0], :image.shape[1]]
  return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@pytest.mark.parametrize('seed', range(6))
def test_a_warped_spot_lies_where_its_point_moved(seed):
  points = _points(seed, 8, 1)
  deformation = augment.draw(seeds.tensor(seed), 8, _SIZE, _STRONG)
  moved = augment.move_points(deformation, tf.constant(points)).numpy()
  warped = augment.warp(deformation, tf.constant(_spots(points))).numpy()
  assert np.abs(moved - points).max() > 5  # the deformation is strong
  checked = 0
  for image, (x, y) in zip(warped[..., 0], moved[:, 0], strict=True):
    if 8 <= x < _SIZE[1] - 8 and 8 <= y < _SIZE[0] - 8:  # the whole spot is in the image
      assert np.abs(_centroid(image) - [x, y]).max() < 0.1
      checked += 1
  assert checked >= 4


@pytest.mark.parametrize('seed', range(6))
def test_points_move_by_the_inverse_of_the_map_of_pixels(seed):
  deformation = augment.draw(seeds.tensor(seed, 'inverse'), 3, _SIZE, _STRONG)
  source = augment.source_of_pixels(deformation)
  height, width = _SIZE
  flat = tf.transpose(tf.reshape(source, [3, 2, height * width]), [0, 2, 1])
  y, x = np.mgrid[:height, :width]
  back = augment.move_points(deformation, flat).numpy() - np.stack([x.ravel(), y.ravel()], -1)
  assert np.abs(back).max() < 0.02


def test_the_map_is_centre_plus_m_times_displaced_offset_plus_shift():
  deformation = augment.draw(seeds.tensor(5), 2, _SIZE, _STRONG)
  source = augment.source_of_pixels(deformation).numpy()
  pixels = np.array([[0, 0], [95, 111], [17, 80], [50.0, 50]], np.float32)
  moved = pixels + augment.displacement(deformation, tf.constant([pixels, pixels])).numpy()
  centre = np.array([(96 - 1) / 2, (112 - 1) / 2])
  for b in range(2):
    expected = (moved[b] - centre) @ deformation.matrix[b].numpy().T + centre + deformation.shift_px[b]
    found = source[b][:, pixels[:, 1].astype(int), pixels[:, 0].astype(int)].T
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_nothing_happens_at_zero_strength():
  images = tf.random.stateless_normal([2, *_SIZE, 1], [1, 2])
  mean, variance = tf.nn.moments(images, [1, 2, 3], keepdims=True)
  images = (images - mean) / tf.sqrt(variance)
  points = tf.constant(_points(0, 2, 5))
  new_images, new_points = augment.apply(images, points, seeds.tensor(0), _NOTHING)
  np.testing.assert_allclose(new_points, points, atol=1e-3)
  np.testing.assert_allclose(new_images[:, 1:-1, 1:-1], images[:, 1:-1, 1:-1], atol=1e-3)


def test_beyond_the_film_is_a_gray_of_each_images_own():
  to_the_right = augment.Deformation(
      tf.eye(2, batch_shape=[2]), tf.constant([[40.0, 0.0]] * 2),
      tf.zeros([2, *augment.grid_shape(_SIZE, 32.0), 2]), 32.0, _SIZE)
  films = tf.fill([2, *_SIZE, 1], 5.0)
  warped = augment.warp(to_the_right, films, tf.constant([1.0, -2.0])).numpy()
  edge = _SIZE[1] - 40
  np.testing.assert_allclose(warped[:, :, :edge - 1], 5.0, atol=1e-5)
  np.testing.assert_allclose(warped[0, :, edge + 1:], 1.0, atol=1e-5)
  np.testing.assert_allclose(warped[1, :, edge + 1:], -2.0, atol=1e-5)


def test_the_gray_beyond_the_film_is_drawn():
  far = dataclasses.replace(_NOTHING, shift=0.5, outside=2.0)
  films, points = tf.constant(np.repeat(_spots(_points(0, 1, 1)), 4, 0)), tf.constant(_points(0, 4, 1))
  corners = [augment.apply(films, points, seeds.tensor(0), dataclasses.replace(far, outside=gray))[0].numpy()
             for gray in (0.0, 2.0)]
  differing = [np.abs(a - b).max() > 0.1 for a, b in zip(*corners, strict=True)]
  assert all(differing)


def test_the_seed_decides_everything():
  images, points = tf.constant(_spots(_points(1, 4, 1))), tf.constant(_points(1, 4, 3))
  first = augment.apply(images, points, seeds.tensor(1), AugmentConfig())
  again = augment.apply(images, points, seeds.tensor(1), AugmentConfig())
  other = augment.apply(images, points, seeds.tensor(2), AugmentConfig())
  for a, b, c in zip(first, again, other, strict=True):
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.1


@pytest.mark.parametrize('field, value', [('rotate_deg', 10.0), ('scale', 0.15), ('shift', 0.06),
                                          ('elastic_px', 4.0)])
def test_each_example_of_a_batch_is_deformed_in_its_own_way(field, value):
  cfg = dataclasses.replace(_NOTHING, **{field: value})
  points = tf.constant(np.repeat(_points(3, 1, 4), 6, 0))
  moved = augment.move_points(augment.draw(seeds.tensor(3), 6, _SIZE, cfg), points).numpy()
  assert all(np.abs(moved[i] - moved[j]).max() > 0.1 for i in range(6) for j in range(i))


@pytest.mark.parametrize('field, value', [('gamma', 0.5), ('local_contrast', 1.0), ('shading', 0.3),
                                          ('contrast', 0.2), ('brightness', 0.2), ('noise', 0.1)])
def test_each_example_of_a_batch_gets_its_own_intensity(field, value):
  cfg = dataclasses.replace(_NOTHING, **{field: value})
  images = tf.repeat(tf.random.stateless_normal([1, *_SIZE, 1], [1, 2]), 6, 0)
  changed = augment.change_intensity(seeds.tensor(4), images, cfg).numpy()
  assert all(np.abs(changed[i] - changed[j]).max() > 0.001 for i in range(6) for j in range(i))


def test_each_example_of_a_batch_has_its_own_level_of_noise():
  images = tf.repeat(tf.random.stateless_normal([1, *_SIZE, 1], [1, 2]), 6, 0)
  cfg = dataclasses.replace(_NOTHING, noise=0.5)
  clean = augment.change_intensity(seeds.tensor(4), images, _NOTHING)
  noisy = augment.change_intensity(seeds.tensor(4), images, cfg)
  levels = np.std(noisy - clean, axis=(1, 2, 3))
  assert levels.max() < 0.52 and np.ptp(levels) > 0.05


def test_the_elastic_part_differs_from_place_to_place():
  cfg = AugmentConfig(rotate_deg=0.0, scale=0.0, shift=0.0, elastic_px=6.0, elastic_grid_px=24.0)
  points = _points(2, 1, 10)
  moved = augment.move_points(augment.draw(seeds.tensor(2), 1, _SIZE, cfg), tf.constant(points))
  assert np.std(moved - points, axis=1).min() > 1.0


def test_a_missing_point_stays_missing_and_harms_no_other():
  points = _points(4, 2, 3)
  holed = points.copy()
  holed[0, 1] = np.nan
  deformation = augment.draw(seeds.tensor(4), 2, _SIZE, _STRONG)
  expected = augment.move_points(deformation, tf.constant(points)).numpy()
  moved = augment.move_points(deformation, tf.constant(holed)).numpy()
  expected[0, 1] = np.nan
  np.testing.assert_array_equal(moved, expected)


def test_splines_of_equal_control_points_are_flat_up_to_the_border():
  for size, grid_px in (((112, 96), 32.0), ((97, 65), 16.0), ((31, 50), 48.0)):
    shape = augment.grid_shape(size, grid_px)
    plane = augment._at_pixels(tf.ones([1, *shape]), size, grid_px)
    np.testing.assert_allclose(plane, np.ones([1, *size]), atol=1e-5)


@pytest.mark.parametrize('x, y, expected', [
    (1.0, 2.0, 21.0), (1.25, 2.0, 21.25), (1.0, 2.5, 26.0), (1.5, 0.5, 6.5),
    (-0.5, 1.0, 5.0), (-1.0, 2.0, 0.0), (-50.0, 2.0, 0.0), (3.0, 3.0, 33.0), (3.5, 3.0, 16.5),
    (4.0, 1.0, 0.0), (2.0, 99.0, 0.0),
])
def test_bilinear_samples_fade_to_zero_outside(x, y, expected):
  image = (10.0 * np.arange(4)[:, None] + np.arange(4)).astype(np.float32)
  images = tf.constant(np.stack([np.full_like(image, 7.0), image])[..., None])
  where = tf.tile(tf.reshape(tf.constant([x, y]), [1, 2, 1, 1]), [2, 1, 1, 1])
  assert float(augment.sample_bilinear(images, where)[1, 0, 0, 0]) == pytest.approx(expected, abs=1e-4)


def test_white_noise_is_standard_normal():
  noise = augment._white_noise(seeds.tensor(0), 4, 50_001).numpy()
  assert noise.shape == (4, 50_001)
  assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.01
  assert abs((noise**4).mean() - 3) < 0.1
  assert np.abs(np.corrcoef(noise) - np.eye(4)).max() < 0.02
  assert abs(np.corrcoef(noise[0, :25_000], noise[0, 25_001:])[0, 1]) < 0.03  # cosine and sine halves


def test_intensity_keeps_the_order_of_gray_values_without_noise_and_fields():
  cfg = AugmentConfig(local_contrast=0.0, shading=0.0, noise=0.0)
  images = tf.random.stateless_normal([3, *_SIZE, 1], [5, 6])
  changed = augment.change_intensity(seeds.tensor(9), images, cfg).numpy()
  for before, after in zip(images.numpy(), changed, strict=True):
    assert np.all(np.diff(after.ravel()[np.argsort(before.ravel())]) >= -1e-5)
    assert 1 / 1.2 - 0.01 < after.std() < 1.2 + 0.01 and abs(after.mean()) < 0.21


def _erased(share, batch=400):
  """What of flat images is drawn over: bool [B, H, W], and the images."""
  images = augment.erase(seeds.tensor(8), tf.zeros([batch, *_SIZE, 1]), share).numpy()[..., 0]
  return images != 0, images


def test_a_share_of_the_images_is_drawn_over():
  for share in (0.0, 0.25, 1.0):
    drawn, _ = _erased(share)
    # Few rectangles lie so near the border that they cover no pixel.
    assert drawn.any((1, 2)).mean() == pytest.approx(share, abs=0.06)


def test_rectangles_are_small_of_all_grays_and_anywhere():
  drawn, images = _erased(1.0)
  middles, sides, grays, grainy = [], [], [], []
  for there, image in zip(drawn, images, strict=True):
    rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
    if there.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1):  # a single rectangle
      sides.append([len(rows), len(columns)])
      middles.append([rows.mean(), columns.mean()])
      grays.append(image[there].mean())
      grainy.append(image[there].std() > 1e-5)
  middles, sides = np.array(middles), np.array(sides)
  assert len(sides) > 80  # about a third
  assert sides.min() <= 3 and 18 <= sides.max() <= 0.2 * 112 + 1
  assert min(grays) < -2 and max(grays) > 2.5 and 0.3 < np.mean(grainy) < 0.7
  height, width = _SIZE
  counts, _, _ = np.histogram2d(*middles.T, bins=2, range=[[0, height], [0, width]])
  assert counts.min() > 0.15 * len(sides)


def test_up_to_three_rectangles_are_drawn():
  drawn, _ = _erased(1.0)
  components = [cv2.connectedComponents(there.astype(np.uint8))[0] - 1 for there in drawn]
  assert max(components) == 3 and [components.count(k) > 80 for k in (1, 2, 3)] == [True] * 3


def test_erasing_changes_neither_points_nor_what_else_is_drawn():
  images, points = tf.constant(_spots(_points(1, 40, 1))), tf.constant(_points(1, 40, 3))
  plain, moved = augment.apply(images, points, seeds.tensor(1), AugmentConfig())
  drawn_over, same = augment.apply(images, points, seeds.tensor(1), AugmentConfig(erased=0.5))
  np.testing.assert_array_equal(moved, same)
  changed = (plain != drawn_over).numpy()[..., 0]
  assert 0.3 < changed.any((1, 2)).mean() < 0.7 and changed.mean() < 0.1


def test_a_constant_image_stays_finite():
  changed = augment.change_intensity(seeds.tensor(0), tf.zeros([2, *_SIZE, 1]), AugmentConfig())
  assert np.isfinite(changed).all()


def test_no_point_moves_further_than_configured():
  height, width = _SIZE
  cfg = AugmentConfig(rotate_deg=0.0, scale=0.0, shift=0.1, elastic_px=0.0)
  points = _points(6, 64, 1)
  moved = augment.move_points(augment.draw(seeds.tensor(6), 64, _SIZE, cfg), tf.constant(points))
  reach = np.abs(moved - points).max((0, 1))
  assert np.all(reach <= [0.1 * width + 0.01, 0.1 * height + 0.01]) and np.all(reach > 5)
