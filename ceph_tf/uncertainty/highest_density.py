"""Highest-density regions of heatmaps, with the score that conformal calibration needs.

The score of a pixel is the mass of all pixels of higher density. Pixels with a
score of at most q form the highest-density region of mass q (Hyndman, The American
Statistician 50 (1996), 120-126), here with q calibrated, not believed: it may be of
several parts. Densities are those of the mean heatmap of one or more images; whoever
has many images streams them, nothing here needs two at once.
"""

import numpy as np

# Where the size of regions is tabulated, dense towards 1: heatmaps are sharp.
LEVELS = np.append(1 - np.geomspace(1, 1e-4, 200), 1.0)


def mass_above(density: np.ndarray) -> np.ndarray:
  """The score of every pixel: the mass of the pixels denser than it.

  Args:
    density: [..., h, w], not negative; normalised to a sum of 1 here.

  Returns:
    [..., h, w] float64, 0 at the peak; pixels of equal density have equal scores.

  Raises:
    ValueError: a negative, infinite or NaN density, or a heatmap without any mass.
  """
  density = np.asarray(density, np.float64)
  flat = density.reshape(*density.shape[:-2], -1)
  if not (np.isfinite(flat) & (flat >= 0)).all():
    raise ValueError('density: allowed are finite numbers >= 0, as of a softmax or a clipped '
                     'heatmap')
  total = flat.sum(-1, keepdims=True)
  if (total == 0).any():
    raise ValueError(f'density: {(total == 0).sum()} of {total.size} heatmaps have no mass at all')
  order = np.argsort(-flat, axis=-1, kind='stable')
  falling = np.take_along_axis(flat, order, -1) / total
  before = np.cumsum(falling, -1) - falling
  starts = np.ones(falling.shape, bool)
  starts[..., 1:] = falling[..., 1:] < falling[..., :-1]
  scores = np.maximum.accumulate(np.where(starts, before, 0.0), axis=-1)
  out = np.empty_like(flat)
  np.put_along_axis(out, order, scores, -1)
  return out.reshape(density.shape)


def at(values: np.ndarray, points_px: np.ndarray) -> np.ndarray:
  """Values [..., h, w] at the pixels that hold points [..., 2], (x, y).

  Returns:
    [...]: infinite where the point is outside, NaN where it is missing.
  """
  height, width = values.shape[-2:]
  x, y = np.moveaxis(np.rint(np.asarray(points_px, np.float64)), -1, 0)
  within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
  pixel = np.where(within, y * width + x, 0).astype(int)
  flat = values.reshape(*values.shape[:-2], -1)
  found = np.take_along_axis(flat, pixel[..., None], -1)[..., 0]
  return np.where(np.isnan(x) | np.isnan(y), np.nan, np.where(within, found, np.inf))


def truth_score(density: np.ndarray, truth_px: np.ndarray) -> np.ndarray:
  """The score of the pixel that holds the truth.

  Args:
    density: [..., h, w].
    truth_px: [..., 2], (x, y) in pixels of the heatmap, NaN where missing.

  Returns:
    [...]: infinite where the truth is outside the heatmap, NaN where it is missing.
  """
  return at(mass_above(density), truth_px)


def pixels(density: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
  """Size of the region, int [...]: the number of pixels with score <= quantile.

  Times the area of a heatmap pixel in mm2 it is the area of the region.

  Args:
    density: [..., L, h, w].
    quantiles: [L], or any shape that broadcasts to [..., L].
  """
  return (mass_above(density) <= np.asarray(quantiles)[..., None, None]).sum((-2, -1))


def sizes(density: np.ndarray) -> np.ndarray:
  """`pixels` at each of `LEVELS`, int [..., K]: what is kept of a heatmap for any quantile."""
  scores = mass_above(density)
  flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
  found = np.stack([np.searchsorted(one, LEVELS, side='right') for one in flat.reshape(-1, flat.shape[-1])])
  return found.reshape(*flat.shape[:-1], len(LEVELS))


def level(quantiles: np.ndarray) -> np.ndarray:
  """Indices into `LEVELS` of the smallest one at least each quantile: regions only grow by it."""
  return np.searchsorted(LEVELS, quantiles, side='left').clip(max=len(LEVELS) - 1)
