"""X-rays of the phantom: analytic projections, and voxels to compare with.

A ray crosses an ellipsoid along a chord that has a closed form, so line integrals are
exact under any rotation. Films look along the patient's x axis and face
right: image x is anterior, image y inferior.
"""

import numpy as np

from ceph_tf.data.phantom_anatomy import Anatomy

# x, y, z -> right, down, depth of the image
_VIEW = np.array([[0, -1.0, 0], [0, 0, -1], [1, 0, 0]])


def rotation(lateral_deg: float = 0.0, nod_deg: float = 0.0, tilt_deg: float = 0.0) -> np.ndarray:
  """[3, 3] rotation of the head about sella: first tilt, then nod, then lateral.

  Args:
    lateral_deg: about the cranio-caudal axis; positive turns the face to the patient's left.
    nod_deg: about the left-right axis, in the plane of a lateral film; positive looks down.
    tilt_deg: about the antero-posterior axis; positive lowers the left ear.
  """
  z, x, y = np.deg2rad([lateral_deg, nod_deg, tilt_deg])
  lateral = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
  nod = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
  tilt = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
  return lateral @ nod @ tilt


def project(
  anatomy: Anatomy,
  head_rotation: np.ndarray,
  size_px: tuple[int, int],
  spacing_mm: float,
  sella_px: tuple[float, float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Parallel projection of a head that was rotated about sella.

  Args:
    anatomy: the head.
    head_rotation: [3, 3] orthonormal matrix in patient coordinates.
    size_px: height and width of the image.
    spacing_mm: distance of pixels.
    sella_px: (x, y) where sella appears; default as on the mean film of ISBI 2015.

  Returns:
    line_integrals: [h, w] float32, attenuation integrated along the ray of each pixel centre.
    landmarks_px: [L, 2] float32 (x, y), in the order of `records.LANDMARKS`; may lie outside.

  Raises:
    ValueError: if `head_rotation` is no rotation.
  """
  head_rotation = np.asarray(head_rotation, np.float64)
  if head_rotation.shape != (3, 3) or not np.allclose(
    head_rotation @ head_rotation.T, np.eye(3), atol=1e-6
  ):
    raise ValueError(
      f'head_rotation={head_rotation.tolist()}: allowed is an orthonormal 3x3 matrix'
    )
  height, width = size_px
  sella_px = (0.418 * width, 0.435 * height) if sella_px is None else sella_px
  to_px = _VIEW @ head_rotation / spacing_mm
  offset = np.array([*sella_px, 0.0])
  centres = (anatomy.centres @ to_px.T + offset).astype(np.float32)
  extent, quadrics = _quadrics(to_px @ anatomy.axes)
  boxes = _boxes(centres, extent, size_px)
  image = np.zeros((height, width), np.float32)
  seen = (boxes[:, 0] < boxes[:, 1]) & (boxes[:, 2] < boxes[:, 3])
  with np.errstate(invalid='ignore'):  # roots of rays that miss
    for part, attenuation in enumerate(anatomy.attenuation):
      members = np.flatnonzero(seen & (anatomy.part == part))
      if len(members):
        _add_union(
          image, centres[members], quadrics[members], boxes[members], attenuation * spacing_mm
        )
  landmarks = anatomy.landmarks @ to_px.T + offset
  return image, landmarks[:, :2].astype(np.float32)


def _quadrics(axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Ellipsoids as seen along the third axis: half extents [E, 2] and chords [E, 6].

  With Q = (axes axes^T)^-1 a ray at the offset (u, v) from the centre enters and leaves at the
  depth s u + t v -+ w sqrt(1 - a u^2 - 2 b u v - c v^2); a chord is (a, 2 b, c, s, t, w).
  """
  covariance = axes @ axes.transpose(0, 2, 1)
  q = np.linalg.inv(covariance)
  depth = q[:, 2, 2]
  slope = -q[:, :2, 2] / depth[:, None]
  plane = q[:, :2, :2] - q[:, :2, 2, None] * q[:, None, :2, 2] / depth[:, None, None]
  chords = np.column_stack([plane[:, 0, 0], 2 * plane[:, 0, 1], plane[:, 1, 1], slope, depth**-0.5])
  return np.sqrt(covariance[:, [0, 1], [0, 1]]), chords.astype(np.float32)


def _boxes(centres: np.ndarray, extent: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
  """[E, 4] pixels covered: first and last + 1 row, first and last + 1 column."""
  low = np.maximum(np.ceil(centres[:, :2] - extent), 0)
  high = np.minimum(np.floor(centres[:, :2] + extent) + 1, size_px[::-1])
  return np.stack([low[:, 1], high[:, 1], low[:, 0], high[:, 0]], axis=1).astype(int)


def _half_chord(u, v, chord) -> np.ndarray:
  """Half the chord at offsets u and v, which broadcast; NaN where the ray misses."""
  inside = (1 - chord[0] * u * u) - (chord[2] * v * v) - (chord[1] * v) * u
  np.sqrt(inside, out=inside)
  inside *= chord[5]
  return inside


def _interval(u, v, centre, chord):
  half = _half_chord(u, v, chord)
  middle = (centre[2] + chord[3] * u) + chord[4] * v
  return middle - half, middle + half


def _add_union(image, centres, chords, boxes, attenuation: float) -> None:
  """Adds attenuation times the length of each ray inside the union of ellipsoids."""
  top, left = boxes[:, 0].min(), boxes[:, 2].min()
  area = image[top : boxes[:, 1].max(), left : boxes[:, 3].max()]
  x = np.arange(left, left + area.shape[1], dtype=np.float32)[None, :]
  y = np.arange(top, top + area.shape[0], dtype=np.float32)[:, None]
  if len(centres) == 1:
    half = _half_chord(x - centres[0, 0], y - centres[0, 1], chords[0])
    area += np.float32(2 * attenuation) * np.nan_to_num(half, copy=False)
    return
  enter_min, leave_min = np.full((2, *area.shape), np.inf, np.float32)
  enter_max, leave_max = np.full((2, *area.shape), -np.inf, np.float32)
  for centre, chord, (y0, y1, x0, x1) in zip(
    centres, chords, boxes - [top, top, left, left], strict=True
  ):
    box = slice(y0, y1), slice(x0, x1)
    enter, leave = _interval(x[:, x0:x1] - centre[0], y[y0:y1] - centre[1], centre, chord)
    for extreme, combine, value in (
      (enter_min, np.fmin, enter),
      (enter_max, np.fmax, enter),
      (leave_min, np.fmin, leave),
      (leave_max, np.fmax, leave),
    ):
      combine(extreme[box], value, out=extreme[box])
  length = np.where(leave_max > enter_min, leave_max - enter_min, 0)
  # all chords of a ray have a point in common: their union is one interval. Else sort them.
  v, u = np.nonzero(enter_max > leave_min)
  if len(v):
    length[v, u] = _union_length(x[0, u], y[v, 0], centres, chords)
  area += np.float32(attenuation) * length


def _union_length(x, y, centres, chords) -> np.ndarray:
  """[N] length of the union of K chords along N rays.

  With entries and exits sorted apart, the ray is outside between the i-th exit and the
  entry i+1 whenever the exit comes first.
  """
  enter, leave = zip(
    *(
      _interval(x - centre[0], y - centre[1], centre, chord)
      for centre, chord in zip(centres, chords, strict=True)
    ),
    strict=True,
  )
  enter, leave = np.stack(enter, axis=1), np.stack(leave, axis=1)
  beyond = np.nanmax(leave) + 1  # rays that miss have an empty chord behind everything
  enter, leave = np.nan_to_num(enter, nan=beyond), np.nan_to_num(leave, nan=beyond)
  enter.sort(axis=1)
  leave.sort(axis=1)
  gaps = np.maximum(enter[:, 1:] - leave[:, :-1], 0).sum(axis=1)
  return leave[:, -1] - enter[:, 0] - gaps


def voxelize(
  anatomy: Anatomy, spacing_mm: float, margin_mm: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
  """The unrotated head in voxels; a voxel holds the attenuation at its centre.

  Returns:
    volume: [z, y, x] float32 per mm.
    origin: [3] patient coordinates (x, y, z) in mm of the centre of voxel [0, 0, 0].
  """
  extent = np.linalg.norm(anatomy.axes, axis=2)
  origin = (anatomy.centres - extent).min(axis=0) - margin_mm
  count = (
    np.ceil(((anatomy.centres + extent).max(axis=0) + margin_mm - origin) / spacing_mm).astype(int)
    + 1
  )
  volume = np.zeros(count[::-1], np.float32)
  inverse = np.linalg.inv(anatomy.axes)
  for part, attenuation in enumerate(anatomy.attenuation):
    members = np.flatnonzero(anatomy.part == part)
    low = np.floor(((anatomy.centres - extent)[members].min(axis=0) - origin) / spacing_mm).astype(
      int
    )
    high = (
      np.ceil(((anatomy.centres + extent)[members].max(axis=0) - origin) / spacing_mm).astype(int)
      + 1
    )
    x, y, z = (origin[i] + spacing_mm * np.arange(low[i], high[i]) for i in range(3))
    inside = np.zeros((len(z), len(y), len(x)), bool)
    for e in members:
      ball = sum(
        (
          inverse[e, i, 0] * (x - anatomy.centres[e, 0])[None, None, :]
          + inverse[e, i, 1] * (y - anatomy.centres[e, 1])[None, :, None]
          + inverse[e, i, 2] * (z - anatomy.centres[e, 2])[:, None, None]
        )
        ** 2
        for i in range(3)
      )
      inside |= ball <= 1
    volume[low[2] : high[2], low[1] : high[1], low[0] : high[0]] += (attenuation * inside).astype(
      np.float32
    )
  return volume, origin
