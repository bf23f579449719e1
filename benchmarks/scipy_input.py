"""The peers of `input_pipeline`: the thesis's augmentation with numpy and scipy.

Elastic deformation after Simard et al., ICDAR 2003: a random displacement for every
pixel, smoothed by a Gaussian; then an affine map. In Drevicky & Kodym, BIOIMAGING 2020,
a landmark is an image with one bright pixel that is deformed like the X-ray and then
blurred to its heatmap (`by_images`). `by_points` is what scipy can do at best: it moves
the points instead and draws the heatmaps directly, as `ceph_tf` does. One image at a
time; no TensorFlow here, so that a second process starts quickly.
"""

import math
import time
import typing
from collections.abc import Callable

import numpy as np
from scipy import ndimage


class Settings(typing.NamedTuple):
  """The largest change of each kind, as in `ceph_tf.config.AugmentConfig`, and the heatmaps."""

  rotate_deg: float
  scale: float
  shift: float
  elastic_px: float
  smooth_px: float  # of the Gaussian that smooths the displacements
  sigma_px: float  # of a heatmap
  amplitude: float


def _field(rng: np.random.Generator, shape: tuple[int, int], settings: Settings) -> np.ndarray:
  """One smooth random plane whose standard deviation is `elastic_px`."""
  # Uniform noise has deviation 1/sqrt(3), and the filter divides it by 2 sqrt(pi) sigma.
  alpha = settings.elastic_px * math.sqrt(3) * 2 * math.sqrt(math.pi) * settings.smooth_px
  return ndimage.gaussian_filter(rng.uniform(-alpha, alpha, shape), settings.smooth_px, mode='constant')


def _affine(rng: np.random.Generator, shape: tuple[int, int], settings: Settings):
  """Matrix and offset, in (y, x), that take a pixel of the result to one of the image."""
  limit = math.log1p(settings.scale)
  angle = math.radians(rng.uniform(-settings.rotate_deg, settings.rotate_deg))
  factor = math.exp(rng.uniform(-limit, limit))
  cos, sin = factor * math.cos(angle), factor * math.sin(angle)
  matrix, centre = np.array([[cos, sin], [-sin, cos]]), (np.array(shape) - 1) / 2
  return matrix, centre - matrix @ centre + rng.uniform(-settings.shift, settings.shift, 2) * shape


def by_images(rng: np.random.Generator, image: np.ndarray, points_px: np.ndarray,
              settings: Settings) -> tuple[np.ndarray, np.ndarray]:
  """As the thesis does it: landmarks are images of one pixel, deformed like the X-ray.

  Args:
    rng: of the deformation.
    image: [H, W].
    points_px: [L, 2], (x, y), in the image.
    settings: strength and heatmaps.

  Returns:
    The deformed image [H, W] and heatmaps [L, H, W].
  """
  dy, dx = _field(rng, image.shape, settings), _field(rng, image.shape, settings)
  y, x = np.mgrid[:image.shape[0], :image.shape[1]]
  where = (y + dy, x + dx)
  matrix, offset = _affine(rng, image.shape, settings)
  deform = (lambda picture: ndimage.map_coordinates(picture, where, order=1),
            lambda picture: ndimage.affine_transform(picture, matrix, offset, order=1))
  maps = np.zeros((len(points_px), *image.shape))
  for one, (column, row) in zip(maps, np.rint(points_px).astype(int), strict=True):
    one[row, column] = settings.amplitude
    for step in deform:
      peak = np.argmax(step(one))
      one[:] = 0
      one.flat[peak] = settings.amplitude
    one[:] = ndimage.gaussian_filter(one, settings.sigma_px, truncate=1.0)
  for step in deform:
    image = step(image)
  return image, maps.astype(np.float32)


def by_points(rng: np.random.Generator, image: np.ndarray, points_px: np.ndarray,
              settings: Settings) -> tuple[np.ndarray, np.ndarray]:
  """Arguments and results of `by_images`; one interpolation, points moved by the inverse map."""
  dy, dx = _field(rng, image.shape, settings), _field(rng, image.shape, settings)
  y, x = np.mgrid[:image.shape[0], :image.shape[1]]
  matrix, offset = _affine(rng, image.shape, settings)
  moved = np.stack([y + dy, x + dx])
  warped = ndimage.map_coordinates(image, np.tensordot(matrix, moved, 1) + offset[:, None, None], order=1)
  start = np.linalg.solve(matrix, points_px.T[::-1] - offset[:, None])
  points = start
  for _ in range(16):  # the fixed point q = start - d(q), as in ceph_tf.data.augment
    points = start - np.stack([ndimage.map_coordinates(d, points, order=1, mode='nearest')
                               for d in (dy, dx)])
  rows, columns = points.astype(np.float32)[:, :, None, None]
  y, x = y.astype(np.float32), x.astype(np.float32)
  distance = (y - rows) ** 2 + (x - columns) ** 2
  return warped, settings.amplitude * np.exp(-distance / (2 * settings.sigma_px**2))


def images_in(seconds: float, make: Callable, seed: int, image: np.ndarray, points_px: np.ndarray,
              settings: Settings) -> float:
  """Images per second that one process makes during `seconds`."""
  rng, count, start = np.random.default_rng(seed), 0, time.perf_counter()
  while time.perf_counter() - start < seconds:
    make(rng, image, points_px, settings)
    count += 1
  return count / (time.perf_counter() - start)
