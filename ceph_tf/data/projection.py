"""A CT head, turned about its cranio-caudal axis and projected to the sagittal plane.

A lateral film of a head that is not quite in profile: line integrals of attenuation along the
left-right direction of the room while the head turns (Drevicky & Kodym, BIOIMAGING 2020,
section on lateral rotation).

All z share the geometry, so an angle is one sparse matrix [detector bins, columns (y, x)]
times the volume. A voxel is a box of constant attenuation: seen along the ray it is a
trapezoid, the convolution of the boxes that its x and its y side cast, and an entry of the matrix is the
part of the trapezoid within a bin (De Man & Basu, Physics in Medicine and Biology 49, 2004,
treat the boundaries alike). Every voxel is counted once at every angle.
"""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import scipy.sparse

from ceph_tf.data.phantom_parts import SOFT
from ceph_tf.data.records import DataError
from ceph_tf.data.volumes import Volume

AIR_HU = -500.0  # halfway between air and water


@dataclasses.dataclass(frozen=True)
class Plane:
  """The pixels of a projection: films face right, image x is anterior, image y inferior.

  Attributes:
    spacing_mm: distance of pixels.
    size_px: height and width.
    left_mm: anterior coordinate (minus the patient's y) of the first column's centre.
    top_mm: superior coordinate (the patient's z) of the first row's centre.
    axis_mm: patient's x and y of the axis about which heads turn.
  """

  spacing_mm: float
  size_px: tuple[int, int]
  left_mm: float
  top_mm: float
  axis_mm: tuple[float, float] = (0.0, 0.0)

  def to_pixels(self, points_mm: np.ndarray, angle_deg: float) -> np.ndarray:
    """Where points of the unturned head appear.

    Args:
      points_mm: [..., 3] patient coordinates (x, y, z).
      angle_deg: as in `project`.

    Returns:
      [..., 2] float32 (x, y) in pixels; may lie outside.
    """
    points = np.asarray(points_mm, float)
    anterior = -self.turned_y(points[..., 0], points[..., 1], angle_deg)
    place = np.stack([anterior - self.left_mm, self.top_mm - points[..., 2]], axis=-1)
    return (place / self.spacing_mm).astype(np.float32)

  def turned_y(self, x_mm, y_mm, angle_deg: float):
    """The patient's y of points after the head was turned; the face to its left is positive."""
    turn = np.deg2rad(angle_deg)
    x, y = x_mm - self.axis_mm[0], y_mm - self.axis_mm[1]
    return np.sin(turn) * x + np.cos(turn) * y + self.axis_mm[1]


def mu(hounsfield: float) -> float:
  """Attenuation per mm of a Hounsfield unit: mu_water (1 + HU / 1000)."""
  return SOFT * (1 + hounsfield / 1000)


def attenuation(volume: Volume) -> Volume:
  """Hounsfield units to attenuation per mm, as in `mu`; air and less is 0.

  mu_water is 0.019 per mm (at about 70 keV), as in the phantom.

  Raises:
    DataError: if nothing in the volume is air: its unit is another.
  """
  lowest = float(volume.voxels.min())
  if lowest > AIR_HU:
    raise DataError(f'the smallest voxel is {lowest:g}, so these are no Hounsfield units; '
                    f'allowed are volumes with air around the head (about -1000)')
  voxels = volume.voxels * np.float32(SOFT / 1000)
  voxels += np.float32(SOFT)
  return dataclasses.replace(volume, voxels=np.maximum(voxels, 0, out=voxels))


def whole_plane(volume: Volume, axis_mm: tuple[float, float] | None = None) -> Plane:
  """Pixels as fine as the voxels, and enough of them for every angle.

  At 0 degrees the pixels coincide with the voxels of a volume with one spacing.

  Args:
    volume: what is to be seen.
    axis_mm: patient's x and y of the axis; by default the middle of the volume.
  """
  x, y, z = (volume.axis_mm(axis)[[0, -1]] for axis in range(3))
  axis = axis_mm or (float(x.mean()), float(y.mean()))
  spacing = min(volume.spacing_mm)
  radius = np.hypot(np.abs(x - axis[0]).max(), np.abs(y - axis[1]).max()) + max(volume.spacing_mm)
  before = int(np.ceil((radius + axis[1] - y[1]) / spacing))
  behind = int(np.ceil((radius - axis[1] + y[0]) / spacing))
  width = before + behind + 1 + round((y[1] - y[0]) / spacing)
  height = 1 + round((z[1] - z[0]) / spacing)
  return Plane(spacing, (height, width), float(-y[1] - before * spacing), float(z[1]), axis)


def projections(volume: Volume, angles_deg: Iterable[float], plane: Plane) -> Iterator[np.ndarray]:
  """Line integrals of a turning head.

  Args:
    volume: attenuation per mm.
    angles_deg: positive turns the face to the patient's left, as in `phantom.rotation`.
    plane: the pixels. Bins are as wide as voxels, and interpolated to the pixels by Keys'
      cubic convolution, which is stretched to average where pixels are larger.

  Yields:
    [h, w] float32 for each angle: attenuation times length.
  """
  y, x = np.meshgrid(volume.axis_mm(1), volume.axis_mm(0), indexing='ij')
  columns = volume.voxels.reshape(len(volume.voxels), -1).T
  filled = np.flatnonzero(volume.voxels.any(axis=0))
  x, y, columns = x.ravel()[filled], y.ravel()[filled], np.ascontiguousarray(columns[filled])
  bin_mm = min(volume.spacing_mm[:2])
  first_mm, bins = _bins(plane, volume, bin_mm)
  to_columns = _interpolation(first_mm, bin_mm, bins, plane.left_mm, plane.spacing_mm, plane.size_px[1])
  to_rows = _interpolation(-volume.axis_mm(2)[0], -volume.spacing_mm[2], len(volume.voxels),
                           -plane.top_mm, plane.spacing_mm, plane.size_px[0])
  area = np.float32(volume.spacing_mm[0] * volume.spacing_mm[1] / bin_mm)
  for angle_deg in angles_deg:
    place = (-plane.turned_y(x, y, angle_deg) - first_mm) / bin_mm
    turn = np.deg2rad(angle_deg)
    sides = np.abs([np.sin(turn) * volume.spacing_mm[0], np.cos(turn) * volume.spacing_mm[1]]) / bin_mm
    detected = area * (_footprints(place, sides, bins) @ columns)
    yield to_rows @ np.ascontiguousarray((to_columns @ detected).T)


def _bins(plane: Plane, volume: Volume, bin_mm: float) -> tuple[float, int]:
  """First centre and number of the bins that cover a plane.

  At 0 degrees they coincide with the voxels, which then need no interpolation.
  """
  margin = 2 * max(bin_mm, plane.spacing_mm)
  start = -volume.axis_mm(1)[-1]
  start -= np.ceil((start - plane.left_mm + margin) / bin_mm) * bin_mm
  right_mm = plane.left_mm + (plane.size_px[1] - 1) * plane.spacing_mm
  return start, int(np.ceil((right_mm + margin - start) / bin_mm)) + 1


def _footprints(place: np.ndarray, sides: np.ndarray, bins: int) -> scipy.sparse.csr_matrix:
  """[bins, N] the part of each of N voxels that each bin sees.

  Args:
    place: [N] where the voxels' centres are seen, in bins.
    sides: what the two sides of a voxel cast, in bins.
    bins: those seen outside 0..bins-1 are dropped.
  """
  wide, narrow = max(sides), min(sides)
  number = int(np.ceil(wide + narrow)) + 1
  first = np.floor(place - (wide + narrow) / 2 + 0.5).astype(np.int64)
  edges = first[:, None] + np.arange(number + 1) - 0.5 - place[:, None]
  parts = np.diff(_trapezoid_below(edges, wide, narrow), axis=1).astype(np.float32)
  index = first[:, None] + np.arange(number)
  kept = (index >= 0) & (index < bins) & (parts > 0)
  voxel = np.broadcast_to(np.arange(len(place))[:, None], index.shape)
  return scipy.sparse.csr_matrix((parts[kept], (index[kept], voxel[kept])), (bins, len(place)))


def _trapezoid_below(t: np.ndarray, wide: float, narrow: float) -> np.ndarray:
  """Integral up to t of the convolution of two centred boxes of area 1."""
  if narrow < 1e-4 * wide:  # the difference of squares below would lose its digits
    return np.clip(t / wide + 0.5, 0, 1)
  outer, inner = (wide + narrow) / 2, (wide - narrow) / 2
  squares = (np.square(np.maximum(t + shift, 0)) for shift in (outer, inner, -inner, -outer))
  rise, top, fall, end = squares
  return np.clip((rise - top - fall + end) / (2 * wide * narrow), 0, 1)


def _interpolation(first: float, step: float, count: int, out_first: float, out_step: float,
                   out_count: int) -> scipy.sparse.csr_matrix:
  """[out_count, count] from samples at first + step i to samples at out_first + out_step i.

  Cubic convolution (Keys, IEEE Trans. Acoustics 29, 1981). What lies outside is 0.
  """
  place = (out_first + out_step * np.arange(out_count) - first) / step
  stretch = max(1.0, abs(out_step / step))
  reach = int(np.ceil(2 * stretch))
  index = np.floor(place).astype(int)[:, None] + np.arange(-reach + 1, reach + 1)
  t = np.abs(index - place[:, None]) / stretch
  weights = np.where(t <= 1, (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2)
  weights = np.where(t < 2, weights, 0)
  weights /= weights.sum(axis=1, keepdims=True)
  kept = (index >= 0) & (index < count) & (np.abs(weights) > 1e-7)
  row = np.broadcast_to(np.arange(out_count)[:, None], index.shape)
  return scipy.sparse.csr_matrix((weights[kept].astype(np.float32), (row[kept], index[kept])),
                                 (out_count, count))
