"""Films of the experiments with changed X-rays: which there are, and what is known of them."""

import cv2
import numpy as np
import pytest

from ceph_tf.config import StressConfig
from ceph_tf.data import perturb, stress_films
from ceph_tf.data.records import LANDMARKS

CONFIG = StressConfig(images=2, copies=3, height_px=80, elastic_max=0.02, angle_step_deg=15)
SELLA = LANDMARKS.index('sella')


def gray(record):
  return cv2.imdecode(np.frombuffer(record.image_bytes, np.uint8), cv2.IMREAD_GRAYSCALE)


def same(films, others):
  assert len(films) == len(others)
  for film, other in zip(films, others, strict=True):
    assert film[:4] == other[:4]
    np.testing.assert_array_equal(film.image, other.image)
    np.testing.assert_array_equal(film.truth_px, other.truth_px)


def test_magnitudes_rise_from_0_to_the_largest():
  np.testing.assert_allclose(stress_films.magnitudes(CONFIG), [0, 0.01, 0.02])


@pytest.mark.parametrize(('step', 'count'), [(15, 7), (1, 91), (0.3, 301), (7.5, 13)])
def test_angles_are_symmetric_about_0(step, count):
  angles = stress_films.angles(StressConfig(angle_step_deg=step))
  assert len(angles) == count and 0 in angles
  np.testing.assert_array_equal(angles, -angles[::-1])
  np.testing.assert_allclose(np.diff(angles), step)
  np.testing.assert_allclose(angles[[0, -1]], [-45, 45])


def test_chosen_are_evenly_spread():
  assert list(stress_films.chosen(range(9), 3, 9)) == [0, 4, 8]
  assert list(stress_films.chosen(range(5), 5, 5)) == list(range(5))
  assert list(stress_films.chosen(range(5), 50, 5)) == list(range(5))
  assert list(stress_films.chosen(range(5), 0, 5)) == []
  assert list(stress_films.chosen(range(0), 3, 0)) == []
  for total in range(1, 40):
    for count in range(1, total + 1):
      found = list(stress_films.chosen(iter(range(total)), count, total))
      assert len(found) == count
      assert count == 1 or np.ptp(np.diff(found)) <= 1


def test_elastic_films_begin_with_the_scaled_xray(phantom_records):
  records = phantom_records[-2:]
  films = list(stress_films.elastic_films(iter(records), CONFIG, 'mean', 0))
  assert [film.image_id for film in films] == [r.image_id for r in records for _ in range(3)]
  np.testing.assert_allclose([film.level for film in films], [0, 0.01, 0.02] * 2)
  assert {(film.series, film.condition) for film in films} == {('elastic', '')}
  for record, film in zip(records, films[::3], strict=True):
    factor = 80 / record.height_px
    assert factor < 1 and film.image.shape == (80, round(record.width_px * factor))
    expected = (record.points_px['truth'] + 0.5) * factor - 0.5
    np.testing.assert_allclose(film.truth_px, expected, atol=1e-3)
    assert film.truth_px.dtype == film.image.dtype == np.float32
    np.testing.assert_allclose(film.spacing_mm * film.image.shape[0], record.spacing_mm * record.height_px)
    small = cv2.resize(gray(record), film.image.shape[::-1], interpolation=cv2.INTER_AREA) / 255
    np.testing.assert_allclose(film.image, small, atol=0.01)


def test_every_elastic_film_has_a_distortion_of_its_own(phantom_records):
  films = list(stress_films.elastic_films([phantom_records[0], phantom_records[0]], CONFIG, 'mean', 0))
  same(films[:3], films[3:])
  first, weak, strong = films[:3]
  moved = [(film.truth_px - first.truth_px) for film in (weak, strong)]
  known = np.isfinite(moved).all((0, 2))
  weak_move, strong_move = (part[known].ravel() for part in moved)
  assert known.sum() >= 10 and 0.1 < np.linalg.norm(weak_move) < np.linalg.norm(strong_move)
  assert np.corrcoef(weak_move, strong_move)[0, 1] < 0.9  # no multiple of the same distortion
  other = list(stress_films.elastic_films([phantom_records[0]], CONFIG, 'mean', 1))
  assert np.abs(other[2].image - strong.image).max() > 0.01
  another = list(stress_films.elastic_films([phantom_records[1]], CONFIG, 'mean', 0))
  difference = (another[2].truth_px - another[0].truth_px)[known]
  assert np.nanmax(np.abs(difference - moved[1][known])) > 0.1


def test_an_xray_of_unknown_landmarks_can_be_distorted(phantom_records):
  points = phantom_records[0].points_px['truth'].copy()
  points[3] = np.nan
  record = type(phantom_records[0])(**{**vars(phantom_records[0]), 'points_px': {'truth': points}})
  for film in stress_films.elastic_films([record], CONFIG, 'mean', 0):
    assert np.isnan(film.truth_px[3]).all() and np.isfinite(film.truth_px[SELLA]).all()


@pytest.mark.parametrize('dataset', ['phantom', 'isbi2015'])
def test_condition_films_have_every_condition_and_phantoms_beside_real_xrays(phantom_records, dataset):
  records = phantom_records[-2:]
  films = list(stress_films.condition_films(iter(records), CONFIG, 'mean', 0, dataset))
  names = ['clean', *perturb.CONDITIONS, *(['phantom'] if dataset != 'phantom' else [])]
  assert [(film.image_id, film.condition) for film in films] == [
      (record.image_id, name) for record in records for name in names]
  assert {(film.series, film.level) for film in films} == {('condition', 0.0)}
  clean = [film for film in films if film.condition == 'clean']
  elastics = list(stress_films.elastic_films(records, CONFIG, 'mean', 0))[::3]
  for film, elastic in zip(clean, elastics, strict=True):
    np.testing.assert_allclose(film.image, elastic.image, atol=1e-4)
    np.testing.assert_allclose(film.truth_px, elastic.truth_px, atol=1e-3)
    assert film.spacing_mm == elastic.spacing_mm
  for film in films:
    assert film.image.dtype == np.float32 and film.image.ndim == 2
    assert film.truth_px.shape == (len(LANDMARKS), 2)
    known = film.condition in ('clean', 'phantom')
    assert np.isnan(film.truth_px).all() != known
  heads = [film for film in films if film.condition == 'phantom']
  if heads:
    assert [head.image.shape[0] for head in heads] == [80, 80]
    assert np.abs(heads[0].truth_px - heads[1].truth_px).max() > 0.5


def test_scanner_films_have_every_scanner_and_its_points(phantom_records):
  records = phantom_records[-2:]
  films = list(stress_films.scanner_films(iter(records), CONFIG, 'mean', 0))
  assert [(film.image_id, film.condition) for film in films] == [
      (record.image_id, name) for record in records for name in ('clean', *perturb.SCANNERS)]
  clean, framed = films[0], films[1]
  np.testing.assert_allclose(framed.truth_px - clean.truth_px, np.broadcast_to(
      [round(0.2 * size) for size in clean.image.shape[::-1]], clean.truth_px.shape), atol=1e-3)
  assert {film.spacing_mm for film in films[:len(perturb.SCANNERS) + 1]} == {clean.spacing_mm}


def test_condition_films_depend_on_the_seed(phantom_records):
  first, again, other = ({film.condition: film for film in stress_films.condition_films(
      phantom_records[:1], CONFIG, 'mean', seed, 'phantom')} for seed in (0, 0, 1))
  same(list(first.values()), list(again.values()))
  assert np.abs(first['noise'].image - other['noise'].image).mean() > 0.1
  np.testing.assert_array_equal(first['flipped'].image, other['flipped'].image)


def test_phantom_turns_about_sella():
  films = list(stress_films.rotation_films(CONFIG, len(LANDMARKS), 0))
  np.testing.assert_array_equal([film.level for film in films], [-45, -30, -15, 0, 15, 30, 45])
  assert {(film.image_id, film.series, film.condition) for film in films} == {('phantom', 'rotation', '')}
  truth = np.stack([film.truth_px for film in films])
  assert truth.shape == (7, len(LANDMARKS), 2) and np.isfinite(truth).all()
  height, width = films[0].image.shape
  assert (truth[:, SELLA] > 0).all() and (truth[:, SELLA] < [width, height]).all()
  np.testing.assert_allclose(truth[:, SELLA], np.broadcast_to(truth[3, SELLA], (7, 2)), atol=1e-3)
  # All else comes nearer to the axis when it turns away from profile, and stays at its height.
  nasion = LANDMARKS.index('nasion')
  reach = truth[:, nasion, 0] - truth[:, SELLA, 0]
  np.testing.assert_allclose(reach / reach[3], np.cos(np.deg2rad([-45, -30, -15, 0, 15, 30, 45])), atol=0.02)
  np.testing.assert_allclose(truth[:, :, 1], np.broadcast_to(truth[3, :, 1], truth.shape[:2]), atol=1e-3)
  for film in films:
    assert film.image.dtype == np.float32 and 0 <= film.image.min() < film.image.max() <= 1
    np.testing.assert_allclose(np.array(film.image.shape) * film.spacing_mm, [240, 193.5], atol=1)
  assert np.abs(films[0].image - films[3].image).mean() > 0.01


def test_rotation_films_of_a_ct_have_no_truth(sitk, tmp_path):
  voxel_mm, size = 4.0, 24
  z, y, x = (np.indices((size, size, size)) - (size - 1) / 2) * voxel_mm
  voxels = np.full((size, size, size), -1000, np.int16)
  voxels[x**2 + y**2 + z**2 < 40**2] = 0
  voxels[(x - 20)**2 + y**2 + z**2 < 12**2] = 2000  # a bright ball, to the left
  image = sitk.GetImageFromArray(voxels)
  image.SetSpacing((voxel_mm,) * 3)
  path = tmp_path / 'ball.nii'
  sitk.WriteImage(image, str(path))
  cfg = StressConfig(volume=str(path), angle_step_deg=15)
  films = list(stress_films.rotation_films(cfg, 5, 0))
  np.testing.assert_array_equal([film.level for film in films], [-45, -30, -15, 0, 15, 30, 45])
  assert {(film.image_id, film.series) for film in films} == {('ball.nii', 'rotation')}
  for film in films:
    assert film.truth_px.shape == (5, 2) and np.isnan(film.truth_px).all()
    assert film.image.dtype == np.float32 and abs(film.image.max() - 1) < 1e-3
  columns = [np.average(np.arange(film.image.shape[1]), weights=(film.image > 0.9).sum(0)) for film in films]
  assert (np.diff(columns) < 0).all() or (np.diff(columns) > 0).all()  # the ball wanders


def test_axes_of_a_ct_are_the_callers(sitk, tmp_path):
  voxels = np.full((20, 20, 20), -1000, np.int16)
  voxels[3:17, 3:17, 3:17] = 0
  voxels[12:16, 8:12, 8:12] = 2500
  image = sitk.GetImageFromArray(voxels)
  image.SetSpacing((5.0, 5.0, 5.0))
  path = tmp_path / 'block.nii'
  sitk.WriteImage(image, str(path))
  rows = []
  for axes in ('LPS', 'LPI'):
    cfg = StressConfig(volume=str(path), volume_axes=axes, angle_step_deg=15)
    upright = next(film for film in stress_films.rotation_films(cfg, 5, 0) if film.level == 0)
    bright, tissue = (np.flatnonzero((upright.image > limit).any(1)).mean() for limit in (0.9, 0.1))
    rows.append(bright - tissue)
  assert rows[0] < 0 < rows[1]
