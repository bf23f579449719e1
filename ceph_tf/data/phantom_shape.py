"""How the phantom's persons differ: a deformation of the average head.

It works in the chart coordinates of `phantom_parts`.
"""

import dataclasses

import numpy as np


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
  # left gonion against the mean of both: forward, down
  asymmetry_mm: tuple[float, float] = (0.0, 0.0)
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


def warp(points: np.ndarray, jaw: np.ndarray, neck: np.ndarray, shape: Shape) -> np.ndarray:
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
