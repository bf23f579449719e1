"""Projections against closed forms and voxels, exactness of landmarks."""

import dataclasses

import numpy as np
import pytest

from ceph_tf.data import phantom, phantom_anatomy, phantom_shape
from ceph_tf.data.records import LANDMARKS

# mean of the 300 films of ISBI 2015 that are public: anterior and down of sella, mm
ISBI_MEAN = {
  'sella': (0, 0),
  'nasion': (58.1, -6.8),
  'orbitale': (46.2, 18.6),
  'porion': (-20.6, 18.0),
  'subspinale': (58.3, 49.2),
  'supramentale': (55.4, 80.3),
  'pogonion': (53.8, 94.8),
  'menton': (48.2, 100.7),
  'gnathion': (52.0, 98.8),
  'gonion': (-7.4, 69.7),
  'lower_incisor': (61.2, 65.8),
  'upper_incisor': (63.0, 66.6),
  'upper_lip': (75.1, 58.4),
  'lower_lip': (72.8, 76.9),
  'subnasale': (69.1, 46.0),
  'soft_pogonion': (61.9, 101.3),
  'pns': (15.9, 39.0),
  'ans': (59.0, 40.7),
  'articulare': (-13.8, 28.3),
}
POSES = [(0, 0, 0), (-45, 0, 0), (20, 0, 0), (45, 8, -6)]


def _turned_axes(half_axes) -> np.ndarray:
  return phantom.rotation(25, -40, 15) @ np.diag(half_axes)


def _anatomy(centres, axes, part=None, attenuation=(0.03,)) -> phantom_anatomy.Anatomy:
  centres = np.asarray(centres, np.float64)
  axes = np.broadcast_to(axes, (len(centres), 3, 3))
  part = np.zeros(len(centres), int) if part is None else np.asarray(part)
  names = tuple(f'part{i}' for i in range(len(attenuation)))
  return phantom_anatomy.Anatomy(
    centres, axes, part, np.asarray(attenuation), names, np.zeros((19, 3))
  )


def _image(anatomy, pose=(0, 0, 0), size=(120, 140), spacing=0.5):
  sella = (size[1] / 2 - 0.3, size[0] / 2 + 0.2)
  return phantom.project(anatomy, phantom.rotation(*pose), size, spacing, sella)


def test_sphere_has_the_chords_of_the_closed_form():
  image, _ = _image(_anatomy([(3, -5, 4)], 12 * np.eye(3)))
  y, x = np.mgrid[:120, :140]
  squared = (0.5 * (x - 69.7) - 5) ** 2 + (0.5 * (y - 60.2) + 4) ** 2
  expected = 0.03 * 2 * np.sqrt(np.maximum(144 - squared, 0))
  np.testing.assert_allclose(image, expected, atol=2e-4)


def test_ellipsoid_has_the_chord_of_the_closed_form():
  axes = _turned_axes((20, 11, 7))
  anatomy = _anatomy([(9, 0, 0)], axes)
  image, _ = phantom.project(anatomy, np.eye(3), (121, 141), 1.0, (69.7, 60.2))
  matrix = np.linalg.inv(axes @ axes.T)
  for column, row in [(70, 60), (74, 57), (64, 65)]:
    offset = np.array([0, 69.7 - column, 60.2 - row])  # of the ray from the centre, LPS
    a, b, c = matrix[0, 0], 2 * matrix[0] @ offset, offset @ matrix @ offset - 1
    assert image[row, column] == pytest.approx(0.03 * np.sqrt(b * b - 4 * a * c) / a, rel=1e-4)


@pytest.mark.parametrize('pose', POSES)
def test_projection_keeps_the_mass_at_every_rotation(pose):
  image, _ = _image(_anatomy([(2, -3, 1)], _turned_axes((20, 11, 7))), pose)
  assert image.sum() * 0.25 == pytest.approx(0.03 * 4 / 3 * np.pi * 20 * 11 * 7, rel=1e-3)


def test_union_counts_what_overlaps_once():
  ball = 8 * np.eye(3)
  one, _ = _image(_anatomy([(0, 0, 0)], ball))
  same, _ = _image(_anatomy([(0, 0, 0), (0, 0, 0)], ball))
  np.testing.assert_allclose(same, one, atol=1e-5)
  sideways, _ = _image(_anatomy([(0, 0, 0), (6, 0, 0)], ball))  # along the ray, overlapping
  assert sideways[60, 70] == pytest.approx(one[60, 70] + 0.03 * 6, rel=1e-3)
  chain, _ = _image(_anatomy([(0, 0, 0), (40, 0, 0), (6, 0, 0)], ball))  # with a gap
  assert chain[60, 70] == pytest.approx(2 * one[60, 70] + 0.03 * 6, rel=1e-3)
  apart, _ = _image(_anatomy([(0, 0, 0), (0, 0, 0)], ball, part=[0, 1], attenuation=(0.03, -0.01)))
  np.testing.assert_allclose(apart, one * 2 / 3, atol=1e-5)


def test_union_of_tilted_ellipsoids_agrees_with_samples_along_rays():
  axes = np.stack([_turned_axes((20, 5, 7)), phantom.rotation(-50, 20, 0) @ np.diag((18, 6, 6))])
  centres = np.array([(-2.0, 1, 0), (6, -3, 2)])
  image, _ = phantom.project(_anatomy(centres, axes), np.eye(3), (40, 40), 2.0, (20, 20))
  along = np.arange(-40, 40, 0.02)
  for column, row in [(20, 20), (22, 19), (17, 21), (24, 18), (19, 23)]:
    ray = np.stack(np.broadcast_arrays(along, -2.0 * (column - 20), -2.0 * (row - 20)), axis=1)
    balls = np.einsum('eij,nej->nei', np.linalg.inv(axes), ray[:, None] - centres)
    length = 0.02 * ((balls**2).sum(axis=2) <= 1).any(axis=1).sum()
    assert image[row, column] == pytest.approx(0.03 * length, abs=0.03 * 0.1)


def test_projection_of_a_head_agrees_with_its_voxels():
  anatomy = phantom_anatomy.subject(np.random.default_rng(4))
  volume, origin = phantom.voxelize(anatomy, 3.0)
  depth, height, _ = volume.shape
  sella = (height - 1 + origin[1] / 3, depth - 1 + origin[2] / 3)
  image, _ = phantom.project(anatomy, np.eye(3), (depth, height), 3.0, sella)
  summed = 3 * volume.sum(axis=2)[::-1, ::-1]
  assert image.sum() == pytest.approx(summed.sum(), rel=5e-3)
  assert np.abs(image - summed).mean() < 0.04 * image.mean()
  assert np.corrcoef(image.ravel(), summed.ravel())[0, 1] > 0.998
  assert volume.min() >= -0.04


@pytest.mark.parametrize('pose', POSES)
def test_a_small_sphere_at_a_landmark_appears_at_its_pixel(pose):
  anatomy = phantom_anatomy.subject(np.random.default_rng(1))
  size, spacing = (480, 384), 0.5
  for i, name in enumerate(LANDMARKS):
    bead = dataclasses.replace(
      _anatomy(anatomy.landmarks[i : i + 1], 2 * np.eye(3)), landmarks=anatomy.landmarks
    )
    image, points = phantom.project(bead, phantom.rotation(*pose), size, spacing)
    y, x = np.nonzero(image)
    centroid = np.array([x, y]) @ image[y, x] / image.sum()
    assert np.abs(centroid - points[i]).max() < 0.1, name


def test_landmarks_are_places_of_their_parts():
  for seed in range(3):
    anatomy = phantom_anatomy.subject(np.random.default_rng(seed))
    for name, (part, row) in {
      'pogonion': ('symphysis', 0),
      'menton': ('symphysis', 0),
      'supramentale': ('symphysis', 1),
      'ans': ('palate', -1),
      'pns': ('palate', 0),
      'subspinale': ('premaxilla', 0),
      'upper_lip': ('soft_tissue', 0),
    }.items():
      host = np.flatnonzero(anatomy.part == anatomy.part_names.index(part))[row]
      place = np.linalg.solve(
        anatomy.axes[host], anatomy.landmarks[LANDMARKS.index(name)] - anatomy.centres[host]
      )
      assert np.linalg.norm(place) == pytest.approx(1, abs=1e-3), name


def test_average_head_has_the_layout_of_isbi():
  anatomy = phantom_anatomy.build(phantom_shape.Shape())
  assert set(ISBI_MEAN) == set(LANDMARKS)
  for name, point in zip(LANDMARKS, anatomy.landmarks, strict=True):
    anterior, down = ISBI_MEAN[name]
    assert np.hypot(-point[1] - anterior, -point[2] - down) < 2.0, name
    assert point[0] == pytest.approx(0, abs=1e-9), name


def test_rotation_turns_as_documented():
  face, left = np.array([0, -1, 0]), np.array([1, 0, 0])
  assert (phantom.rotation(30) @ face)[0] == pytest.approx(0.5)
  assert (phantom.rotation(0, 30) @ face)[2] == pytest.approx(-0.5)
  assert (phantom.rotation(0, 0, 30) @ left)[2] == pytest.approx(-0.5)
  anatomy = phantom_anatomy.build(phantom_shape.Shape())
  with pytest.raises(ValueError, match='orthonormal'):
    phantom.project(anatomy, 2 * np.eye(3), (96, 77), 2.5)


def test_shape_moves_what_it_names():
  average = phantom_anatomy.build(phantom_shape.Shape()).landmarks
  longer = phantom_anatomy.build(phantom_shape.Shape(jaw_mm=4.0)).landmarks
  forward = dict(zip(LANDMARKS, average[:, 1] - longer[:, 1], strict=True))
  assert forward['menton'] == pytest.approx(4, abs=0.2) and forward[
    'soft_pogonion'
  ] == pytest.approx(4, abs=0.2)
  assert forward['ans'] == pytest.approx(0, abs=1e-6) and forward['upper_lip'] == pytest.approx(
    0, abs=1e-6
  )
  steep = phantom_anatomy.build(phantom_shape.Shape(mandibular_plane_deg=6.0)).landmarks
  assert steep[LANDMARKS.index('menton'), 2] != pytest.approx(
    average[LANDMARKS.index('menton'), 2], abs=0.2
  )
  assert steep[LANDMARKS.index('nasion'), 2] == pytest.approx(
    average[LANDMARKS.index('nasion'), 2], abs=1e-6
  )


def test_a_larger_head_is_larger_in_all_its_parts():
  average = phantom_anatomy.build(phantom_shape.Shape())
  larger = phantom_anatomy.build(phantom_shape.Shape(size_scale=float(np.log(1.1))))
  np.testing.assert_allclose(larger.centres, 1.1 * average.centres, atol=1e-6)
  np.testing.assert_allclose(larger.axes, 1.1 * average.axes, atol=1e-6)
  np.testing.assert_allclose(larger.landmarks, 1.1 * average.landmarks, atol=1e-6)
