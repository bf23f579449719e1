import numpy as np
import pytest

from ceph_tf.data import lateral, phantom_anatomy, projection
from ceph_tf.data.phantom_shape import draw_shape
from ceph_tf.data.records import DataError
from ceph_tf.data.volumes import Volume


@pytest.fixture(scope='module')
def anatomy():
  return phantom_anatomy.build(draw_shape(np.random.default_rng(3)))


def ball(radius_mm=20.0, centre_mm=(8.0, -6.0, 3.0), spacing_mm=(1.0, 1.0, 1.0), supersample=3) -> Volume:
  """A ball of attenuation 1 per mm; voxels at the border hold the part that they cover."""
  spacing = np.array(spacing_mm)
  origin = np.floor(np.array(centre_mm) - radius_mm - 3)
  count = np.ceil((2 * radius_mm + 6) / spacing).astype(int)
  fine = (np.arange(supersample) + 0.5) / supersample - 0.5
  x, y, z = (origin[a] + spacing[a] * (np.arange(count[a])[:, None] + fine).ravel() for a in range(3))
  inside = ((x - centre_mm[0])**2 + (y[:, None] - centre_mm[1])**2
            + (z[:, None, None] - centre_mm[2])**2 <= radius_mm**2)
  s = supersample
  voxels = inside.reshape(count[2], s, count[1], s, count[0], s).mean(axis=(1, 3, 5), dtype=np.float32)
  return Volume(voxels, tuple(spacing_mm), tuple(origin))


def chords(plane, centre_px, radius_mm):
  """Exact line integrals of a ball."""
  v, u = np.indices(plane.size_px)
  away = np.hypot(u - centre_px[0], v - centre_px[1]) * plane.spacing_mm
  return 2 * np.sqrt(np.maximum(radius_mm**2 - away**2, 0))


@pytest.mark.parametrize('angle', [-45, -44, -17, -1, 0, 0.001, 13, 45, 90, 180])
@pytest.mark.parametrize('spacing_mm', [(1.0, 1.0, 1.0), (1.0, 1.5, 2.0), (2.0, 1.0, 0.7)])
def test_ball_at_any_angle(angle, spacing_mm):
  volume = ball(spacing_mm=spacing_mm)
  plane = projection.whole_plane(volume, axis_mm=(0.0, 0.0))
  image, = projection.projections(volume, [angle], plane)
  exact = chords(plane, plane.to_pixels(np.array([8.0, -6.0, 3.0]), angle), 20.0)
  assert np.abs(image - exact).sum() < 0.03 * exact.sum()


@pytest.mark.parametrize('spacing_mm, tolerance', [(0.4, 0.015), (1.7, 0.015), (4.0, 0.03)])
def test_finer_and_coarser_pixels(spacing_mm, tolerance):
  volume = ball(radius_mm=30.0)
  plane = projection.Plane(spacing_mm, (round(90 / spacing_mm), round(100 / spacing_mm)), -45.0, 45.0)
  image, = projection.projections(volume, [25.0], plane)
  exact = chords(plane, plane.to_pixels(np.array([8.0, -6.0, 3.0]), 25.0), 30.0)
  assert np.abs(image - exact).sum() < tolerance * exact.sum()


@pytest.mark.parametrize('axis', [0, 1])
def test_coarse_pixels_average(axis):
  voxels = np.zeros((60, 60, 3), np.float32)
  voxels[(slice(None),) * axis + (slice(None, None, 2),)] = 2
  volume = Volume(voxels, (1.0, 1.0, 1.0))
  plane = projection.Plane(4.25, (8, 8), -45.0, 45.0)
  image, = projection.projections(volume, [0.0], plane)
  np.testing.assert_allclose(image, 3.0, atol=0.05)


def test_mass_is_conserved_at_every_angle():
  voxels = np.random.default_rng(0).random((3, 9, 14), np.float32)
  volume = Volume(voxels, (0.8, 0.8, 0.8), (4.0, -20.0, 2.0))
  plane = projection.whole_plane(volume)
  mass = voxels.sum() * 0.8**3
  for image in projection.projections(volume, range(-45, 46, 5), plane):
    np.testing.assert_allclose(image.sum() * 0.8**2, mass, rtol=1e-5)


def test_at_0_degrees_it_is_the_sum():
  voxels = np.random.default_rng(0).random((3, 9, 14), np.float32)
  volume = Volume(voxels, (0.8, 0.8, 0.8), (4.0, -20.0, 2.0))
  plane = projection.whole_plane(volume)
  image, = projection.projections(volume, [0.0], plane)
  left = round((20.0 - 0.8 * 8 - plane.left_mm) / 0.8)  # anterior is minus y: the last row is leftmost
  np.testing.assert_allclose(image[:, left:left + 9], 0.8 * voxels.sum(axis=2)[::-1, ::-1], rtol=1e-5)
  assert abs(image[:, :left]).max() < 1e-6


def test_faces_right_and_turns_to_the_patients_left():
  """A dot before the axis (the face): its place, and at -90 and 90 degrees the line of sight."""
  voxels = np.zeros((5, 21, 21), np.float32)
  voxels[4, 0, 10] = 1  # anterior, superior, in the middle
  voxels[0, 10, 20] = 2  # inferior, at the left
  volume = Volume(voxels, (1.0, 1.0, 1.0))
  plane = projection.whole_plane(volume)
  middle = (plane.size_px[1] - 1) / 2
  still, turned = projection.projections(volume, [0.0, 30.0], plane)
  assert np.unravel_index(still.argmax(), still.shape)[0] == 4
  assert still[0].argmax() == middle + 10
  assert turned[4].argmax() == middle - 5  # the left side goes back as the face goes to the left
  np.testing.assert_allclose(plane.to_pixels(np.array([20.0, 10.0, 0.0]), 30.0), [middle - 5, 4])


def test_agrees_with_the_exact_projection_of_the_phantom(anatomy):
  head = lateral.phantom_volume(anatomy, 3.0)
  plane = projection.whole_plane(head, axis_mm=(0.0, 0.0))
  angles = [-45, -20, 0, 7, 45]
  for angle, image in zip(angles, projection.projections(head, angles, plane), strict=True):
    exact, _ = lateral.phantom_view(anatomy, angle, plane)
    assert np.abs(image - exact).sum() < 0.025 * np.abs(exact).sum()


@pytest.mark.parametrize('axis_mm', [(0.0, 0.0), (12.0, -30.0)])
def test_landmarks_on_a_plane_are_the_phantoms(anatomy, axis_mm):
  plane = projection.Plane(0.5, (480, 387), -80.0, 104.0, axis_mm)
  _, points_px = lateral.phantom_view(anatomy, 33.0, plane)
  np.testing.assert_allclose(plane.to_pixels(anatomy.landmarks, 33.0), points_px, atol=1e-3)


def test_attenuation():
  volume = Volume(np.array([-3000, -1000, 0, 1000], np.float32).repeat(2).reshape(2, 2, 2), (1, 1, 1))
  np.testing.assert_allclose(projection.attenuation(volume).voxels.ravel()[::2], [0, 0, 0.019, 0.038],
                             atol=1e-8)
  assert volume.voxels.min() == -3000


def test_attenuation_of_another_unit():
  with pytest.raises(DataError, match='no Hounsfield units'):
    projection.attenuation(Volume(np.zeros((2, 2, 2), np.float32), (1, 1, 1)))
