"""Seeded random deformation of images and landmarks together, as batched TF ops.

One map takes a pixel q of the augmented image to the pixel p of the network
image it shows:

  p = centre + M (q + d(q) - centre) + shift

with M a rotation and scale and d a cubic B-spline over a coarse grid of random
control points. The spline is separable, so the dense field is two small matrix
products (By G Bx') instead of a full-size convolution, and it can be evaluated
at any point. Landmarks move by the inverse of the same map: q is the fixed point
of q <- r - d(q), r = centre + M^-1 (p - shift - centre), which converges because
d is smooth (a contraction while neighbouring control points differ by less than
their distance).
"""

import math
import typing

import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.config import AugmentConfig

_FIXED_POINT_STEPS = 16
_BACKGROUND_PX = 20  # of the longer side: about the windows in which scanners even out contrast
_ERASED_TIMES = 3  # at most
_ERASED_SIDE = (0.025, 0.2)  # of the longer side of the image: from a letter to a name plate


class Deformation(typing.NamedTuple):
  """A batch of maps; see the module docstring.

  Attributes:
    matrix: float32 [B, 2, 2], M, acting on (x, y).
    shift_px: float32 [B, 2], (x, y).
    control_px: float32 [B, gh, gw, 2], displacement (x, y) of each control point.
    grid_px: distance of the control points.
    size_hw: height and width of the images.
  """

  matrix: tf.Tensor
  shift_px: tf.Tensor
  control_px: tf.Tensor
  grid_px: float
  size_hw: tuple[int, int]


def _bspline(distance: tf.Tensor) -> tf.Tensor:
  """The cubic B-spline at `distance` (in knots) from its centre."""
  a = tf.abs(distance)
  return (tf.nn.relu(2.0 - a) ** 3 - 4.0 * tf.nn.relu(1.0 - a) ** 3) / 6.0


def _basis(position_px: tf.Tensor, num_control: int, grid_px: float) -> tf.Tensor:
  """Weights [..., num_control] of the control points at positions [...] along one axis."""
  return _bspline((position_px[..., None] - _control_positions(num_control, grid_px)) / grid_px)


def _control_positions(num_control: int, grid_px: float) -> tf.Tensor:
  """Where the control points [num_control] lie: one before the image, two behind it."""
  return (tf.range(num_control, dtype=tf.float32) - 1.0) * grid_px


def _at_pixels(control: tf.Tensor, size_hw: tuple[int, int], grid_px: float) -> tf.Tensor:
  """Splines with control points [..., gh, gw] at every pixel: float32 [..., H, W]."""
  (height, width), (rows, columns) = size_hw, control.shape[-2:]
  basis_y = _basis(tf.range(height, dtype=tf.float32), rows, grid_px)
  basis_x = _basis(tf.range(width, dtype=tf.float32), columns, grid_px)
  return tf.matmul(basis_y, tf.matmul(control, basis_x, transpose_b=True))


def grid_shape(size_hw: tuple[int, int], grid_px: float) -> tuple[int, int]:
  """Number of control points (rows, columns) that cover an image of this size."""
  return tuple(math.floor((size - 1) / grid_px) + 4 for size in size_hw)


def _between(seed: tf.Tensor, batch: int, limit: float) -> tf.Tensor:
  return tf.random.stateless_uniform([batch], seed, -limit, limit)


def draw(seed: tf.Tensor, batch: int | tf.Tensor, size_hw: tuple[int, int],
         cfg: AugmentConfig) -> Deformation:
  """Draws one deformation per image.

  Args:
    seed: int32 [2].
    batch: number of images B.
    size_hw: height and width of the images.
    cfg: the largest rotation, scale, shift; the strength of the elastic part.

  Returns:
    A `Deformation`.
  """
  rotate, scale, shift_x, shift_y, control = seeds.split(seed, 5)
  angle = _between(rotate, batch, math.radians(cfg.rotate_deg))
  factor = tf.exp(_between(scale, batch, math.log1p(cfg.scale)))
  cos, sin = factor * tf.cos(angle), factor * tf.sin(angle)
  matrix = tf.stack([tf.stack([cos, -sin], -1), tf.stack([sin, cos], -1)], -2)
  height, width = size_hw
  shift = tf.stack([_between(shift_x, batch, cfg.shift * width),
                    _between(shift_y, batch, cfg.shift * height)], -1)
  rows, columns = grid_shape(size_hw, cfg.elastic_grid_px)
  # Clipped at two deviations: a rare huge draw could fold the image onto itself.
  control = cfg.elastic_px * tf.random.stateless_truncated_normal([batch, rows, columns, 2], control)
  return Deformation(matrix, shift, control, cfg.elastic_grid_px, size_hw)


def _centre(deformation: Deformation) -> tf.Tensor:
  height, width = deformation.size_hw
  return tf.constant([(width - 1) / 2, (height - 1) / 2], tf.float32)


def source_of_pixels(deformation: Deformation) -> tf.Tensor:
  """The map at every pixel: float32 [B, 2, H, W], an x and a y plane, in network pixels.

  Splines reproduce affine functions, so the spline whose control points are the
  mapped control points is the whole map, not only its elastic part.
  """
  matrix, shift, control, grid_px, size_hw = deformation
  rows, columns = control.shape[1:3]
  y, x = tf.meshgrid(_control_positions(rows, grid_px), _control_positions(columns, grid_px),
                     indexing='ij')
  centre = _centre(deformation)
  moved = tf.reshape(tf.stack([x, y], -1) + control - centre, [-1, rows * columns, 2])
  mapped = tf.matmul(matrix, moved, transpose_b=True) + (centre + shift)[..., None]
  return _at_pixels(tf.reshape(mapped, [-1, 2, rows, columns]), size_hw, grid_px)


def displacement(deformation: Deformation, points_px: tf.Tensor) -> tf.Tensor:
  """d at points [B, L, 2] of the augmented image: float32 [B, L, 2]."""
  _, rows, columns, _ = deformation.control_px.shape
  weight = _basis(points_px, max(rows, columns), deformation.grid_px)
  weight = weight[:, :, 1, :rows, None] * weight[:, :, 0, None, :columns]
  # For so few points two sums are faster than a matmul.
  return tf.stack([tf.reduce_sum(weight * control, [2, 3])
                   for control in tf.unstack(deformation.control_px[:, None], axis=-1)], -1)


def move_points(deformation: Deformation, points_px: tf.Tensor) -> tf.Tensor:
  """Points [B, L, 2] of the network image to the augmented image; NaN stays NaN."""
  centre = _centre(deformation)
  offset = points_px - (centre + deformation.shift_px)[:, None, :]
  start = tf.einsum('bij,blj->bli', tf.linalg.inv(deformation.matrix), offset) + centre
  moved = start
  for _ in range(_FIXED_POINT_STEPS):
    moved = start - displacement(deformation, moved)
  return moved


def sample_bilinear(images: tf.Tensor, source_px: tf.Tensor) -> tf.Tensor:
  """Images [B, H, W, 1] at points [B, 2, h, w] (x plane, y plane): [B, h, w, 1], zero outside."""
  height, width = images.shape[1:3]
  stride, area = width + 3, (height + 3) * (width + 3)
  flat = tf.reshape(tf.pad(images, [[0, 0], [1, 2], [1, 2], [0, 0]]), [-1])
  # Gathering is the cost here, and a complex number gathers two neighbours at once.
  pairs = tf.complex(flat, tf.roll(flat, -1, 0))
  x = tf.clip_by_value(source_px[:, 0] + 1.0, 0.0, width + 1.0)
  y = tf.clip_by_value(source_px[:, 1] + 1.0, 0.0, height + 1.0)
  left, top = tf.floor(x), tf.floor(y)
  first = (tf.range(tf.shape(images)[0]) * area)[:, None, None]
  index = first + tf.cast(top, tf.int32) * stride + tf.cast(left, tf.int32)
  upper, lower = tf.gather(pairs, index), tf.gather(pairs, index + stride)
  between = upper + tf.cast(y - top, tf.complex64) * (lower - upper)
  value, right = tf.math.real(between), tf.math.imag(between)
  return (value + (x - left) * (right - value))[..., None]


def warp(deformation: Deformation, images: tf.Tensor, outside: tf.Tensor | float = 0.0) -> tf.Tensor:
  """The augmented images [B, H, W, 1], with the gray `outside`, one for all or [B], beyond the film."""
  outside = tf.reshape(outside, [-1, 1, 1, 1])
  return sample_bilinear(images - outside, source_of_pixels(deformation)) + outside


def _white_noise(seed: tf.Tensor, rows: int | tf.Tensor, columns: int) -> tf.Tensor:
  """Independent standard normal values, float32 [rows, columns].

  Box & Muller 1958 on whole tensors, twice as fast as `tf.random.stateless_normal`.
  """
  radius, angle = tf.unstack(tf.random.stateless_uniform([2, rows, (columns + 1) // 2], seed))
  radius = tf.sqrt(-2.0 * tf.math.log(1.0 - radius))  # 1 - radius is never 0
  angle *= 2.0 * math.pi
  return tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], 1)[:, :columns]


def _background(images: tf.Tensor) -> tf.Tensor:
  """Images [B, H, W, 1] without what is smaller than a twentieth of them."""
  size_hw = tuple(images.shape[1:3])
  few = [max(1, round(_BACKGROUND_PX * size / max(size_hw))) for size in size_hw]
  return tf.image.resize(tf.image.resize(images, few, 'area'), size_hw, 'bilinear')


def change_intensity(seed: tf.Tensor, images: tf.Tensor, cfg: AugmentConfig) -> tf.Tensor:
  """Gamma, local contrast, shading, contrast, brightness and noise, one draw per image.

  Args:
    seed: int32 [2].
    images: float32 [B, H, W, 1], standardized.
    cfg: the largest change of each kind.

  Returns:
    float32 [B, H, W, 1], standardized again before contrast and brightness.
  """
  gamma, local, shade, contrast, brightness, level, noise = seeds.split(seed, 7)
  batch, size_hw, pixels = tf.shape(images)[0], tuple(images.shape[1:3]), math.prod(images.shape[1:])
  values = tf.reshape(images, [-1, pixels])
  low = tf.reduce_min(values, 1, keepdims=True)
  span = tf.reduce_max(values, 1, keepdims=True) - low + 1e-6
  # x ** y as exp(y log x), which is vectorized; exp(y log 0) is 0.
  exponent = tf.exp(_between(gamma, batch, math.log1p(cfg.gamma)))[:, None]
  values = tf.exp(exponent * tf.math.log((values - low) / span))
  if cfg.local_contrast:
    detail = values - tf.reshape(_background(tf.reshape(values, [-1, *size_hw, 1])), [-1, pixels])
    values += (tf.exp(_between(local, batch, math.log1p(cfg.local_contrast)))[:, None] - 1.0) * detail
  mean, variance = tf.nn.moments(values, 1, keepdims=True)
  factor = tf.exp(_between(contrast, batch, math.log1p(cfg.contrast)))[:, None]
  values = (values - mean) * (factor * tf.math.rsqrt(variance + 1e-8))
  sigma = tf.random.stateless_uniform([batch, 1], level, 0.0, cfg.noise)
  values += sigma * _white_noise(noise, batch, pixels)
  grid_px = max(size_hw) / 3
  shading = tf.random.stateless_normal([batch, *grid_shape(size_hw, grid_px)], shade, stddev=cfg.shading)
  shading += _between(brightness, batch, cfg.brightness)[:, None, None]
  return (tf.reshape(values, [-1, *size_hw]) + _at_pixels(shading, size_hw, grid_px))[..., None]


def erase(seed: tf.Tensor, images: tf.Tensor, share: float) -> tf.Tensor:
  """Draws rectangles of another gray over a share of the images (random erasing: Zhong et al., AAAI 2020).

  So a network learns to look around what is drawn on a film, and to find a landmark beneath it.

  Args:
    seed: int32 [2].
    images: float32 [B, H, W, 1], standardized.
    share: of the images that are changed, 0 to 1.

  Returns:
    float32 [B, H, W, 1]; a changed image has one to three rectangles, half of which are grainy.
  """
  batch, (height, width) = tf.shape(images)[0], images.shape[1:3]
  chosen, count, side, middle, gray, grain, noise = seeds.split(seed, 7)

  def uniform(seed, *shape, low=0.0, high=1.0):
    return tf.random.stateless_uniform([batch, *shape], seed, low, high)

  number = tf.random.stateless_uniform([batch], count, 1, _ERASED_TIMES + 1, tf.int32)
  number = tf.where(uniform(chosen) < share, number, 0)
  low, high = (math.log(part * max(height, width)) for part in _ERASED_SIDE)
  half = tf.exp(uniform(side, _ERASED_TIMES, 2, low=low, high=high)) / 2.0
  middle = uniform(middle, _ERASED_TIMES, 2) * tf.constant([height, width], tf.float32)
  gray = uniform(gray, _ERASED_TIMES, low=-2.5, high=3.0)
  grain = tf.nn.relu(uniform(grain, _ERASED_TIMES, low=-2.0, high=2.0))
  noise = tf.reshape(_white_noise(noise, batch, height * width), [-1, height, width])
  image = images[..., 0]
  for k in range(_ERASED_TIMES):
    row, column = (tf.abs(tf.range(float(size)) - middle[:, k, axis, None]) < half[:, k, axis, None]
                   for axis, size in enumerate((height, width)))
    there = row[:, :, None] & column[:, None, :] & (k < number)[:, None, None]
    image = tf.where(there, gray[:, k, None, None] + grain[:, k, None, None] * noise, image)
  return image[..., None]


def apply(images: tf.Tensor, points_px: tf.Tensor, seed: tf.Tensor,
          cfg: AugmentConfig) -> tuple[tf.Tensor, tf.Tensor]:
  """Deforms a batch, changes its intensities and draws over it.

  Args:
    images: float32 [B, H, W, 1], standardized.
    points_px: float32 [B, L, 2], (x, y) in pixels of `images`; NaN if missing.
    seed: int32 [2]; the same seed gives the same augmentation.
    cfg: strength.

  Returns:
    Augmented images [B, H, W, 1] and points [B, L, 2]; points may leave the image.
  """
  where, intensity, outside = seeds.split(seed, 3)
  batch = tf.shape(images)[0]
  deformation = draw(where, batch, tuple(images.shape[1:3]), cfg)
  outside = _between(outside, batch, cfg.outside)
  images = change_intensity(intensity, warp(deformation, images, outside), cfg)
  if cfg.erased:  # a seed of its own, so that a share of 0 leaves all else as it is without
    images = erase(seeds.fold_in(seed, 3), images, cfg.erased)
  return images, move_points(deformation, points_px)
