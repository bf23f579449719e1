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
  near = 2.0 / 3.0 - a**2 + 0.5 * a**3
  far = tf.maximum(2.0 - a, 0.0) ** 3 / 6.0
  return tf.where(a < 1.0, near, far)


def _basis(position_px: tf.Tensor, num_control: int, grid_px: float) -> tf.Tensor:
  """Weights [..., num_control] of the control points at positions [...] along one axis."""
  # Control point j sits at (j - 1) * grid_px: one before the image, two behind it.
  index = tf.range(num_control, dtype=tf.float32) - 1.0
  return _bspline(position_px[..., None] / grid_px - index)


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
  """The map at every pixel: float32 [B, H, W, 2] points (x, y) of the network image."""
  height, width = deformation.size_hw
  rows, columns = grid_shape(deformation.size_hw, deformation.grid_px)
  basis_y = _basis(tf.range(height, dtype=tf.float32), rows, deformation.grid_px)
  basis_x = _basis(tf.range(width, dtype=tf.float32), columns, deformation.grid_px)
  field = tf.einsum('hr,brcd->bhcd', basis_y, deformation.control_px)
  field = tf.einsum('wc,bhcd->bhwd', basis_x, field)
  x, y = tf.meshgrid(tf.range(width, dtype=tf.float32), tf.range(height, dtype=tf.float32))
  centre = _centre(deformation)
  moved = tf.stack([x, y], -1) + field - centre
  source = tf.einsum('bij,bhwj->bhwi', deformation.matrix, moved)
  return source + (centre + deformation.shift_px)[:, None, None, :]


def displacement(deformation: Deformation, points_px: tf.Tensor) -> tf.Tensor:
  """d at points [B, L, 2] of the augmented image: float32 [B, L, 2]."""
  _, rows, columns, _ = deformation.control_px.shape
  weight_x = _basis(points_px[..., 0], columns, deformation.grid_px)
  weight_y = _basis(points_px[..., 1], rows, deformation.grid_px)
  return tf.einsum('blr,blc,brcd->bld', weight_y, weight_x, deformation.control_px)


def move_points(deformation: Deformation, points_px: tf.Tensor) -> tf.Tensor:
  """Points [B, L, 2] of the network image to the augmented image; NaN stays NaN."""
  centre = _centre(deformation)
  offset = points_px - (centre + deformation.shift_px)[:, None, :]
  start = tf.einsum('bij,blj->bli', tf.linalg.inv(deformation.matrix), offset) + centre
  moved = start
  for _ in range(_FIXED_POINT_STEPS):
    moved = start - displacement(deformation, moved)
  return moved


def sample_bilinear(images: tf.Tensor, points_px: tf.Tensor) -> tf.Tensor:
  """Images [B, H, W, 1] at points [B, h, w, 2] (x, y): [B, h, w, 1], zero outside."""
  height, width = images.shape[1:3]
  padded = tf.pad(images[..., 0], [[0, 0], [1, 1], [1, 1]])
  x = tf.clip_by_value(points_px[..., 0] + 1.0, 0.0, width + 0.999)
  y = tf.clip_by_value(points_px[..., 1] + 1.0, 0.0, height + 0.999)
  left, top = tf.floor(x), tf.floor(y)
  right_share, bottom_share = x - left, y - top
  index = tf.cast(top, tf.int32) * (width + 2) + tf.cast(left, tf.int32)
  flat = tf.reshape(padded, [-1, (height + 2) * (width + 2)])

  def corner(offset):
    return tf.gather(flat, index + offset, batch_dims=1)

  upper = corner(0) * (1 - right_share) + corner(1) * right_share
  lower = corner(width + 2) * (1 - right_share) + corner(width + 3) * right_share
  return (upper * (1 - bottom_share) + lower * bottom_share)[..., None]


def warp(deformation: Deformation, images: tf.Tensor) -> tf.Tensor:
  """The augmented images [B, H, W, 1]."""
  return sample_bilinear(images, source_of_pixels(deformation))


def change_intensity(seed: tf.Tensor, images: tf.Tensor, cfg: AugmentConfig) -> tf.Tensor:
  """Gamma, shading, contrast, brightness and noise, one draw per image.

  Args:
    seed: int32 [2].
    images: float32 [B, H, W, 1], standardized.
    cfg: the largest change of each kind.

  Returns:
    float32 [B, H, W, 1], standardized again before contrast and brightness.
  """
  gamma, shade, contrast, brightness, level, noise = seeds.split(seed, 6)
  batch, (height, width) = tf.shape(images)[0], images.shape[1:3]

  def per_image(values):
    return values[:, None, None, None]

  low = tf.reduce_min(images, [1, 2, 3], keepdims=True)
  span = tf.reduce_max(images, [1, 2, 3], keepdims=True) - low + 1e-6
  exponent = tf.exp(_between(gamma, batch, math.log1p(cfg.gamma)))
  images = ((images - low) / span) ** per_image(exponent)
  mean, variance = tf.nn.moments(images, [1, 2, 3], keepdims=True)
  images = (images - mean) * tf.math.rsqrt(variance + 1e-8)
  grid_px = max(height, width) / 3
  rows, columns = grid_shape((height, width), grid_px)
  shading = tf.random.stateless_normal([batch, rows, columns], shade, stddev=cfg.shading)
  shading = tf.einsum('hr,brc,wc->bhw', _basis(tf.range(height, dtype=tf.float32), rows, grid_px),
                      shading, _basis(tf.range(width, dtype=tf.float32), columns, grid_px))
  factor = tf.exp(_between(contrast, batch, math.log1p(cfg.contrast)))
  images = images * per_image(factor) + per_image(_between(brightness, batch, cfg.brightness))
  sigma = tf.random.stateless_uniform([batch], level, 0.0, cfg.noise)
  return (images + shading[..., None]
          + per_image(sigma) * tf.random.stateless_normal(tf.shape(images), noise))


def apply(images: tf.Tensor, points_px: tf.Tensor, seed: tf.Tensor,
          cfg: AugmentConfig) -> tuple[tf.Tensor, tf.Tensor]:
  """Deforms a batch and changes its intensities.

  Args:
    images: float32 [B, H, W, 1], standardized.
    points_px: float32 [B, L, 2], (x, y) in pixels of `images`; NaN if missing.
    seed: int32 [2]; the same seed gives the same augmentation.
    cfg: strength.

  Returns:
    Augmented images [B, H, W, 1] and points [B, L, 2]; points may leave the image.
  """
  where, intensity = seeds.split(seed, 2)
  deformation = draw(where, tf.shape(images)[0], tuple(images.shape[1:3]), cfg)
  return (change_intensity(intensity, warp(deformation, images), cfg),
          move_points(deformation, points_px))
