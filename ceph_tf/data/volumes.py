"""CT volumes in one orientation, whatever way their file stores them.

Patient coordinates are those of DICOM (LPS): x to the left, y posterior, z superior, in
mm. A file may store the head upside down, mirrored or with its axes in another order, and
its header says so; `to_lps` undoes that. An oblique or sheared grid (a tilted gantry) is
resampled.
"""

import dataclasses
import itertools
import pathlib

import numpy as np
import scipy.ndimage

from ceph_tf.data import inv3, volume_files
from ceph_tf.data.records import DataError

FORMATS = 'allowed are NIfTI (.nii, .nii.gz), NRRD (.nrrd), a DICOM series folder, InVesalius (.inv3)'
_READERS = {
    '.nii': volume_files.read_nifti, '.nii.gz': volume_files.read_nifti,
    '.nrrd': volume_files.read_nrrd, '.inv3': inv3.read,
}
_TOWARDS = {'L': (0, 1), 'R': (0, -1), 'P': (1, 1), 'A': (1, -1), 'S': (2, 1), 'I': (2, -1)}
_OBLIQUE = 0.1  # voxels that the far end of an axis may be off before the grid is resampled


@dataclasses.dataclass(frozen=True, eq=False)
class Volume:
  """A head in voxels.

  Attributes:
    voxels: [z, y, x] float32; files hold Hounsfield units, `projection` wants
      attenuation per mm. x grows to the patient's left, y posterior, z superior.
    spacing_mm: distance of voxels along x, y, z.
    origin_mm: patient coordinates x, y, z of the centre of voxel [0, 0, 0].

  Raises:
    DataError: not three dimensions, voxels that are not finite, or a spacing that is no length.
  """

  voxels: np.ndarray
  spacing_mm: tuple[float, float, float]
  origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

  def __post_init__(self):
    if self.voxels.ndim != 3 or min(self.voxels.shape) < 2:
      raise DataError(f'an array of the shape {self.voxels.shape} is no volume; '
                      'allowed are three dimensions [z, y, x], two voxels or more along each')
    check_spacing(self.spacing_mm)
    strange = self.voxels.size - np.count_nonzero(np.isfinite(self.voxels))
    if strange:
      raise DataError(f'{strange} of {self.voxels.size} voxels are NaN or infinite; '
                      'allowed are finite numbers')

  def axis_mm(self, axis: int) -> np.ndarray:
    """Patient coordinates of the voxel centres along x (0), y (1) or z (2)."""
    return self.origin_mm[axis] + self.spacing_mm[axis] * np.arange(self.voxels.shape[2 - axis])


def check_spacing(spacing_mm) -> None:
  """Raises `DataError` unless all are positive, finite lengths."""
  if not np.all(np.isfinite(spacing_mm)) or not np.all(np.asarray(spacing_mm) > 0):
    raise DataError(f'spacing_mm={tuple(map(float, spacing_mm))} of the voxels; '
                    'allowed are lengths above 0')


def read(path: str | pathlib.Path, axes: str = '') -> Volume:
  """Reads a CT in Hounsfield units.

  Args:
    path: a NIfTI, NRRD or InVesalius file, or a folder with one DICOM series.
    axes: three letters for a file whose header is wrong or does not know: the sides to which
      x, y and z of the stored array grow (x fastest), of L or R, P or A, S or I, as in 'LPS'.
      It replaces the directions of the header; the origin becomes 0.

  Raises:
    DataError: names `path` and what is wrong with it.
  """
  path = pathlib.Path(path)
  try:
    grid = _reader(path)(path)
    steps, origin = grid.steps_mm, grid.origin_mm
    if axes:
      steps, origin = axes_directions(axes) * np.linalg.norm(steps, axis=0), np.zeros(3)
    elif grid.doubt:
      raise DataError(f'{grid.doubt}; state to which sides the stored axes grow, as in axes=LPS')
    return to_lps(grid.voxels, steps, origin)
  except DataError as error:
    raise DataError(f'{path}: {error}') from None


def check_source(path: str | pathlib.Path, axes: str = '') -> None:
  """What can be known before reading: raises `DataError` on a missing file, its suffix or `axes`."""
  try:
    _reader(pathlib.Path(path))
    if axes:
      axes_directions(axes)
  except DataError as error:
    raise DataError(f'{path}: {error}') from None


def _reader(path: pathlib.Path):
  if path.is_dir():
    return volume_files.read_dicom
  if not path.exists():
    raise DataError('there is no such file or folder')
  suffix = next((end for end in _READERS if path.name.lower().endswith(end)), None)
  if suffix is None:
    raise DataError(f'{path.suffix or "a file without a suffix"} is no volume; {FORMATS}')
  if path.stat().st_size == 0:
    raise DataError('the file is empty (0 bytes)')
  return _READERS[suffix]


def axes_directions(axes: str) -> np.ndarray:
  """[3, 3] directions as columns, in patient coordinates, of axes such as 'LPS'.

  Raises:
    DataError: unless there is one letter for each of the three directions.
  """
  directions = np.zeros((3, 3))
  for column, letter in enumerate(axes.upper()):
    if letter in _TOWARDS and column < 3:
      row, sign = _TOWARDS[letter]
      directions[row, column] = sign
  if len(axes) != 3 or abs(np.linalg.det(directions)) != 1:
    raise DataError(f'axes={axes!r}: allowed are three letters, one each of L or R, P or A, S or I')
  return directions


def to_lps(voxels: np.ndarray, steps_mm: np.ndarray, origin_mm: np.ndarray) -> Volume:
  """Turns a stored array so that it grows to the left, posterior and superior.

  Axes are permuted and flipped, which is exact. Where the grid is oblique by more than
  a tenth of a voxel at its far end, it is then resampled linearly to a grid
  along the patient's axes that covers it; what lies outside gets the smallest value (air).

  Args:
    voxels: [k, j, i] as stored.
    steps_mm: [3, 3], columns are the way in patient coordinates from a voxel to the next
      along i, j and k.
    origin_mm: [3] patient coordinates of the centre of voxel [0, 0, 0].

  Raises:
    DataError: a spacing of 0, or axes that span no volume.
  """
  spacing = np.linalg.norm(steps_mm, axis=0)
  check_spacing(spacing)
  directions = steps_mm / spacing
  if abs(np.linalg.det(directions)) < 0.1:
    raise DataError(f'directions of the axes {np.round(directions.T, 3).tolist()} span no volume')
  order = max(itertools.permutations(range(3)),  # order[a]: which stored axis runs along a
              key=lambda p: sum(abs(directions[a, p[a]]) for a in range(3)))
  voxels = voxels.transpose([2 - order[2], 2 - order[1], 2 - order[0]])
  steps, origin = steps_mm[:, order].astype(float), np.array(origin_mm, float)
  for axis in range(3):
    if steps[axis, axis] < 0:
      origin += (voxels.shape[2 - axis] - 1) * steps[:, axis]
      steps[:, axis] *= -1
      voxels = np.flip(voxels, 2 - axis)
  spacing = np.linalg.norm(steps, axis=0)
  far = np.abs(steps - np.diag(spacing)) * (np.array(voxels.shape[::-1]) - 1)
  if np.any(far > _OBLIQUE * spacing.min()):
    return _resampled(voxels, steps, origin)
  voxels = np.ascontiguousarray(voxels, np.float32)
  return Volume(voxels, tuple(map(float, spacing)), tuple(map(float, origin)))


def _resampled(voxels: np.ndarray, steps: np.ndarray, origin: np.ndarray) -> Volume:
  size = np.array(voxels.shape[::-1])
  corners = np.array(list(itertools.product(*zip((0, 0, 0), size - 1, strict=True)))) @ steps.T
  spacing, low = np.linalg.norm(steps, axis=0), corners.min(axis=0)
  count = np.ceil((corners.max(axis=0) - low) / spacing - 1e-6).astype(int) + 1
  inverse = np.linalg.inv(steps)
  resampled = scipy.ndimage.affine_transform(
      np.asarray(voxels, np.float32), (inverse * spacing)[::-1, ::-1], (inverse @ low)[::-1],
      output_shape=tuple(count[::-1]), order=1, cval=float(voxels.min()))
  return Volume(resampled, tuple(map(float, spacing)), tuple(map(float, origin + low)))
