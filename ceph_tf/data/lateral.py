"""Films of one head while it turns from profile: of a CT, or of the phantom with its landmarks.

The film is that of ISBI 2015, 193.5 x 240 mm, and the head lies on it as it does there, so that
a network that was trained on cephalograms can read it.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ceph_tf.data import film, phantom, projection
from ceph_tf.data.phantom_anatomy import Anatomy
from ceph_tf.data.projection import Plane
from ceph_tf.data.records import DataError
from ceph_tf.data.volumes import Volume

ANGLES_DEG = tuple(range(-45, 46))
FILM_MM = (240.0, 193.5)  # height and width
SPACING_MM = 0.25
_SELLA_MM = (0.435 * FILM_MM[0], 0.418 * FILM_MM[1])  # from the top and the left, average of ISBI 2015
# The nose of the phantom's average head ends 41 mm below and 87 mm before sella.
_NOSE_MM = (_SELLA_MM[0] + 41.0, _SELLA_MM[1] + 87.0)
_NOSE_AREA_MM2 = 60.0  # that much tissue in a coronal slice is a nose, and no noise


@dataclasses.dataclass(frozen=True, eq=False)
class LateralFilm:
  """One film of a series.

  Attributes:
    angle_deg: how far the head was turned; positive: its face to the patient's left.
    image_bytes: PNG, 8 bits of gray, bone bright, facing right.
    spacing_mm: distance of pixels.
    points_px: [L, 2] float32 (x, y) of the landmarks in the order of `records.LANDMARKS`;
      None where they are not known.
  """

  angle_deg: float
  image_bytes: bytes
  spacing_mm: float
  points_px: np.ndarray | None


def film_image(line_integrals: np.ndarray) -> np.ndarray:
  """Line integrals divided by their maximum, as 8 bits.

  Args:
    line_integrals: [h, w]; what is below 0 counts as 0.

  Returns:
    [h, w] uint8.

  Raises:
    DataError: if nothing absorbs.
  """
  highest = float(line_integrals.max())
  if not highest > 0:
    raise DataError(f'the largest line integral is {highest:g}; allowed is a projection with '
                    'something on it')
  return np.round(np.clip(line_integrals / highest, 0, 1) * 255).astype(np.uint8)


def film_plane(volume: Volume, spacing_mm: float = SPACING_MM) -> Plane:
  """A film on which the nose lies where it does on the average cephalogram.

  The nose is the most anterior tissue of the unturned head, and its lower end counts: with the
  chin on the chest, the whole bridge is as far anterior as the tip. What does not fit on
  the film is cut off. The head turns about the centre of its mass.

  Args:
    volume: attenuation per mm.
    spacing_mm: distance of pixels.

  Raises:
    DataError: if there is no tissue.
  """
  tissue = volume.voxels > projection.mu(projection.AIR_HU)
  needed = _NOSE_AREA_MM2 / (volume.spacing_mm[0] * volume.spacing_mm[2])
  slices = np.flatnonzero(np.count_nonzero(tissue, axis=(0, 2)) >= needed)
  if not len(slices):
    raise DataError(f'no coronal slice has {_NOSE_AREA_MM2:g} mm2 of tissue (above '
                    f'{projection.AIR_HU:g} HU); allowed is a CT of a head')
  nose_z = np.percentile(np.repeat(volume.axis_mm(2), tissue[:, slices[0]].sum(axis=1)), 5)
  nose_y = volume.axis_mm(1)[slices[0]]
  mass = volume.voxels.sum(axis=0, dtype=np.float64)
  axis = (float(np.average(volume.axis_mm(0), weights=mass.sum(axis=0))),
          float(np.average(volume.axis_mm(1), weights=mass.sum(axis=1))))
  return Plane(spacing_mm, _size(spacing_mm), float(-nose_y - _NOSE_MM[1]),
               float(nose_z + _NOSE_MM[0]), axis)


def phantom_plane(spacing_mm: float = SPACING_MM) -> Plane:
  """The film with sella, about which the phantom turns, where it lies on the average film."""
  return Plane(spacing_mm, _size(spacing_mm), -_SELLA_MM[1], _SELLA_MM[0])


def _size(spacing_mm: float) -> tuple[int, int]:
  return round(FILM_MM[0] / spacing_mm), round(FILM_MM[1] / spacing_mm)


def lateral_series(
    head: Volume | Anatomy,
    angles_deg: Iterable[float] = ANGLES_DEG,
    plane: Plane | None = None,
    develop: Callable[[np.ndarray], np.ndarray] = film_image,
) -> Iterator[LateralFilm]:
  """Films of a head at each angle.

  Args:
    head: a CT as attenuation per mm (`projection.attenuation`), or a phantom, whose line
      integrals and landmarks are exact.
    angles_deg: turns about the cranio-caudal axis.
    plane: the pixels; by default `film_plane` or `phantom_plane`.
    develop: line integrals [h, w] to a uint8 image.

  Raises:
    DataError: if there is nothing to see.
  """
  angles_deg = tuple(angles_deg)
  if isinstance(head, Anatomy):
    plane = plane or phantom_plane()
    seen = (phantom_view(head, angle, plane) for angle in angles_deg)
  else:
    plane = plane or film_plane(head)
    seen = ((image, None) for image in projection.projections(head, angles_deg, plane))
  for angle, (line_integrals, points_px) in zip(angles_deg, seen, strict=True):
    yield LateralFilm(angle, film.png(develop(line_integrals)), plane.spacing_mm, points_px)


def phantom_view(anatomy: Anatomy, angle_deg: float, plane: Plane) -> tuple[np.ndarray, np.ndarray]:
  """Exact line integrals [h, w] and landmarks [L, 2] of a phantom on a plane."""
  sella_px = plane.to_pixels(np.zeros(3), angle_deg)
  return phantom.project(anatomy, phantom.rotation(angle_deg), plane.size_px, plane.spacing_mm,
                         tuple(sella_px))


def phantom_volume(anatomy: Anatomy, spacing_mm: float) -> Volume:
  """The phantom in voxels of attenuation per mm."""
  voxels, origin = phantom.voxelize(anatomy, spacing_mm)
  return Volume(voxels, (spacing_mm,) * 3, tuple(map(float, origin)))
