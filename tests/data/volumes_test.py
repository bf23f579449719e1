import itertools

import numpy as np
import pytest

from ceph_tf.data import volumes
from ceph_tf.data.records import DataError

SPACING_MM, ORIGIN_MM = (1.0, 2.0, 3.0), (-5.0, 7.0, 11.0)


def assert_same(found: volumes.Volume, expected: volumes.Volume):
  assert found.voxels.dtype == np.float32
  np.testing.assert_array_equal(found.voxels, expected.voxels)
  np.testing.assert_allclose(found.spacing_mm, expected.spacing_mm, rtol=1e-6)
  np.testing.assert_allclose(found.origin_mm, expected.origin_mm, atol=1e-5)


@pytest.mark.parametrize('suffix', ['.nii', '.nii.gz', '.nrrd'])
@pytest.mark.parametrize('order', list(itertools.permutations(range(3))))
def test_permuted_and_flipped_axes_come_out_in_one_orientation(sitk, image, head, tmp_path, suffix, order):
  for flips in itertools.product((False, True), repeat=3):
    stored = sitk.Flip(sitk.PermuteAxes(image, order), flips)
    path = tmp_path / f'head{suffix}'
    sitk.WriteImage(stored, str(path))
    assert_same(volumes.read(path), head)


def test_upside_down_array_is_turned_by_its_header(sitk, head, tmp_path):
  stored = sitk.GetImageFromArray(head.voxels[::-1])
  stored.SetSpacing(SPACING_MM)
  stored.SetOrigin((ORIGIN_MM[0], ORIGIN_MM[1], ORIGIN_MM[2] + 3 * SPACING_MM[2]))
  stored.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, -1))
  sitk.WriteImage(stored, str(tmp_path / 'head.nrrd'))
  assert_same(volumes.read(tmp_path / 'head.nrrd'), head)


def test_axes_replace_the_header(sitk, image, head, tmp_path):
  path = tmp_path / 'head.nii'
  sitk.WriteImage(image, str(path))
  found = volumes.read(path, axes='LAI')
  np.testing.assert_array_equal(found.voxels, head.voxels[::-1, ::-1])
  assert found.spacing_mm == SPACING_MM


@pytest.mark.parametrize('axes', ['LP', 'LPL', 'LPX', 'LPSS', 'LRS'])
def test_wrong_axes(axes):
  with pytest.raises(DataError, match=f"axes='{axes}'"):
    volumes.axes_directions(axes)


def test_oblique_grid_is_resampled_to_the_same_places():
  turn = np.deg2rad(15)
  rotation = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
  steps = rotation * np.array([1.0, 1.5, 2.0])
  k, j, i = np.indices((14, 16, 12))
  places = np.stack([i, j, k], axis=-1) @ steps.T + np.array([3.0, -4.0, 5.0])
  gradient = np.array([2.0, -3.0, 1.0])
  stored = (places @ gradient + 500).astype(np.float32)
  found = volumes.to_lps(stored, steps, np.array([3.0, -4.0, 5.0]))
  z, y, x = np.meshgrid(*(found.axis_mm(a) for a in (2, 1, 0)), indexing='ij')
  expected = np.stack([x, y, z], axis=-1) @ gradient + 500
  assert found.voxels[0, 0, 0] == found.voxels.min() == stored.min() > 0  # outside
  inside = found.voxels != found.voxels.min()
  assert inside.mean() > 0.5
  np.testing.assert_allclose(found.voxels[inside], expected[inside], rtol=1e-4)


def test_far_end_decides_whether_a_grid_is_oblique():
  voxels = np.random.default_rng(0).normal(size=(3, 3, 200)).astype(np.float32)
  for off, exact in ((2e-4, True), (2e-3, False)):
    steps = np.array([[1, 0, 0], [off, 1, 0], [0, 0, 1.0]])
    assert np.array_equal(volumes.to_lps(voxels, steps, np.zeros(3)).voxels, voxels) == exact


def test_what_is_no_volume(tmp_path):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'other').mkdir()
  (tmp_path / 'other' / 'notes.txt').write_text('no DICOM')
  (tmp_path / 'film.png').write_bytes(b'x')
  (tmp_path / 'nothing.nii').write_bytes(b'')
  for name, message in (('empty', 'no file in this folder'), ('missing.nii', 'no such file'),
                        ('film.png', 'film.png: .png is no volume; allowed are NIfTI'),
                        ('nothing.nii', '0 bytes')):
    with pytest.raises(DataError, match=message):
      volumes.read(tmp_path / name)


@pytest.mark.parametrize('voxels, spacing, message', [
    (np.zeros((3, 4)), (1, 1, 1), 'is no volume'),
    (np.zeros((1, 4, 4)), (1, 1, 1), 'is no volume'),
    (np.full((2, 2, 2), np.nan), (1, 1, 1), '8 of 8 voxels are NaN'),
    (np.zeros((2, 2, 2)), (1, -1, 1), 'spacing_mm'),
])
def test_a_volume_checks_itself(voxels, spacing, message):
  with pytest.raises(DataError, match=message):
    volumes.Volume(voxels, spacing)
