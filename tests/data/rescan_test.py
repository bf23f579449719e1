"""Copies of X-rays: framed and exposed anew, not bent, each in its own way."""

import cv2
import numpy as np
import pytest

from ceph_tf.config import AugmentConfig, InputConfig
from ceph_tf.data import rescan

_SIZE = InputConfig(height=64, width=48)


def film(points=((12, 16), (36, 16), (12, 48), (36, 48)), size=(64, 48)):
  """White spots on gray that darkens to the right, as a PNG file."""
  y, x = np.mgrid[:size[0], :size[1]]
  image = 120.0 - x
  for point in points:
    image += 100 * np.exp(-((x - point[0])**2 + (y - point[1])**2) / 8)
  return cv2.imencode('.png', image.astype(np.uint8))[1].tobytes()


def read(files):
  return np.stack([cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) for data in files])


def spots(image):
  """Centres (x, y) of the four bright spots of a copy."""
  found, sharp = [], image.astype(float) - cv2.GaussianBlur(image.astype(float), (0, 0), 6)
  for _ in range(4):
    y, x = np.unravel_index(np.argmax(sharp), sharp.shape)
    window = np.clip(sharp[max(y - 4, 0):y + 5, max(x - 4, 0):x + 5], 0, None)
    rows, columns = np.mgrid[max(y - 4, 0):max(y - 4, 0) + window.shape[0],
                             max(x - 4, 0):max(x - 4, 0) + window.shape[1]]
    found.append([(columns * window).sum() / window.sum(), (rows * window).sum() / window.sum()])
    sharp[max(y - 7, 0):y + 8, max(x - 7, 0):x + 8] = 0
  return np.array(found)


def test_copies_have_the_size_of_the_network_image_and_16_bits():
  found = read(rescan.copies(film(), _SIZE, rescan.weakened(AugmentConfig(), 0.5), 3, seed=0))
  assert found.shape == (3, 64, 48) and found.dtype == np.uint16
  assert (found.min((1, 2)) == 0).all() and (found.max((1, 2)) >= 65534).all()


def test_the_seed_decides_and_copies_differ():
  cfg = rescan.weakened(AugmentConfig(), 1.0)
  first, again, other = (read(rescan.copies(film(), _SIZE, cfg, 2, seed=seed)) for seed in (1, 1, 2))
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - other.astype(float)).max() > 1000
  assert np.abs(first[0] - first[1].astype(float)).max() > 1000


def test_at_no_strength_nothing_but_the_range_of_grays_changes():
  cfg = rescan.weakened(AugmentConfig(), 0.0)
  found = read(rescan.copies(film(), _SIZE, cfg, 1, seed=0))[0].astype(float)
  image = read([film()])[0].astype(float)
  expected = 65535 * (image - image.min()) / (image.max() - image.min())
  np.testing.assert_allclose(found, expected, atol=70)


def test_nothing_is_drawn_over_a_copy():
  plain, erased = (rescan.weakened(AugmentConfig(erased=share), 1.0) for share in (0.0, 1.0))
  plain, erased = (read(rescan.copies(film(), _SIZE, cfg, 3, seed=0)) for cfg in (plain, erased))
  np.testing.assert_array_equal(plain, erased)


def test_a_head_is_turned_and_scaled_but_not_bent():
  bending = AugmentConfig(elastic_px=8.0, elastic_grid_px=12.0, noise=0.0)
  cfg = rescan.weakened(bending, 0.5)
  moved = 0.0
  for seed in range(4):
    found = spots(read(rescan.copies(film(), _SIZE, cfg, 1, seed=seed))[0])
    # The four corners of a rectangle stay such: both diagonals have one middle and one length.
    ordered = found[np.argsort(found @ [1, 4])]
    a, b, c, d = ordered
    np.testing.assert_allclose(a + d, b + c, atol=1.5)
    np.testing.assert_allclose(np.linalg.norm(a - d), np.linalg.norm(b - c), atol=1.5)
    moved = max(moved, np.abs(ordered - [[12, 16], [36, 16], [12, 48], [36, 48]]).max())
  assert moved > 2


@pytest.mark.parametrize('strength', [0.0, 0.5, 1.0])
def test_weakened_scales_each_change_and_drops_the_elastic_one(strength):
  cfg = AugmentConfig()
  found = rescan.weakened(cfg, strength)
  assert found.elastic_px == 0 and found.elastic_grid_px == cfg.elastic_grid_px
  for field in ('rotate_deg', 'scale', 'shift', 'outside', 'gamma', 'local_contrast', 'shading', 'noise'):
    assert getattr(found, field) == strength * getattr(cfg, field)
