"""Soft tissue, airway, spine and hyoid of the phantom's average head.

The table format is that of `phantom_parts`.
"""

import numpy as np

from ceph_tf.data.phantom_parts import BONE, MARROW, SOFT, Part, make_part, shrunk, tube
from ceph_tf.data.phantom_skull import VAULT

# (rows, jaw, neck); the first four rows carry landmarks
_FACE = (
  ([(67.5, 60, 0, 7.6, 6.5, 24, 14)], 0, 0),  # upper lip
  ([(64.6, 75.4, 0, 8.2, 7.0, 24, -10)], 1, 0),  # lower lip
  ([(56, 46.2, 0, 13, 12, 28, 0)], 0, 0),  # base of the upper lip
  ([(52.7, 100.3, 0, 9.2, 9.4, 26, 0)], 1, 0),  # chin
  (
    tube(
      [
        (52, -42, 0, 12, 12, 40, 0),
        (58.5, -20, 0, 10, 12, 40, 0),
        (57, -3, 0, 10, 9, 30, 0),
        (64, 11, 0, 9, 8, 18, 0),
        (72, 24, 0, 9, 8, 15, 0),
        (78, 34.5, 0, 9, 6.5, 14, 0),
      ],
      4.5,
    ),
    0,
    0,
  ),
  (tube([(78, 35, 0, 8, 6, 14, 0), (66, 38.5, 0, 9, 7.5, 19, 0)], 4), 0, 0),  # wings of the nose
  (
    tube([(57, 48, 0, 12, 11, 28, 0), (63, 54, 0, 9.0, 8, 27, 0), (66.5, 59, 0, 7.5, 7, 25, 0)], 3),
    0,
    0,
  ),
  (
    tube(
      [
        (64, 76, 0, 8, 7, 25, -10),
        (58.5, 84, 0, 8, 8, 28, 0),
        (53.5, 92, 0, 9, 8, 28, 0),
        (52.5, 99, 0, 9, 9, 27, 0),
      ],
      3,
    ),
    1,
    0,
  ),
  (tube([(48, 92, 0, 14, 14, 34, 0), (34, 84, 0, 24, 21, 42, 20)], 7), 1, 0),  # floor of the mouth
  ([(14, 24, 0, 52, 50, 62, 0)], 0, 0),
  ([(22, 62, 0, 44, 40, 56, 0)], 0.5, 0),  # cheeks
  ([(12, 76, 0, 24, 26, 54, 0)], 0.7, 0.2),
  ([(-26, 70, 0, 38, 40, 58, 0)], 0, 0.5),  # neck
  ([(-24, 110, 0, 36, 50, 56, 0), (-28, 150, 0, 40, 46, 70, 0)], 0, 1),
  (shrunk(VAULT, -6.0), 0, 0),  # scalp
)

_TRUNK = [(-62, 178, 0, 62, 44, 150, 0)]


def soft_tissue() -> list[Part]:
  """Everything filled with water: scalp, face, nose, lips, chin, neck."""
  number = [len(rows) for rows, _, _ in _FACE]
  return [
    make_part(
      'soft_tissue',
      SOFT,
      np.concatenate([rows for rows, _, _ in _FACE]),
      np.repeat([jaw for _, jaw, _ in _FACE], number),
      np.repeat([neck for _, _, neck in _FACE], number),
    ),
    make_part('shoulders', SOFT, _TRUNK, neck=1.0),
    make_part(
      'airway',
      -SOFT,
      tube(
        [
          (8, 33, 0, 7, 7, 11, 0),
          (1, 47, 0, 5.5, 7, 12, 0),
          (0, 72, 0, 5, 8, 12, 0),
          (0, 96, 0, 6, 8, 11, 0),
          (-3, 150, 0, 7.5, 9, 9, 0),
        ],
        5,
      ),
      neck=0.5,
    ),
    make_part(
      'soft_palate',
      SOFT,
      tube([(17, 41, 0, 3, 3, 10, 0), (7, 50, 0, 3.5, 4.5, 9, -30), (4, 62, 0, 2.5, 4, 6, -10)], 3),
    ),
  ]


def spine() -> list[Part]:
  """Atlas, dens, the bodies and spinous processes of C2 to C6, hyoid."""
  places = [(-29, 57, 10), (-33, 77, 12), (-36, 95, 12), (-38, 113, 10), (-39, 131, 8)]
  parts = [
    make_part(
      'atlas',
      BONE,
      tube(
        [
          (-19, 42, 0, 3, 4, 6, 0),
          (-30, 41, 16, 6, 5, 6, 0),
          (-46, 43, 8, 4, 3.5, 5, 0),
          (-56, 45, 0, 4, 5, 6, 0),
        ],
        5,
      ),
      neck=0.6,
    ),
    make_part(
      'dens', BONE * 0.9, tube([(-25, 37, 0, 3.4, 5, 4, 5), (-28, 50, 0, 5, 6, 7, 5)], 4), neck=0.7
    ),
  ]
  for number, (anterior, down, lean) in enumerate(places, start=2):
    body = _body(anterior, down, -lean)
    process = tube(
      [
        (anterior - 12, down - 2, 0, 4, 6, 14, 20),
        (anterior - 24, down + 4, 0, 4.5, 3.5, 5, 0),
        (anterior - 36, down + 9, 0, 4, 4, 4, 0),
      ],
      4,
    )
    parts += [
      make_part(f'c{number}', BONE, body, neck=1.0),
      make_part(f'c{number}_marrow', MARROW, shrunk(body, 1.6), neck=1.0),
      make_part(f'c{number}_process', BONE * 0.75, process, neck=1.0),
    ]
  hyoid = tube(
    [(30, 106, 0, 3, 4.5, 5, 20), (24, 105, 14, 3, 3, 3, 0), (8, 100, 22, 2, 2, 2, 0)], 4
  )
  mirrored = hyoid * np.array([1, 1, -1, 1, 1, 1, 1.0])
  parts.append(make_part('hyoid', BONE * 0.8, np.concatenate([hyoid, mirrored]), jaw=0.6, neck=0.4))
  return parts


def _body(anterior: float, down: float, lean_deg: float) -> np.ndarray:
  """A vertebral body: overlapping ellipsoids, for one alone looks like a ball."""
  turn = np.deg2rad(lean_deg)
  rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
  corners = (
    np.array([(-4.4, -3.4), (4.2, -3.6), (-4.4, 3.6), (4.6, 3.8), (0, -2), (0, 2), (0, 0)])
    @ rotation.T
  )
  rows = np.zeros((len(corners), 7))
  rows[:, :2] = corners + [anterior, down]
  rows[:, 3:6] = (3.4, 3.6, 9.0)
  rows[4:6, 3:5] = (7.4, 4.4)
  rows[6, 3:5] = (5.0, 6.6)
  rows[:, 6] = lean_deg
  return rows
