import gzip
import locale
import pathlib
import struct
import sys

import numpy as np
import pytest

from ceph_tf.data import volumes
from ceph_tf.data.records import DataError

SPACING_MM, ORIGIN_MM = (1.0, 2.0, 3.0), (-5.0, 7.0, 11.0)


def test_nothing_is_guessed_where_the_header_knows_no_directions(sitk, image, head, tmp_path):
  path = tmp_path / 'head.nii'
  sitk.WriteImage(image, str(path))
  content = bytearray(path.read_bytes())
  struct.pack_into('<2h', content, 252, 0, 0)
  path.write_bytes(content)
  with pytest.raises(DataError, match='qform_code and sform_code are 0.*axes=LPS'):
    volumes.read(path)
  np.testing.assert_array_equal(volumes.read(path, axes='LPS').voxels, head.voxels)


def test_nifti_without_spacing(sitk, image, tmp_path):
  path = tmp_path / 'head.nii.gz'
  sitk.WriteImage(image, str(path))
  content = bytearray(gzip.decompress(path.read_bytes()))
  struct.pack_into('<3f', content, 80, 1, 0, 3)
  path.write_bytes(gzip.compress(content))
  with pytest.raises(DataError, match=r'head.nii.gz: no spacing: pixdim=\(1.0, 0.0, 3.0\)'):
    volumes.read(path)


def test_nifti_with_two_spacings(sitk, image, tmp_path):
  path = tmp_path / 'head.nii'
  sitk.WriteImage(image, str(path))
  content = bytearray(path.read_bytes())
  struct.pack_into('<3f', content, 80, 1, 2, 3.5)
  path.write_bytes(content)
  with pytest.raises(DataError, match='two spacings'):
    volumes.read(path)


def test_truncated_files(sitk, image, tmp_path):
  for suffix in ('.nii', '.nii.gz', '.nrrd'):
    path = tmp_path / f'head{suffix}'
    sitk.WriteImage(image, str(path))
    content = path.read_bytes()
    for end in (-20, len(content) // 2, 3):
      path.write_bytes(content[:end])
      with pytest.raises(DataError, match='head'):
        volumes.read(path)


def test_nrrd_without_spacing(tmp_path):
  header = b'NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nendian: little\nencoding: raw\n\n'
  (tmp_path / 'head.nrrd').write_bytes(header + bytes(120))
  with pytest.raises(DataError, match='no spacing'):
    volumes.read(tmp_path / 'head.nrrd')


def test_nrrd_without_directions(sitk, tmp_path):
  header = (b'NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nspacings: 1 2 3\nendian: little\n'
            b'encoding: raw\n\n')
  (tmp_path / 'head.nrrd').write_bytes(header + bytes(120))
  with pytest.raises(DataError, match='no directions'):
    volumes.read(tmp_path / 'head.nrrd')
  assert volumes.read(tmp_path / 'head.nrrd', axes='LPS').spacing_mm == (1, 2, 3)


@pytest.mark.parametrize('suffix', ['.nii', '.nrrd'])
def test_four_dimensions(sitk, tmp_path, suffix):
  path = tmp_path / f'film{suffix}'
  sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4, 5), np.int16), isVector=False), str(path))
  with pytest.raises(DataError, match='4 dimensions, 5 x 4 x 3 x 2'):
    volumes.read(path)


def test_without_simpleitk_the_extra_is_named(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, 'SimpleITK', None)
  (tmp_path / 'a').write_bytes(b'x')
  with pytest.raises(DataError, match=r"pip install .* '\.\[medical\]'"):
    volumes.read(tmp_path)


def test_folder_without_dicom(sitk, tmp_path):
  (tmp_path / 'notes.txt').write_text('no DICOM')
  with pytest.raises(DataError, match='none of 1 files is DICOM'):
    volumes.read(tmp_path)


def write_series(sitk, folder: pathlib.Path, voxels, *, uid='1.2.3', description='head', order=None,
                 directions=None, shear_mm=0.0, left_out=(), spacing=SPACING_MM):
  """Axial slices; `order` is that of the file names."""
  folder.mkdir(exist_ok=True)
  directions = np.eye(3) if directions is None else directions
  writer = sitk.ImageFileWriter()
  writer.KeepOriginalImageUIDOn()
  for number, k in enumerate(range(len(voxels)) if order is None else order):
    if k in left_out:
      continue
    image = sitk.GetImageFromArray(voxels[k].astype(np.int16))
    image.SetSpacing(spacing[:2])
    place = ORIGIN_MM + k * (spacing[2] * directions[:, 2] + shear_mm * directions[:, 1])
    for tag, value in {
        '0008|0060': 'CT', '0008|0018': f'{uid}.{k + 1}', '0008|103e': description,
        '0020|000d': '1.2', '0020|000e': uid, '0020|0013': str(k),
        '0020|0032': '\\'.join(f'{c:.6f}' for c in place),
        '0020|0037': '\\'.join(f'{c:.6f}' for c in directions[:, :2].T.ravel()),
    }.items():
      image.SetMetaData(tag, value)
    writer.SetFileName(str(folder / f'{uid}_{number:03d}.dcm'))
    before = locale.setlocale(locale.LC_ALL)
    writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)  # which its DICOM code changes


def test_dicom_series_is_ordered_by_position(sitk, head, tmp_path):
  write_series(sitk, tmp_path / 'ct', head.voxels, order=(2, 0, 3, 1))
  before = locale.setlocale(locale.LC_ALL)
  found = volumes.read(tmp_path / 'ct')
  assert locale.setlocale(locale.LC_ALL) == before  # ITK's own code would leave it at C
  np.testing.assert_array_equal(found.voxels, head.voxels)
  np.testing.assert_allclose([found.spacing_mm, found.origin_mm], [SPACING_MM, ORIGIN_MM], atol=1e-6)


def test_dicom_series_of_a_patient_lying_on_the_face(sitk, head, tmp_path):
  write_series(sitk, tmp_path / 'ct', head.voxels, directions=np.diag([-1.0, -1.0, 1.0]))
  np.testing.assert_array_equal(volumes.read(tmp_path / 'ct').voxels, head.voxels[:, ::-1, ::-1])


def test_dicom_series_with_tilted_gantry_is_unsheared(sitk, tmp_path):
  voxels = np.full((8, 30, 6), -1000.0)
  for k in range(8):
    voxels[k, 20 - k] = 1000  # a wall of one y: each slice starts 2 mm further posterior
  write_series(sitk, tmp_path / 'ct', voxels, shear_mm=2.0)
  found = volumes.read(tmp_path / 'ct')
  middle = found.voxels[1:-1, :, 2]
  np.testing.assert_allclose(found.axis_mm(1)[middle.argmax(axis=1)], ORIGIN_MM[1] + 40, atol=0.1)


def test_two_series_in_one_folder_are_named(sitk, head, tmp_path):
  write_series(sitk, tmp_path / 'ct', head.voxels)
  write_series(sitk, tmp_path / 'ct', head.voxels, uid='1.2.4', description='bone')
  with pytest.raises(DataError, match=r'2 DICOM series .*1.2.3 \(head, 4 files\), 1.2.4 \(bone, 4 files\)'):
    volumes.read(tmp_path / 'ct')


def test_missing_slice(sitk, head, tmp_path):
  write_series(sitk, tmp_path / 'ct', np.repeat(head.voxels, 2, axis=0), left_out=(3,))
  with pytest.raises(DataError, match='6.000 mm from 1.2.3_002.dcm to 1.2.3_004.dcm, usually 3.000 mm'):
    volumes.read(tmp_path / 'ct')


@pytest.mark.parametrize('number', [1, 3])
def test_truncated_slice(sitk, head, tmp_path, number):
  write_series(sitk, tmp_path / 'ct', head.voxels)
  path = tmp_path / 'ct' / f'1.2.3_{number:03d}.dcm'
  path.write_bytes(path.read_bytes()[:-20])
  with pytest.raises(DataError, match=f'cannot be read.*{path.name}'):
    volumes.read(tmp_path / 'ct')


def test_dicom_without_spacing(sitk, head, tmp_path):
  write_series(sitk, tmp_path / 'ct', head.voxels)
  for path in (tmp_path / 'ct').iterdir():
    content = path.read_bytes()
    assert content.count(b'\x28\x00\x30\x00') == 1
    path.write_bytes(content.replace(b'\x28\x00\x30\x00', b'\x28\x00\x31\x00'))  # another element
  with pytest.raises(DataError, match='PixelSpacing'):
    volumes.read(tmp_path / 'ct')


def test_all_slices_at_one_place(sitk, head, tmp_path):
  write_series(sitk, tmp_path / 'ct', head.voxels, spacing=(1.0, 2.0, 0.0))
  with pytest.raises(DataError, match='no spacing: all slices'):
    volumes.read(tmp_path / 'ct')


def test_single_slice(sitk, head, tmp_path):
  write_series(sitk, tmp_path / 'ct', head.voxels[:1])
  with pytest.raises(DataError, match='1 DICOM files .* are no volume'):
    volumes.read(tmp_path / 'ct')


def test_voxels_of_a_nifti_that_are_no_numbers_are_refused(sitk, head, tmp_path):
  image = sitk.GetImageFromArray(head.voxels.astype('float32'))
  image.SetSpacing(head.spacing_mm)
  path = tmp_path / 'head.nii'
  sitk.WriteImage(image, str(path))
  content = bytearray(path.read_bytes())
  content[-4:] = np.float32(np.nan).tobytes()  # ITK would read it as 0, which is water
  path.write_bytes(content)
  with pytest.raises(DataError, match='1 of 120 voxels are NaN'):
    volumes.read(path)
