"""What the phantom's average head is made of: parts, each a union of ellipsoids.

Chart coordinates: (anterior, down, left) in mm from the centre of sella, so that a
lateral film that faces right shows the first two as they are. A row of a part is

    anterior, down, left, half_anterior, half_down, half_left, pitch_deg

`pitch_deg` turns the ellipsoid in the sagittal plane; positive leans its lower end
forward. The ellipsoids of one part form a union (bone does not get denser where two of
them overlap); parts add up. Attenuations are per mm and are what the part adds to what
is already there: bone adds to the soft tissue it lies in, air takes it away.

The places are the mean landmarks of the 300 films of ISBI 2015 that are public.
"""

import dataclasses

import numpy as np

SOFT = 0.019  # water at about 70 keV
BONE = 0.034  # what cortical bone adds to that
MARROW = -0.020  # what cancellous bone lacks of cortical bone
ENAMEL = 0.085
DENTINE = 0.022


@dataclasses.dataclass(frozen=True)
class Part:
  """A union of ellipsoids of one attenuation.

  Attributes:
    name: the mirror image of a part `x.left` is `x.right`.
    attenuation: per mm, added to whatever else is there.
    rows: [K, 7] as described above.
    jaw: [K] 0..1, how much each ellipsoid takes part in movements of the mandible.
    neck: [K] 0..1, likewise in the bending of the neck.
  """

  name: str
  attenuation: float
  rows: np.ndarray
  jaw: np.ndarray
  neck: np.ndarray


def make_part(name: str, attenuation: float, rows, jaw=0.0, neck=0.0) -> Part:
  rows = np.atleast_2d(np.asarray(rows, np.float64))
  full = np.zeros(len(rows))
  return Part(name, attenuation, rows, full + jaw, full + neck)


def make_pair(name: str, attenuation: float, rows, jaw=0.0) -> list[Part]:
  """A part on the left and its mirror image; two parts, for they never overlap."""
  left = make_part(name + '.left', attenuation, rows, jaw)
  mirrored = left.rows * np.array([1, 1, -1, 1, 1, 1, 1.0])
  return [left, dataclasses.replace(left, name=name + '.right', rows=mirrored)]


def tube(path, step_mm: float, along: bool = False) -> np.ndarray:
  """Rows along a polyline of (anterior, down, left, half_a, half_d, half_l, pitch) knots.

  With `along` each ellipsoid is turned so that its half_a follows the path.
  """
  path = np.asarray(path, np.float64)
  run = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path[:, :3], axis=0), axis=1))])
  at = np.linspace(0, run[-1], int(np.ceil(run[-1] / step_mm)) + 1)
  rows = np.stack([np.interp(at, run, column) for column in path.T], axis=1)
  if along:
    rows[:, 6] = np.rad2deg(np.arctan2(-np.gradient(rows[:, 1]), np.gradient(rows[:, 0])))
  return rows


def shrunk(rows, by_mm: float) -> np.ndarray:
  rows = np.array(rows, np.float64)
  rows[:, 3:6] -= by_mm
  return rows
