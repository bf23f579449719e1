import io
import pathlib
import plistlib
import tarfile

import numpy as np
import pytest

from ceph_tf.data import volumes
from ceph_tf.data.records import DataError

SPACING_MM = (1.0, 2.0, 3.0)


@pytest.fixture
def head() -> volumes.Volume:
  """Every voxel has another value, and every axis another length."""
  voxels = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6) - 1000
  return volumes.Volume(voxels, SPACING_MM)


def write_inv3(path: pathlib.Path, voxels, mode='w:gz', **changes):
  """As InVesalius does: anterior rows last."""
  stored = voxels[:, ::-1].astype('<i2')
  main = {'format_version': 1, 'orientation': 1, 'spacing': list(SPACING_MM), 'matrix': {
      'filename': 'matrix.dat', 'dtype': 'int16', 'shape': list(stored.shape)}, **changes}
  with tarfile.open(path, mode) as project:
    for name, content in (('main.plist', plistlib.dumps(main)), ('matrix.dat', stored.tobytes())):
      member = tarfile.TarInfo(f'tmpabc/{name}')
      member.size = len(content)
      project.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize('mode', ['w', 'w:gz'])
def test_inv3(head, tmp_path, mode):
  write_inv3(tmp_path / 'head.inv3', head.voxels, mode, affine=np.eye(4).tolist())
  found = volumes.read(tmp_path / 'head.inv3')
  np.testing.assert_array_equal(found.voxels, head.voxels)
  assert found.spacing_mm == SPACING_MM


def test_inv3_that_was_not_dicom_needs_its_axes(head, tmp_path):
  path = tmp_path / 'head.inv3'
  write_inv3(path, head.voxels, affine=np.diag([1.0, 2, 3, 1]).tolist())
  with pytest.raises(DataError, match='did not import this volume from DICOM.*axes='):
    volumes.read(path)
  np.testing.assert_array_equal(volumes.read(path, axes='LAS').voxels, head.voxels)


@pytest.mark.parametrize('changes, message', [
    ({'spacing': [1.0, 0.0, 1.0]}, 'spacing_mm'),
    ({'spacing': [1.0, 1.0]}, 'three numbers each'),
    ({'matrix': {}}, "no 'filename'"),
    ({'matrix': {'filename': 'a.dat', 'dtype': 'int16', 'shape': [4, 5, 6]}}, 'no a.dat in the archive'),
    ({'matrix': {'filename': 'matrix.dat', 'dtype': 'int16', 'shape': [4, 5, 7]}}, '240 bytes.* takes 280'),
    ({'matrix': {'filename': 'matrix.dat', 'dtype': 'int16', 'shape': [2, 4, 5, 3]}}, 'three numbers each'),
    ({'matrix': {'filename': 'matrix.dat', 'dtype': 'word', 'shape': [4, 5, 6]}}, 'cannot be understood'),
])
def test_inv3_that_contradicts_itself(head, tmp_path, changes, message):
  write_inv3(tmp_path / 'head.inv3', head.voxels, **changes)
  with pytest.raises(DataError, match=message):
    volumes.read(tmp_path / 'head.inv3')


@pytest.mark.parametrize('mode', ['w', 'w:gz'])
def test_truncated_inv3(head, tmp_path, mode):
  path = tmp_path / 'head.inv3'
  voxels = np.random.default_rng(0).integers(-1000, 1000, (8, 32, 32))
  write_inv3(path, voxels, mode)
  content = path.read_bytes()
  for end in (len(content) // 2, 700, 3):
    path.write_bytes(content[:end])
    with pytest.raises(DataError, match='head.inv3'):
      volumes.read(path)


@pytest.mark.parametrize('content', [b'\x00\x01\x02\x03', b'no tar at all' * 100])
def test_inv3_that_is_no_tar(tmp_path, content):
  (tmp_path / 'head.inv3').write_bytes(content)
  with pytest.raises(DataError, match='is no whole InVesalius project'):
    volumes.read(tmp_path / 'head.inv3')
