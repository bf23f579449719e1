"""Skull of the phantom's average head, without the jaws.

The table format is that of `phantom_parts`.
"""

import numpy as np

from ceph_tf.data.phantom_parts import BONE, Part, make_pair, make_part, shrunk, tube

VAULT = [
  (12, -48, 0, 50, 41, 60, 4),
  (-6, -48, 0, 64, 46, 68, 0),
  (-22, -44, 0, 74, 51, 72, 0),
  (-47, -24, 0, 52, 60, 68, 0),
]


def cranium() -> list[Part]:
  """Vault, skull base with sella, orbits, temporal bones, air cells."""
  return [
    make_part('vault', BONE, VAULT),
    make_part('brain', -BONE, shrunk(VAULT, 5.0)),
    make_part('frontal', BONE * 0.8, [(53, -7, 0, 5, 8, 13, 0), (54, -18, 0, 5, 14, 20, 6)]),
    make_part('frontal_sinus', -0.040, [(54.6, -17, 0, 2.8, 9, 13, 6), (53, -8, 0, 2.5, 5, 8, 0)]),
    make_part(
      'nasal_bone',
      BONE * 1.3,
      tube([(58, -5, 0, 3, 1.3, 5, 0), (66, 13, 0, 3, 0.9, 5, 0)], 2, True),
    ),
    make_part('sphenoid', BONE * 0.45, [(8, 7, 0, 17, 10, 16, 0), (-9, 15, 0, 5.5, 17, 13, -38)]),
    make_part('sphenoid_sinus', -0.032, [(14, 10, 0, 9, 7, 13, 0)]),
    make_part('fossa', -BONE * 0.45, [(0, 0, 0, 5.2, 5.0, 6.5, 0)]),
    make_part('fossa_wall', 0.055, _fossa_wall()),
    make_part(
      'anterior_fossa',
      BONE,
      tube(
        [(9, -5.5, 0, 5, 1.1, 16, 0), (30, -8, 0, 6, 1.0, 22, 0), (52, -12, 0, 5, 1.1, 24, 0)],
        3,
        True,
      ),
    ),
    *make_pair(
      'orbital_roof',
      BONE,
      tube(
        [
          (14, -3, 24, 5, 0.8, 7, 0),
          (24, -10, 28, 5, 0.8, 10, 0),
          (38, -16, 31, 5, 0.9, 12, 0),
          (54, -15, 31, 4, 1.2, 11, 0),
        ],
        3,
        True,
      ),
    ),
    *make_pair('orbital_rim', BONE * 1.6, _orbital_rim()),
    *make_pair(
      'orbital_floor',
      BONE * 0.6,
      tube([(46, 17, 30, 4, 0.7, 9, 0), (24, 12, 28, 4, 0.6, 8, 0)], 3, True),
    ),
    *make_pair(
      'ethmoid_cells',
      -0.016,
      [
        (40, 1, 7, 5, 6, 4, 0),
        (31, 3, 7, 4, 5, 4, 0),
        (47, 8, 6, 5, 5, 3.5, 0),
        (37, 9, 6, 4, 4, 4, 0),
      ],
    ),
    *make_pair(
      'zygoma',
      BONE * 0.8,
      tube([(40, 22, 44, 5, 4, 5, 0), (24, 17, 56, 5, 3, 2.5, 0), (-6, 14, 62, 5, 2.2, 2.2, 0)], 4),
    ),
    *make_pair(
      'key_ridge',
      BONE,
      tube(
        [
          (40, 22, 38, 4, 1.5, 4, 0),
          (35, 36, 36, 4, 1.5, 4, 0),
          (29, 34, 37, 4, 1.3, 4, 0),
          (27, 18, 40, 4, 1.2, 3, 0),
        ],
        3,
        True,
      ),
    ),
    *make_pair(
      'petrous',
      BONE * 0.45,
      [
        (-23, 16, 42, 14, 9, 20, -25),
        (-12, 11, 50, 14, 4, 12, 8),
        (-34, 27, 50, 11, 14, 9, -15),
        (-30, 36, 50, 6, 10, 7, -20),
      ],
    ),
    *make_pair(
      'mastoid_cells',
      -0.016,
      [
        (-37, 22, 50, 4, 5, 7, -15),
        (-31, 33, 50, 4, 5, 6, 0),
        (-40, 31, 50, 3, 4, 6, 0),
        (-29, 25, 50, 3, 3, 6, 0),
      ],
    ),
    *make_pair('ear_wall', BONE, [(-20.6, 22, 50, 5.6, 5.4, 10, 0)]),
    *make_pair('ear_canal', -0.058, [(-20.6, 22, 50, 4.0, 4.0, 9, 0)]),
    *make_pair(
      'condylar_fossa',
      BONE * 0.8,
      tube(
        [(-16, 15, 50, 4, 1.2, 9, 0), (-9, 11, 50, 4, 1.2, 10, 0), (0, 15, 50, 4, 1.6, 9, 0)],
        3,
        True,
      ),
    ),
    make_part(
      'occiput',
      BONE * 0.9,
      tube(
        [
          (-14, 24, 0, 5, 2.5, 12, 0),
          (-20, 31, 0, 6, 2, 14, 0),
          (-34, 37, 0, 9, 1.8, 18, 0),
          (-58, 36, 0, 8, 2.2, 20, 0),
        ],
        4,
        True,
      ),
    ),
  ]


def _fossa_wall() -> np.ndarray:
  """The pituitary fossa in section: dorsum, floor and tuberculum around the origin."""
  angle = np.linspace(-40, 225, 20)  # from in front over the floor to behind
  direction = np.stack([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))], axis=1)
  ring = np.concatenate(
    [direction * (6.0, 5.8), np.tile([0, 1.5, 0.9, 6.5], (20, 1)), 90 - angle[:, None]], axis=1
  )
  ring[:, 6] = 90 - angle
  clinoids = [(-6.0, -5.6, 0, 1.9, 1.6, 6, 0), (8, -6.5, 0, 4.0, 1.4, 8, 10)]
  return np.concatenate([ring, clinoids])


def _orbital_rim() -> np.ndarray:
  """Half-open ring around the left orbit; its last row is its lowest point, orbitale."""
  angle = np.deg2rad(np.linspace(-75, 90, 26))[:, None]
  left = 33 + 19 * np.cos(angle)
  anterior = 46 - 9 * np.cos(angle) ** 1.5 + 4 * np.minimum(np.sin(angle), 0) ** 2
  down = 1.0 + 16.2 * np.sin(angle)
  radius = np.broadcast_to([1.7, 1.4, 1.7, 0.0], (len(angle), 4))
  return np.concatenate([anterior, down, left, radius], axis=1)
