"""InVesalius 3 projects: a tar, perhaps gzipped, of a raw int16 array and property lists.

`main.plist` names the array's file, shape [z, y, x], type and spacing (x, y, z), but no
directions. InVesalius 3 turns every DICOM slice upside down when it imports a series, so
an array grows to the left, anterior and superior. Volumes it
imported from NIfTI were turned in another way; such projects carry an `affine`.
"""

import pathlib
import plistlib
import tarfile
import zlib

import numpy as np

from ceph_tf.data.records import DataError
from ceph_tf.data.stored_grid import StoredGrid

_LAS = np.diag([1.0, -1.0, 1.0])


def read(path: pathlib.Path) -> StoredGrid:
  """The volume of a project; masks and surfaces are not looked at.

  Raises:
    DataError: no tar, truncated, without a volume, or its numbers contradict each other.
  """
  try:
    with tarfile.open(path) as project:
      members = {pathlib.PurePosixPath(member.name).name: member
                 for member in project if member.isfile()}
      main = plistlib.loads(_content(project, members, 'main.plist'))
      name = main['matrix']['filename']
      shape = tuple(map(int, main['matrix']['shape']))
      dtype = np.dtype(main['matrix']['dtype']).newbyteorder('<')
      spacing = np.array(main['spacing'], float)
      data = _content(project, members, pathlib.PurePosixPath(name).name)
  except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
    raise DataError(f'is no whole InVesalius project (a tar archive): {error}') from None
  except KeyError as error:
    raise DataError(f'main.plist has no {error}; an InVesalius 3 project has a matrix and a spacing'
                    ) from None
  except (plistlib.InvalidFileException, ValueError, TypeError, AttributeError) as error:
    if isinstance(error, DataError):
      raise
    raise DataError(f'main.plist cannot be understood: {error}') from None
  if len(shape) != 3 or spacing.shape != (3,):
    raise DataError(f'main.plist has the shape {shape} and the spacing {spacing.tolist()}; '
                    'allowed are three numbers each')
  needed = int(np.prod(shape)) * dtype.itemsize
  if len(data) != needed:
    raise DataError(f'{name} has {len(data)} bytes; {shape} of {dtype.name} takes {needed}')
  return StoredGrid(np.frombuffer(data, dtype).reshape(shape), _LAS * spacing, np.zeros(3),
                    _doubt(main.get('affine')))


def _content(project: tarfile.TarFile, members: dict, name: str) -> bytes:
  if name not in members:
    raise DataError(f'there is no {name} in the archive; it has {", ".join(sorted(members)[:5])}')
  return project.extractfile(members[name]).read()


def _doubt(affine) -> str:
  if not affine or np.array_equal(np.reshape(affine, (4, 4)), np.eye(4)):
    return ''
  return ('InVesalius did not import this volume from DICOM, and does not say how it turned it '
          '(better: read the original file)')
