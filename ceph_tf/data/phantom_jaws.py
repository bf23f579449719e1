"""Maxilla, mandible and teeth of the phantom's average head.

The table format is that of `phantom_parts`.
"""

import numpy as np

from ceph_tf.data.phantom_parts import (
  BONE,
  DENTINE,
  ENAMEL,
  MARROW,
  SOFT,
  Part,
  make_pair,
  make_part,
  shrunk,
  tube,
)


def maxilla() -> list[Part]:
  """Palate, alveolar bone, sinuses and nasal cavity."""
  palate = tube(
    [
      (18.5, 39.2, 0, 2.5, 1.1, 12, 0),
      (40, 40.8, 0, 3, 1.7, 15, 0),
      (53, 41, 0, 3, 2.2, 10, 0),
      (57, 40.7, 0, 2, 1.2, 2.5, 0),
    ],
    2,
  )
  alveolus = tube(
    [
      (51.3, 50, 0, 6.5, 8, 6, 10),
      (50, 50.5, 10, 6, 8, 6, 10),
      (42, 50, 20, 6, 8, 5, 0),
      (24, 47, 25, 7, 8, 6, 0),
    ],
    4,
  )
  walls = [(40, 23, 27, 9, 14, 12, -10), (26, 22, 27, 9, 12, 12, 10), (33, 32, 28, 14, 9, 12, 0)]
  pterygoid = tube(
    [(17, 14, 14, 5, 1.3, 5, 0), (13, 30, 14, 5, 1.2, 5, 0), (14, 44, 15, 5, 1.0, 4, 0)], 3, True
  )
  return [
    make_part('palate', BONE * 1.3, palate),
    *make_pair('alveolus', BONE * 0.5, alveolus),
    make_part('premaxilla', BONE * 0.5, [(52.3, 49.2, 0, 6, 9, 9, 0)]),
    *make_pair('maxillary_wall', BONE * 0.6, walls),
    *make_pair('maxillary_sinus', -BONE * 0.6 - 0.016, shrunk(walls, 1.3)),
    *make_pair('pterygoid', BONE, pterygoid),
    make_part('nasal_cavity', -SOFT * 0.9, [(38, 26, 0, 21, 12, 10, 0), (57, 33, 0, 9, 6, 9, -20)]),
    *make_pair('turbinates', SOFT, [(38, 32, 5, 14, 3.5, 3, 0), (34, 22, 5, 11, 3, 3, 0)]),
  ]


def mandible() -> list[Part]:
  """Symphysis, bodies, rami and condyles; the marrow lies inside."""
  body = tube(
    [
      (50, 86, 9, 5, 10, 4, -22),
      (45, 84, 16, 5.5, 11, 5, -15),
      (36, 79, 25, 6, 12, 4.5, -10),
      (20, 71, 36, 7, 12.5, 4.5, -5),
      (2, 61, 44, 8.5, 12.5, 4.5, 20),
    ],
    3,
  )
  angle = [(-2.2, 61.6, 45, 7.4, 11.4, 4.5, 0)]
  ramus = tube(
    [(0, 58, 45, 10, 12, 4, 12), (1, 44, 47, 12, 12, 3.5, 8), (-5, 34, 49, 8, 9, 3.5, 12)], 3
  )
  neck = [(-9.2, 28.3, 50, 4.6, 9, 4, 0), (-9, 19, 50, 5, 4.5, 9, 0), (9, 33, 46, 4.5, 13, 2.5, 20)]
  outer = np.concatenate([angle, neck, body, ramus])
  return [
    *make_pair('mandible', BONE * 1.35, outer, jaw=1.0),
    *make_pair('mandible_marrow', MARROW, shrunk(np.concatenate([body, ramus]), 2.2), jaw=1.0),
    make_part(
      'symphysis',
      BONE * 1.4,
      [
        (48.3, 94.5, 0, 5.5, 6.2, 11, 0),
        (50.0, 83.7, 0, 5.0, 13, 9, -22),
        (47.5, 90, 0, 5.5, 9, 11, -10),
      ],
      jaw=1.0,
    ),
    make_part(
      'symphysis_marrow',
      MARROW * 1.6,
      [(48.5, 93.5, 0, 3.3, 4.5, 9, 0), (50.0, 83.5, 0, 2.8, 10, 8, -22)],
      jaw=1.0,
    ),
  ]


# left, anterior of the tip, half widths anterior and left, half heights of crown and root
_TEETH = np.array(
  [
    (4.3, 63.0, 2.6, 3.9, 5.5, 8.0),
    (11.5, 61.6, 2.6, 3.3, 5.0, 7.5),
    (18.0, 57.5, 3.4, 3.5, 5.2, 9.0),
    (22.0, 51.3, 3.7, 3.9, 4.4, 7.5),
    (24.5, 44.6, 3.8, 4.0, 4.2, 7.5),
    (26.5, 35.8, 5.6, 4.7, 4.0, 7.0),
    (28.0, 25.3, 5.4, 4.7, 3.8, 6.5),
  ]
)


def teeth() -> list[Part]:
  """Seven upper and seven lower teeth a side; row 0 is the central incisor."""
  upper_lean = np.array([26, 24, 16, 6, 3, 0, -4.0])
  lower_lean = np.array([-20, -18, -12, -6, 0, 4, 8.0])
  occlusal = 66.6 - 0.17 * (63 - _TEETH[:, 1])
  upper = _crowns_and_roots(_TEETH[:, 1], occlusal, upper_lean, 1)
  lower = _crowns_and_roots(
    _TEETH[:, 1] - 1.8, occlusal - [0.8, 0.6, 0.2, 0, 0, 0, 0], lower_lean, -1
  )
  return [
    *make_pair('upper_crowns', ENAMEL, upper[0]),
    *make_pair('upper_roots', DENTINE, upper[1]),
    *make_pair('lower_crowns', ENAMEL, lower[0], jaw=1.0),
    *make_pair('lower_roots', DENTINE, lower[1], jaw=1.0),
  ]


def _crowns_and_roots(tip_anterior, tip_down, lean_deg, sign: int):
  """Rows of crowns and roots; `sign` is +1 for teeth that point down, -1 for up."""
  left, _, half_a, half_l, crown, root = _TEETH.T
  axis = sign * np.stack([np.sin(np.deg2rad(lean_deg)), np.cos(np.deg2rad(lean_deg))])
  tip = np.stack([tip_anterior, tip_down])
  at_crown, at_root = tip - axis * crown, tip - axis * (1.7 * crown + root)
  return (
    np.stack([*at_crown, left, half_a, crown, half_l, lean_deg], axis=1),
    np.stack([*at_root, left, 0.8 * half_a, root, 0.8 * half_l, lean_deg], axis=1),
  )
