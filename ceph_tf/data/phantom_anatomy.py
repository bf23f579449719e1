"""Heads for the phantom: one person's ellipsoids and landmarks in three dimensions.

Patient coordinates are those of DICOM (LPS): x to the left, y posterior, z superior, in
mm, with the centre of sella at the origin. An ellipsoid is the image of the unit ball
under `u -> centre + axes @ u`. A landmark is a fixed place of that ball (or the midpoint
of the two sides, as cephalometry traces bilateral structures), so it moves exactly with
its part.
"""

import dataclasses
import functools

import numpy as np

from ceph_tf.data import phantom_jaws, phantom_parts, phantom_skull, phantom_soft
from ceph_tf.data.records import LANDMARKS

# anterior, down, left -> x, y, z
_TO_LPS = np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]])

# landmark -> part (`*`: left and right), row, place in the unit ball
_HOSTS = {
  'sella': ('fossa', 0, (0, 0, 0)),
  'nasion': ('frontal', 0, (1, 0, 0)),
  'orbitale': ('orbital_rim*', -1, (0, 1, 0)),
  'porion': ('ear_canal*', 0, (0, -1, 0)),
  'subspinale': ('premaxilla', 0, (1, 0, 0)),
  'supramentale': ('symphysis', 1, (0.954, -0.3, 0)),
  'pogonion': ('symphysis', 0, (1, 0, 0)),
  'menton': ('symphysis', 0, (0, 1, 0)),
  'gnathion': ('symphysis', 0, (0.7071, 0.7071, 0)),
  'gonion': ('mandible*', 0, (-0.7071, 0.7071, 0)),
  'lower_incisor': ('lower_crowns*', 0, (0, -1, 0)),
  'upper_incisor': ('upper_crowns*', 0, (0, 1, 0)),
  'upper_lip': ('soft_tissue', 0, (1, 0, 0)),
  'lower_lip': ('soft_tissue', 1, (1, 0, 0)),
  'subnasale': ('soft_tissue', 2, (1, 0, 0)),
  'soft_pogonion': ('soft_tissue', 3, (1, 0, 0)),
  'pns': ('palate', 0, (-1, 0, 0)),
  'ans': ('palate', -1, (1, 0, 0)),
  'articulare': ('mandible*', 1, (-1, 0, 0)),
}


@dataclasses.dataclass(frozen=True)
class Anatomy:
  """One head. E ellipsoids in P parts, L landmarks; patient coordinates in mm.

  Attributes:
    centres: [E, 3].
    axes: [E, 3, 3], columns are the half axes.
    part: [E] non-decreasing indices of parts; the ellipsoids of a part are a union.
    attenuation: [P] per mm, may be negative (air where soft tissue was counted).
    part_names: P names.
    landmarks: [L, 3] in the order of `records.LANDMARKS`.
  """

  centres: np.ndarray
  axes: np.ndarray
  part: np.ndarray
  attenuation: np.ndarray
  part_names: tuple[str, ...]
  landmarks: np.ndarray


@dataclasses.dataclass(frozen=True)
class Shape:
  """How one person differs from the average; all zeros is the average.

  Lengths are mm, angles degrees, `*_scale` are logarithms of factors.
  """

  size_scale: float = 0.0
  length_scale: float = 0.0
  height_scale: float = 0.0
  width_scale: float = 0.0
  face_height_scale: float = 0.0  # below sella
  lower_height_scale: float = 0.0  # below the palate
  maxilla_mm: float = 0.0  # forward
  jaw_mm: float = 0.0  # forward
  mandibular_plane_deg: float = 0.0  # steeper
  gonion_mm: float = 0.0  # backward and down
  chin_mm: tuple[float, float] = (0.0, 0.0)  # forward, down
  upper_incisors_mm: float = 0.0  # forward
  lower_incisors_mm: float = 0.0
  upper_lip_mm: float = 0.0
  lower_lip_mm: float = 0.0
  nose_mm: tuple[float, float] = (0.0, 0.0)
  brow_mm: float = 0.0
  neck_deg: float = 0.0  # bent forward
  deviation_mm: float = 0.0  # of the chin to the left
  asymmetry_mm: tuple[float, float] = (
    0.0,
    0.0,
  )  # left gonion against the mean of both: forward, down
  ripple_mm: tuple[tuple[float, float], ...] = ()  # at the points `_RIPPLE`


_RIPPLE = np.array([(a, d) for a in (-60, -20, 20, 60) for d in (-60, -15, 25, 60, 95)], np.float64)


def draw_shape(rng: np.random.Generator) -> Shape:
  """A person at random; spreads follow those of the ISBI 2015 landmarks."""

  def normal(spread: float) -> float:
    return float(np.clip(rng.normal(), -2.5, 2.5) * spread)

  return Shape(
    size_scale=normal(0.035),
    length_scale=normal(0.025),
    height_scale=normal(0.025),
    width_scale=normal(0.04),
    face_height_scale=normal(0.035),
    lower_height_scale=normal(0.05),
    maxilla_mm=normal(2.0),
    jaw_mm=normal(3.0),
    mandibular_plane_deg=normal(4.0),
    gonion_mm=normal(1.5),
    chin_mm=(normal(1.5), normal(1.5)),
    upper_incisors_mm=normal(1.3),
    lower_incisors_mm=normal(1.0),
    upper_lip_mm=normal(1.2),
    lower_lip_mm=normal(1.2),
    nose_mm=(normal(2.0), normal(1.5)),
    brow_mm=normal(1.5),
    neck_deg=normal(6.0),
    deviation_mm=normal(1.2),
    asymmetry_mm=(normal(0.8), normal(0.8)),
    ripple_mm=tuple((normal(0.9), normal(0.9)) for _ in _RIPPLE),
  )


def subject(rng: np.random.Generator) -> Anatomy:
  """The head of a random person."""
  return build(draw_shape(rng))


def build(shape: Shape) -> Anatomy:
  """The head of one shape: the average head's ellipsoids, deformed.

  Every ellipsoid moves by the linear part of the deformation at its centre, so it stays
  an ellipsoid.
  """
  parts = _average()
  rows = np.concatenate([part.rows for part in parts])
  jaw = np.concatenate([part.jaw for part in parts])
  neck = np.concatenate([part.neck for part in parts])
  index = np.repeat(np.arange(len(parts)), [len(part.rows) for part in parts])
  centres, axes = rows[:, :3], _chart_axes(rows)
  jacobian = np.stack(
    [
      (_warp(centres + step, jaw, neck, shape) - _warp(centres - step, jaw, neck, shape))
      for step in 0.5 * np.eye(3)
    ],
    axis=2,
  )
  centres = _warp(centres, jaw, neck, shape) @ _TO_LPS.T
  axes = _TO_LPS @ jacobian @ axes
  names = tuple(part.name for part in parts)
  landmarks = _landmarks(centres, axes, names, index)
  sella = landmarks[LANDMARKS.index('sella')]
  return Anatomy(
    centres - sella,
    axes,
    index,
    np.array([part.attenuation for part in parts]),
    names,
    landmarks - sella,
  )


@functools.cache
def _average() -> tuple[phantom_parts.Part, ...]:
  return (
    *phantom_soft.soft_tissue(),
    *phantom_skull.cranium(),
    *phantom_jaws.maxilla(),
    *phantom_jaws.mandible(),
    *phantom_jaws.teeth(),
    *phantom_soft.spine(),
  )


def _chart_axes(rows: np.ndarray) -> np.ndarray:
  """[E, 3, 3] half axes as columns, in chart coordinates."""
  pitch = np.deg2rad(rows[:, 6])
  rotation = np.zeros((len(rows), 3, 3))
  rotation[:, 0, 0] = rotation[:, 1, 1] = np.cos(pitch)
  rotation[:, 0, 1], rotation[:, 1, 0] = np.sin(pitch), -np.sin(pitch)
  rotation[:, 2, 2] = 1
  return rotation * rows[:, None, 3:6]


def _landmarks(centres, axes, names: tuple[str, ...], index: np.ndarray) -> np.ndarray:
  points = []
  for landmark in LANDMARKS:
    part, row, place = _HOSTS[landmark]
    sides = [part] if not part.endswith('*') else [part[:-1] + '.left', part[:-1] + '.right']
    hosts = [np.flatnonzero(index == names.index(side))[row] for side in sides]
    points.append(np.mean([centres[host] + axes[host] @ place for host in hosts], axis=0))
  return np.array(points)


def _bump(points, anterior: float, down: float, radius: float) -> np.ndarray:
  squared = (points[:, 0] - anterior) ** 2 + (points[:, 1] - down) ** 2
  return np.exp(-0.5 * squared / radius**2)


def _ramp(distance: np.ndarray, softness: float = 5.0) -> np.ndarray:
  """max(distance, 0) without the kink."""
  return softness * np.logaddexp(0, distance / softness)


def _turn(points, anterior: float, down: float, degrees) -> np.ndarray:
  """Displacement [N, 2] of a rotation about a place; positive lowers what lies in front."""
  offset = points[:, :2] - [anterior, down]
  cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
  return np.stack(
    [offset[:, 0] * (cos - 1) - offset[:, 1] * sin, offset[:, 0] * sin + offset[:, 1] * (cos - 1)],
    axis=1,
  )


def _warp(points: np.ndarray, jaw: np.ndarray, neck: np.ndarray, shape: Shape) -> np.ndarray:
  """[N, 3] chart points of the average head -> the same places of one person."""
  down = points[:, 1]
  moved = points.copy()
  moved[:, 1] += np.expm1(shape.face_height_scale) * _ramp(down)
  moved[:, 1] += np.expm1(shape.lower_height_scale) * _ramp(down - 41) * (1 - neck)
  moved[:, 0] += shape.maxilla_mm * _bump(points, 52, 48, 20) * (1 - jaw)
  body = jaw / (1 + np.exp(-(down - 48) / 7))
  moved[:, 0] += shape.jaw_mm * body
  moved[:, :2] += body[:, None] * _turn(points, 42, 62, shape.mandibular_plane_deg)
  moved[:, :2] += np.outer(jaw * _bump(points, 51, 97, 12), shape.chin_mm)
  moved[:, :2] += np.outer(
    jaw * _bump(points, -6, 68, 14), [-0.7 * shape.gonion_mm, 0.7 * shape.gonion_mm]
  )
  moved[:, 0] += shape.upper_incisors_mm * _bump(points, 63, 66, 9) * (1 - jaw)
  moved[:, 0] += shape.lower_incisors_mm * _bump(points, 61, 66, 9) * jaw
  moved[:, 0] += shape.upper_lip_mm * _bump(points, 70, 58, 6) * (1 - jaw)
  moved[:, 0] += shape.lower_lip_mm * _bump(points, 68, 76, 6) * jaw
  moved[:, :2] += np.outer(_bump(points, 82, 34, 12), shape.nose_mm)
  moved[:, 0] += shape.brow_mm * _bump(points, 66, -12, 16)
  moved[:, :2] += neck[:, None] * _turn(points, -25, 40, -shape.neck_deg)
  moved[:, 2] += shape.deviation_mm * body
  moved[:, :2] += np.outer(points[:, 2] / 45, shape.asymmetry_mm)
  for (anterior, height), ripple in zip(_RIPPLE, shape.ripple_mm, strict=False):
    moved[:, :2] += np.outer(_bump(points, anterior, height, 25), ripple)
  return moved * np.exp(
    shape.size_scale + np.array([shape.length_scale, shape.height_scale, shape.width_scale])
  )
