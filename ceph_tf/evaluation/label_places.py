"""Where names are written beside points: off other names, points, regions and lines, where there is room."""

from collections.abc import Sequence

import numpy as np

_TURNS = np.radians(np.arange(0, 360, 22.5))
_REACHES = (1.0, 1.7, 2.6, 3.8)  # of the nearest distance
# What a place costs: by the share of the name that is covered, by the marks under it, by its distance,
# and by how much it could be that of another point.
_NAME, _REGION, _LINE, _FAR, _OTHERS = 60.0, 8.0, 1.5, 1.0, 20.0
_CLEAR = 0.6  # letter heights by which a name is nearer to its own point than to others, to be clear


def place(points: np.ndarray, names: Sequence[str], letter: tuple[float, float], size: tuple[float, float],
          regions: np.ndarray, lines: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Centres of the names, [L, 2], and bool [L]: is a line from point to name needed?

  The centre is NaN where the point is NaN or outside.

  Args:
    points: [L, 2].
    names: L.
    letter: width and height of a letter, in the unit of the points.
    size: width and height of the image; names stay within.
    regions: [L, 2] half width and height of what is drawn around each point, 0 if nothing.
    lines: [K, 2] points along the lines drawn.
    taken: [T, 4] boxes (centre, half width and height) of what is already written.
  """
  half = np.array([[letter[0] * max(len(name), 1) / 2, letter[1] / 2] for name in names])
  size = np.asarray(size, float)
  shown = np.isfinite(points).all(-1) & (points >= 0).all(-1) & (points < size).all(-1)
  centres, boxes = np.full(points.shape, np.nan), list(np.reshape(taken, (-1, 4)))
  led = np.zeros(len(points), bool)
  marks = points[shown]
  around = np.concatenate([points, regions], -1)[shown]
  near = np.linalg.norm(points[:, None] - marks, axis=-1) < 8 * letter[1] if len(marks) else np.zeros((0, 0))
  for k in sorted(np.flatnonzero(shown), key=lambda k: -near[k].sum()):  # the crowded first
    candidates = _candidates(points[k], half[k], letter[1])
    cost = _cost(candidates, half[k], np.reshape(boxes, (-1, 4)), around, lines)
    cost += _FAR * np.linalg.norm(candidates - points[k], axis=-1) / letter[1]
    unclear = _unclear(candidates, half[k], points[k], marks, letter[1])
    cost += _OTHERS * unclear
    cost[((candidates < half[k]) | (candidates > size - half[k])).any(-1)] += 1e3
    best = np.argmin(cost)
    centres[k], led[k] = candidates[best], unclear[best] > 0 or best >= len(_TURNS) * 2
    boxes.append(np.concatenate([centres[k], half[k]]))
  return centres, led


def _candidates(point: np.ndarray, half: np.ndarray, height: float) -> np.ndarray:
  directions = np.stack([np.cos(_TURNS), np.sin(_TURNS)], -1)
  near = directions * (half + 0.6 * height)
  return np.concatenate([point + reach * near for reach in _REACHES])


def _unclear(centres: np.ndarray, half: np.ndarray, own: np.ndarray, marks: np.ndarray, height: float):
  """0 for a name [C] that is clearly nearest to its own point, 1 and more where another is as near."""
  def away(points):
    beyond = np.maximum(np.abs(centres[:, None] - points) - half, 0)
    return np.linalg.norm(beyond, axis=-1)

  others = marks[(marks != own).any(-1)]
  nearest = away(others).min(1, initial=np.inf)
  return np.clip(1 - (nearest - away(own[None])[:, 0]) / (_CLEAR * height), 0, 3)


def _cost(centres: np.ndarray, half: np.ndarray, boxes: np.ndarray, around: np.ndarray,
          lines: np.ndarray) -> np.ndarray:
  """[C] of names of half sizes `half` at centres [C, 2]."""
  area = 4 * half.prod()
  on_names = _overlap(centres, half, boxes).sum(-1) / area
  on_regions = np.minimum(_overlap(centres, half, around) / area, 1).sum(-1)
  on_lines = np.minimum(_inside(centres, half, lines).sum(-1), 6)
  return _NAME * on_names + _REGION * on_regions + _LINE * on_lines


def _overlap(centres: np.ndarray, half: np.ndarray, boxes: np.ndarray) -> np.ndarray:
  """Areas [C, T] that names share with boxes."""
  apart = np.abs(centres[:, None] - boxes[None, :, :2])
  shared = np.minimum(half + boxes[:, 2:] - apart, 2 * np.minimum(half, boxes[:, 2:]))
  return np.maximum(shared, 0).prod(-1)


def _inside(centres: np.ndarray, half: np.ndarray, points: np.ndarray) -> np.ndarray:
  return (np.abs(centres[:, None] - np.reshape(points, (-1, 2))) < half).all(-1)
