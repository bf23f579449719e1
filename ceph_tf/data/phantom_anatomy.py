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
from ceph_tf.data.phantom_shape import Shape, draw_shape, warp
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
      (warp(centres + step, jaw, neck, shape) - warp(centres - step, jaw, neck, shape))
      for step in 0.5 * np.eye(3)
    ],
    axis=2,
  )
  centres = warp(centres, jaw, neck, shape) @ _TO_LPS.T
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
