"""X-rays changed on purpose: pure functions of image and seed.

Some ask a network what it cannot know (`elastic`, `CONDITIONS`), some what it should: `SCANNERS`.

Images are float32 [h, w] in 0..1, points [L, 2] (x, y) in their pixels.
"""

import functools
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.config import AugmentConfig
from ceph_tf.data import augment, preprocess

_CONVERGED_PX = 0.5  # of the inverse map; where the distortion folds the image, it has none


def reduced(image_bytes: bytes, height_px: int) -> tuple[np.ndarray, np.ndarray]:
  """An image file as float32 [h, w] in 0..1, at most `height_px` high, and the factors (x, y) applied.

  They differ by what rounding the width to whole pixels makes.
  """
  gray = preprocess.decode_gray(image_bytes).numpy()[..., 0]
  factor = min(1.0, height_px / gray.shape[0])
  size = (max(1, round(gray.shape[1] * factor)), max(1, round(gray.shape[0] * factor)))
  factors = np.array(size) / gray.shape[::-1]
  return cv2.resize(gray, size, interpolation=cv2.INTER_AREA), factors


def scaled_points(points_px: np.ndarray, factor: np.ndarray | float) -> np.ndarray:
  """Points of an image in the image reduced by `factor`, one or (x, y); pixel centres are at integers."""
  return (points_px + 0.5) * factor - 0.5


def elastic(
    image: np.ndarray, points_px: np.ndarray, magnitude: float, grid: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """A smooth random distortion (Simard et al., ICDAR 2003; here a B-spline, as in training).

  Args:
    image: [h, w].
    points_px: [L, 2], NaN where missing.
    magnitude: standard deviation of a control point's displacement, as a fraction of the
      height; 0 changes nothing.
    grid: distance of the control points, likewise.
    seed: of the displacement.

  Returns:
    The image and its points; NaN where the distortion folds the image and a point has no
    one place, and where it is no longer on the film.
  """
  height, width = image.shape
  field, moved = _distortion(height, width, max(grid * height, 4.0))(
      seeds.tensor(seed, 'elastic'), tf.constant(magnitude * height, tf.float32),
      tf.constant(points_px[None], tf.float32))
  from_x, from_y = field.numpy()
  warped = cv2.remap(image, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
  return warped, _on_film(moved.numpy(), image)


def _on_film(points_px: np.ndarray, image: np.ndarray) -> np.ndarray:
  """Points [L, 2], NaN where they lie beyond the image [h, w]."""
  there = (points_px > -0.5).all(1) & (points_px < np.array(image.shape[::-1]) - 0.5).all(1)
  return np.where(there[:, None], points_px, np.nan).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _distortion(height: int, width: int, grid_px: float):
  """A compiled function of seed, strength and points for images of one size."""
  cfg = AugmentConfig(rotate_deg=0, scale=0, shift=0, elastic_px=1, elastic_grid_px=grid_px)

  @tf.function
  def distort(seed, strength_px, points_px):
    drawn = augment.draw(seed, 1, (height, width), cfg)
    drawn = drawn._replace(control_px=strength_px * drawn.control_px)
    moved = augment.move_points(drawn, points_px)
    off = tf.norm(moved + augment.displacement(drawn, moved) - points_px, axis=-1, keepdims=True)
    return augment.source_of_pixels(drawn)[0], tf.where(off <= _CONVERGED_PX, moved, np.nan)[0]

  return distort


def _inverted(image, rng):
  return 1.0 - image


def _flipped(image, rng):
  return image[:, ::-1]


def _upside_down(image, rng):
  return image[::-1]


def _cropped(image, rng):
  """A quarter of the film: the back of the head."""
  height, width = image.shape
  return image[:height // 2, :width // 2]


def _over_exposed(image, rng):
  return np.clip(2.5 * image, 0, 1)


def _photograph(image, rng):
  """Dead leaves: occluding discs, with the statistics of photographs (Lee et al., IJCV 2001)."""
  height, width = image.shape
  scene = np.zeros((height, width), np.float32)
  radii = np.sort(np.minimum(2.0 / np.sqrt(rng.uniform(1e-4, 1, 3000)), 0.3 * height))[::-1]
  for radius, tone in zip(radii, rng.uniform(0, 1, radii.size), strict=True):
    centre = (int(rng.integers(width)), int(rng.integers(height)))
    cv2.circle(scene, centre, int(round(radius)), float(tone), -1)
  return cv2.GaussianBlur(scene, (0, 0), 1.0)


def _noise(image, rng):
  return rng.uniform(0, 1, image.shape).astype(np.float32)


CONDITIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    'inverted': _inverted,
    'flipped': _flipped,
    'upside_down': _upside_down,
    'cropped': _cropped,
    'over_exposed': _over_exposed,
    'photograph': _photograph,
    'noise': _noise,
}


def condition(name: str, image: np.ndarray, seed: int) -> np.ndarray:
  """The image under one of `CONDITIONS`: what no model for X-rays should read."""
  rng = seeds.rng(seed, name, zlib.crc32(np.ascontiguousarray(image).tobytes()))
  return np.ascontiguousarray(CONDITIONS[name](image, rng), np.float32)


def _framed(image, points_px, rng, gray):
  """A plate that is larger by a fifth of the film on each side."""
  rows, columns = (round(0.2 * size) for size in image.shape)
  framed = cv2.copyMakeBorder(image, rows, rows, columns, columns, cv2.BORDER_CONSTANT, value=gray)
  return framed, points_px + [columns, rows]


def _tight(image, points_px, rng):
  """A film that ends where the landmarks do: a tenth less at the top and the back, a little elsewhere."""
  height, width = image.shape
  left, top = round(0.1 * width), round(0.1 * height)
  cut = image[top:round(0.98 * height), left:round(0.96 * width)]
  return cut, points_px - [left, top]


def _turned(image, points_px, rng):
  """A head, or a plate, that is turned by 10 degrees."""
  height, width = image.shape
  matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 10 * rng.choice([-1, 1]), 1)
  return cv2.warpAffine(image, matrix, (width, height)), points_px @ matrix[:, :2].T + matrix[:, 2]


def _evened(image, points_px, rng):
  """Contrast evened out in windows of an eighth (CLAHE; Zuiderveld, Graphics Gems IV, 1994)."""
  levels = (255 * np.clip(image, 0, 1)).astype(np.uint8)
  return cv2.createCLAHE(4, (8, 8)).apply(levels).astype(np.float32) / 255, points_px


def _sharpened(image, points_px, rng):
  return np.clip(image + 1.5 * (image - _smooth(image, 0.005)), 0, 1), points_px


def _smooth(image, share):
  return cv2.GaussianBlur(image, (0, 0), share * image.shape[0])


def _grainy(image, points_px, rng):
  return np.clip(image + rng.normal(0, 0.05, image.shape), 0, 1), points_px


def _lettered(image, points_px, rng):
  """Six lines of white letters, 1/36 of the film high, that may lie on the head, too."""
  height, width = image.shape
  written, font = np.zeros(image.shape, np.uint8), cv2.FONT_HERSHEY_SIMPLEX
  thickness = max(1, round(height / 300))
  size = cv2.getFontScaleFromHeight(font, max(1, round(height / 36)), thickness)
  for _ in range(6):
    begin = (round(rng.uniform(0, 0.6) * width), round(rng.uniform(0.03, 1) * height))
    cv2.putText(written, 'R 2016-04 ID 381', begin, font, size, 255, thickness)
  return np.maximum(image, written / 255), points_px


SCANNERS: dict[str, Callable] = {
    'black frame': functools.partial(_framed, gray=0.0),
    'white frame': functools.partial(_framed, gray=1.0),
    'tight': _tight,
    'turned': _turned,
    'bright': lambda image, points_px, rng: (image ** 0.5, points_px),
    'dark': lambda image, points_px, rng: (image ** 2, points_px),
    'evened contrast': _evened,
    'sharpened': _sharpened,
    'blurred': lambda image, points_px, rng: (_smooth(image, 0.0025), points_px),
    'grainy': _grainy,
    'lettered': _lettered,
}


def scanned(name: str, image: np.ndarray, points_px: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """The image as another scanner might show it, one of `SCANNERS`: what a model for X-rays should read.

  Returns:
    The image and its points, NaN where they are no longer on it.
  """
  changed, moved = SCANNERS[name](image, np.asarray(points_px, np.float64), seeds.rng(seed, name))
  return np.ascontiguousarray(changed, np.float32), _on_film(moved, changed)
