import cv2
import numpy as np
import pytest

from ceph_tf.data import films


def texture(seed: int, size=(300, 240)) -> np.ndarray:
  """A smooth random image, structures of a few percent of its height."""
  rng = np.random.default_rng(seed)
  image = sum(cv2.resize(rng.normal(size=(n, n)).astype(np.float32), size[::-1],
                         interpolation=cv2.INTER_CUBIC) for n in (6, 12, 25, 50))
  return cv2.normalize(image, None, 20, 230, cv2.NORM_MINMAX).astype(np.uint8)


def recompressed(image):
  return cv2.imdecode(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 0)


def moved(image, x=0.01, y=-0.01, degrees=0.0):
  height, width = image.shape
  matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
  matrix[:, 2] += (x * width, y * height)
  return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def gamma(image, exponent=1.5):
  return (255 * (image / 255.0) ** exponent).astype(np.uint8)


def unevenly_lit(image, lowest=0.02):
  light = np.geomspace(lowest, 1, image.shape[1])
  return (image * light).astype(np.float32)


CHANGES = {
    'recompressed': recompressed,
    'moved': moved,
    'moved far': lambda image: moved(image, 0.03, 0.03),
    'rotated': lambda image: moved(image, 0, 0, 0.7),
    'darker': gamma,
    'brighter': lambda image: gamma(image, 0.6),
    'unevenly lit': unevenly_lit,
    'with a gradient': lambda image: image + np.linspace(0, 600, image.shape[1]),
    'half size': lambda image: cv2.resize(image, (120, 150), interpolation=cv2.INTER_AREA),
    'sixteen bits': lambda image: image.astype(np.uint16) * 257,
    'floats': lambda image: image.astype(np.float32) / 255,
    'all': lambda image: recompressed(gamma(moved(image))),
}


@pytest.fixture(scope='module')
def prints():
  return [films.fingerprint(texture(i)) for i in range(12)]


@pytest.mark.parametrize('change', CHANGES)
def test_a_copy_is_found_and_nothing_else(prints, change):
  copy = films.fingerprint(CHANGES[change](texture(4)))
  pairs = films.same_films(np.array([*prints, copy]))
  assert [pair[:2] for pair in pairs] == [(4, 12)]


def test_different_images_are_different(prints):
  assert films.same_films(np.array(prints)) == []


def test_the_threshold_rises_with_what_all_images_share():
  rng = np.random.default_rng(0)
  apart, alike = (np.tanh(rng.normal(centre, 0.13, 5000)) for centre in (0.3, 0.6))
  assert films.MIN_SCORE <= films.threshold(apart) < films.threshold(alike) <= films.SURE_SCORE
  assert films.threshold(np.array([])) == films.MIN_SCORE
  assert films.threshold(np.ones(3)) == films.SURE_SCORE


def test_copies_do_not_hide_each_other(prints):
  copies = [films.fingerprint(recompressed(texture(i))) for i in range(12)]
  pairs = films.same_films(np.array([*prints, *copies]))
  assert [pair[:2] for pair in pairs] == [(i, i + 12) for i in range(12)]


def test_blank_images_match_nothing():
  blank = films.fingerprint(np.full((90, 70), 7, np.uint8))
  assert not blank.any()
  assert films.same_films(np.array([blank, blank])) == []
  assert films.same_films(np.array([blank])) == films.same_films(np.array([])) == []


def test_unrelated_phantoms_are_different(phantom_records):
  gray = [cv2.imdecode(np.frombuffer(r.image_bytes, np.uint8), 0) for r in phantom_records]
  assert films.same_films(np.array([films.fingerprint(g) for g in gray])) == []
