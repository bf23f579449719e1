import cv2
import numpy as np
import pytest

from ceph_tf.data import lateral, phantom, phantom_anatomy, projection, volumes
from ceph_tf.data.phantom_shape import draw_shape
from ceph_tf.data.records import DataError
from ceph_tf.data.volumes import Volume


@pytest.fixture(scope='module')
def anatomy():
  return phantom_anatomy.build(draw_shape(np.random.default_rng(3)))


@pytest.fixture(scope='module')
def head(anatomy) -> Volume:
  return lateral.phantom_volume(anatomy, 4.0)


def test_film_is_normalized_by_its_maximum():
  image = lateral.film_image(np.array([[-1.0, 0.0], [2.0, 4.0]]))
  np.testing.assert_array_equal(image, [[0, 0], [128, 255]])
  with pytest.raises(DataError, match='largest line integral is 0'):
    lateral.film_image(np.zeros((2, 2)))


def decoded(film) -> np.ndarray:
  return cv2.imdecode(np.frombuffer(film.image_bytes, np.uint8), cv2.IMREAD_UNCHANGED)


def test_series_of_the_phantom_has_its_landmarks(anatomy):
  plane = lateral.phantom_plane(spacing_mm=2.0)
  films = list(lateral.lateral_series(anatomy, (-45, 0, 45), plane))
  for film in films:
    line_integrals, points_px = phantom.project(
        anatomy, phantom.rotation(film.angle_deg), (120, 97), 2.0, (0.418 * 193.5 / 2, 0.435 * 120))
    np.testing.assert_allclose(film.points_px, points_px, atol=1e-3)
    np.testing.assert_allclose(decoded(film), lateral.film_image(line_integrals), atol=1)
    assert film.spacing_mm == 2.0
  assert len(lateral.ANGLES_DEG) == 91


def test_series_of_a_volume_looks_like_that_of_the_phantom(anatomy, head):
  plane = lateral.phantom_plane(spacing_mm=2.0)
  exact = lateral.lateral_series(anatomy, (-30, 0), plane)
  for film, other in zip(lateral.lateral_series(head, (-30, 0), plane), exact, strict=True):
    assert film.points_px is None
    found, expected = (decoded(f).astype(float) for f in (film, other))
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


def test_nose_of_a_volume_lies_where_it_does_on_the_average_film(anatomy, head):
  plane = lateral.film_plane(head, spacing_mm=1.0)
  assert plane.size_px == (240, 194)
  sella_px = plane.to_pixels(np.zeros(3), 0.0)
  np.testing.assert_allclose(sella_px, [0.418 * 193.5, 0.435 * 240], atol=8)


def test_develop_is_the_callers(anatomy):
  plane = lateral.phantom_plane(spacing_mm=4.0)
  film, = lateral.lateral_series(anatomy, [0], plane, develop=lambda x: np.full(x.shape, 7, np.uint8))
  assert np.all(decoded(film) == 7)


def test_volume_without_a_head():
  with pytest.raises(DataError, match='allowed is a CT of a head'):
    list(lateral.lateral_series(Volume(np.zeros((4, 4, 4), np.float32), (1, 1, 1))))


@pytest.fixture
def headsq(request):
  path = request.config.rootpath.parent / 'shared' / 'data' / 'ct' / 'headsq.nii.gz'
  if not path.is_file():
    pytest.skip(f'no {path}')
  pytest.importorskip('SimpleITK', reason='needs the extra `medical`')
  return projection.attenuation(volumes.read(path))


def test_real_head_is_upright_and_faces_right(headsq):
  """Its neck is at the lower left, its face ends at the right; teeth are at the right, below."""
  film, = lateral.lateral_series(headsq, [0], lateral.film_plane(headsq, spacing_mm=1.0))
  image = decoded(film).astype(float)
  rows = np.flatnonzero(image.max(axis=1) > 100)
  assert 60 < rows[0] < 100 and rows[-1] > 200
  upper, lower = image[rows[0] + 5], image[rows[-1] - 5]
  assert np.flatnonzero(upper > 100)[-1] > np.flatnonzero(lower > 100)[-1] + 5  # forehead before the chin
  assert image[:, -15:].max() < 40
