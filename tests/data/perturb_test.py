"""Changed X-rays: points move with their image, conditions are what their names say."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ceph_tf.data import perturb

NAN = np.nan
POINTS = np.array([[30.0, 40.0], [60.0, 70.0], [45.0, 90.0], [75.0, 30.0]], np.float32)


def textured(height=96, width=80):
  small = np.random.default_rng(0).uniform(0.1, 0.9, (9, 7)).astype(np.float32)
  return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def blob(x, y, height=128, width=112, sigma=2.0):
  rows, columns = np.mgrid[:height, :width]
  return np.exp(-((columns - x)**2 + (rows - y)**2) / (2 * sigma**2)).astype(np.float32)


def centroid(image):
  rows, columns = np.mgrid[:image.shape[0], :image.shape[1]]
  return np.array([np.average(columns, weights=image), np.average(rows, weights=image)])


def png(image):
  return cv2.imencode('.png', image)[1].tobytes()


def test_a_magnitude_of_0_changes_nothing():
  changed, moved = perturb.elastic(textured(), POINTS, 0.0, 0.1, 3)
  assert changed.dtype == np.float32
  np.testing.assert_allclose(changed, textured(), atol=1e-4)
  np.testing.assert_allclose(moved, POINTS, atol=1e-4)


def test_the_seed_decides_the_distortion():
  first, again, other = (perturb.elastic(textured(), POINTS, 0.02, 0.2, seed) for seed in (3, 3, 4))
  np.testing.assert_array_equal(first[0], again[0])
  np.testing.assert_array_equal(first[1], again[1])
  assert np.abs(first[0] - other[0]).max() > 0.01
  assert np.abs(first[1] - other[1]).max() > 0.5


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('place', [(40.0, 50.0), (70.0, 88.0)])
def test_points_move_with_the_image(seed, place):
  changed, moved = perturb.elastic(blob(*place), np.array([place], np.float32), 0.03, 0.3, seed)
  np.testing.assert_allclose(centroid(changed), moved[0], atol=1.0)
  brightest = np.unravel_index(changed.argmax(), changed.shape)[::-1]
  np.testing.assert_allclose(brightest, moved[0], atol=1.5)


def test_the_displacement_is_a_fraction_of_the_height():
  lengths = []
  for height in (64, 192):
    points = np.random.default_rng(1).uniform(0.3, 0.7, (200, 2)).astype(np.float32) * height
    moved = perturb.elastic(np.zeros((height, height), np.float32), points, 0.02, 0.2, 7)[1]
    lengths.append(np.linalg.norm(moved - points, axis=1) / height)
  np.testing.assert_allclose(lengths[0], lengths[1], atol=2e-3)
  assert 0.005 < np.median(lengths[0]) < 0.03


def test_missing_points_stay_missing_and_disturb_no_other():
  points = POINTS.copy()
  points[1] = NAN
  moved = perturb.elastic(textured(), points, 0.02, 0.2, 3)[1]
  assert np.isnan(moved[1]).all()
  expected = perturb.elastic(textured(), POINTS, 0.02, 0.2, 3)[1]
  np.testing.assert_array_equal(moved[[0, 2, 3]], expected[[0, 2, 3]])


@pytest.mark.parametrize('grid', [0.02, 0.1])
def test_a_fold_gives_missing_points_and_the_others_show_the_right_place(grid):
  size = 160
  rows, columns = np.mgrid[:size, :size].astype(np.float32)
  points = np.stack([columns[8:-8:6, 8:-8:6].ravel(), rows[8:-8:6, 8:-8:6].ravel()], -1)
  shown_x, moved = perturb.elastic(columns, points, 0.2, grid, 5)
  shown_y = perturb.elastic(rows, points, 0.2, grid, 5)[0]
  missing = np.isnan(moved).any(1)
  assert missing.mean() > 0.1
  np.testing.assert_array_equal(np.isnan(moved).all(1), missing)
  for (x, y), place in zip(points[~missing], moved[~missing], strict=True):
    left, top = np.floor(place).astype(int)
    if 0 <= left < size - 1 and 0 <= top < size - 1:
      # The image at this place shows the point: its coordinates lie between those of the four pixels.
      for shown, expected in ((shown_x, x), (shown_y, y)):
        near = shown[top:top + 2, left:left + 2]
        assert near.min() - 1 <= expected <= near.max() + 1


def test_pixel_centres_are_at_integers():
  points = np.array([[-0.5, -0.5], [0.5, 1.5], [3.5, 7.5]])
  np.testing.assert_allclose(perturb.scaled_points(points, 0.5), [[-0.5, -0.5], [0, 0.5], [1.5, 3.5]])
  np.testing.assert_array_equal(perturb.scaled_points(points, 1.0), points)
  back = perturb.scaled_points(perturb.scaled_points(points, 0.3), 1 / 0.3)
  np.testing.assert_allclose(back, points)
  assert np.isnan(perturb.scaled_points(np.array([NAN, 1.0]), 0.5)).tolist() == [True, False]


def test_points_scale_with_the_reduced_image():
  image = np.round(255 * blob(61.0, 80.0, 160, 120, sigma=6)).astype(np.uint8)
  small, factor = perturb.reduced(png(image), 40)
  assert (small.shape, factor.tolist()) == ((40, 30), [0.25, 0.25])
  np.testing.assert_allclose(centroid(small), perturb.scaled_points(np.array([61.0, 80.0]), factor), atol=0.1)


def test_reduced_never_enlarges():
  pixels = np.random.default_rng(0).integers(0, 256, (30, 20), np.uint8)
  for height in (30, 31, 500):
    image, factor = perturb.reduced(png(pixels), height)
    assert factor.tolist() == [1.0, 1.0] and image.dtype == np.float32
    np.testing.assert_allclose(image, pixels / 255, atol=1e-6)


def test_reduced_reads_16_bits_and_keeps_a_pixel_of_a_narrow_image():
  image, factor = perturb.reduced(png(np.full((400, 3), 32768, np.uint16)), 40)
  assert image.shape == (40, 1)
  np.testing.assert_allclose(factor, [1 / 3, 0.1])  # a pixel shows all three columns
  np.testing.assert_allclose(perturb.scaled_points(np.array([1.0, 4.5]), factor), [0.0, 0.0], atol=1e-9)
  np.testing.assert_allclose(image, 0.5, atol=1e-4)
  with pytest.raises(tf.errors.InvalidArgumentError):
    perturb.reduced(b'no image', 40)


@pytest.mark.parametrize('name', perturb.CONDITIONS)
def test_every_condition_is_another_image_decided_by_the_seed(name):
  image = textured()
  before = image.copy()
  changed = perturb.condition(name, image, 5)
  np.testing.assert_array_equal(image, before)
  assert changed.dtype == np.float32 and changed.ndim == 2 and changed.flags.c_contiguous
  assert 0 <= changed.min() < changed.max() <= 1
  assert changed.shape != image.shape or np.abs(changed - image).mean() > 0.05
  np.testing.assert_array_equal(changed, perturb.condition(name, image, 5))


@pytest.mark.parametrize('name', ['photograph', 'noise'])
def test_random_conditions_differ_between_seeds_and_images(name):
  first = perturb.condition(name, textured(), 5)
  assert first.shape == textured().shape
  assert np.abs(first - perturb.condition(name, textured(), 6)).mean() > 0.05
  assert np.abs(first - perturb.condition(name, textured()[::-1], 5)).mean() > 0.05


def test_a_photograph_is_smoother_than_noise():
  def roughness(name):
    image = perturb.condition(name, textured(), 5)
    return np.abs(np.diff(image, axis=1)).mean() / image.std()
  assert roughness('photograph') < 0.5 * roughness('noise')


def test_conditions_by_hand():
  image = np.array([[0.0, 0.1, 0.2], [0.3, 0.4, 0.5], [0.6, 0.7, 0.8], [0.9, 1.0, 0.25]], np.float32)
  def changed(name):
    return perturb.condition(name, image, 0)
  np.testing.assert_allclose(changed('inverted'), 1 - image, atol=1e-6)
  np.testing.assert_allclose(perturb.condition('inverted', changed('inverted'), 1), image, atol=1e-6)
  np.testing.assert_array_equal(changed('flipped'), np.fliplr(image))
  np.testing.assert_array_equal(changed('upside_down'), np.flipud(image))
  np.testing.assert_array_equal(changed('cropped'), [[0.0], np.float32([0.3])])
  np.testing.assert_allclose(changed('over_exposed'), np.minimum(2.5 * image, 1), atol=1e-6)


def test_a_point_that_is_bent_off_the_film_is_unknown():
  corners = np.array([[0.0, 0.0], [63.0, 0.0], [0.0, 63.0], [63.0, 63.0], [32.0, 32.0]], np.float32)
  image = np.zeros((64, 64), np.float32)
  moved = np.array([perturb.elastic(image, corners, 0.03, 0.5, seed)[1] for seed in range(20)])
  lost = np.isnan(moved).any(-1)
  assert 0.3 < lost[:, :4].mean() < 0.7 and not lost[:, 4].any()
  assert np.nanmin(moved) > -0.5 and np.nanmax(moved) < 63.5


@pytest.mark.parametrize('name', perturb.SCANNERS)
def test_a_scanner_shows_the_same_point_at_the_same_structure(name):
  place = np.array([[200.0, 240.0]], np.float32)
  image = 0.5 * blob(*place[0], height=512, width=448) + 0.2
  before = image.copy()
  changed, moved = perturb.scanned(name, image, place, 5)
  np.testing.assert_array_equal(image, before)
  assert changed.dtype == moved.dtype == np.float32 and 0 <= changed.min() < changed.max() <= 1
  x, y = np.round(moved[0]).astype(int)
  near = np.clip(changed[y - 6:y + 7, x - 6:x + 7] - np.median(changed), 0, None)
  np.testing.assert_allclose(centroid(near) + [x - 6, y - 6], moved[0], atol=0.6)
  assert changed.shape != image.shape or np.abs(changed - image).max() > 0.02
  np.testing.assert_array_equal(changed, perturb.scanned(name, image, place, 5)[0])


def test_a_scanner_that_frames_moves_points_by_its_frame_and_a_tight_one_loses_some():
  _, framed = perturb.scanned('black frame', np.zeros((100, 80), np.float32), POINTS, 0)
  np.testing.assert_allclose(framed - POINTS, np.broadcast_to([16, 20], POINTS.shape))
  corners = np.array([[4.0, 50.0], [6.0, 50.0], [20.0, 9.0], [20.0, 11.0], [48.0, 50.0], [20.0, 99.0]])
  tight, moved = perturb.scanned('tight', np.zeros((100, 50), np.float32), corners, 0)
  assert tight.shape == (88, 43)
  np.testing.assert_array_equal(np.isnan(moved[:, 0]), [True, False, True, False, True, True])
  np.testing.assert_allclose(moved[1], [1, 40])
  np.testing.assert_array_equal(perturb.scanned('tight', tight, np.array([[NAN, NAN]]), 0)[1], [[NAN, NAN]])


def test_letters_are_white_few_and_elsewhere_on_each_film():
  image = np.full((480, 400), 0.3, np.float32)
  first, second = (perturb.scanned('lettered', image, POINTS, seed)[0] for seed in (0, 1))
  written = first > 0.9
  assert first.min() == image.min() and 0.01 < written.mean() < 0.1
  assert 13 <= written.any(1).sum() <= 6 * 16  # a line is 480 / 36 = 13 rows high
  assert np.abs(first - second).max() > 0.5
