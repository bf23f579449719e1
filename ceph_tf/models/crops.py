"""What a second, finer look sees: a crop of the network image around each landmark.

Crops lie on whole pixels (`geometry.crop_frame`): cutting them out is a gather, and a landmark in a crop
is the same landmark in the image up to an addition.
"""

import math

import tensorflow as tf

from ceph_tf import geometry, seeds


def cut(images: tf.Tensor, frame: geometry.Frame, size_px: int) -> tf.Tensor:
  """Cuts crops out of images.

  Args:
    images: float32 [B, H, W, 1].
    frame: of shape [B, L, 2], of `geometry.crop_frame`.
    size_px: side of the crops.

  Returns:
    float32 [B, L, size_px, size_px, 1]; 0, the mean gray, where a crop leaves the image.
  """
  _, height, width, _ = images.shape
  corner = tf.cast(tf.round(-frame.offset), tf.int32)[..., None] + tf.range(size_px)  # [B, L, 2, size]
  x, y = corner[:, :, None, 0, :], corner[:, :, 1, :, None]
  there = (x >= 0) & (x < width) & (y >= 0) & (y < height)
  pixel = tf.clip_by_value(y, 0, height - 1) * width + tf.clip_by_value(x, 0, width - 1)
  shape = tf.shape(pixel)
  found = tf.gather(tf.reshape(images, [-1, height * width]), tf.reshape(pixel, [shape[0], -1]), batch_dims=1)
  return tf.where(there, tf.reshape(found, shape), 0.0)[..., None]


def to_crops(points_px: tf.Tensor, frame: geometry.Frame) -> tf.Tensor:
  """Points [B, L, 2] of the image to pixels of each one's own crop."""
  return frame.to_network(points_px[..., None, :])[..., 0, :]


def from_crops(points_px: tf.Tensor, frame: geometry.Frame) -> tf.Tensor:
  """The inverse of `to_crops`."""
  return frame.to_source(points_px[..., None, :])[..., 0, :]


def jittered(points_px: tf.Tensor, jitter_px: tuple[float, float], seed: tf.Tensor) -> tf.Tensor:
  """Points as a first look may find them: most of them near, some of them far off.

  Each is moved by a normal distribution of its own; their standard deviations are log-uniform between
  the two of `jitter_px`, so that all magnitudes in between are as frequent.

  Args:
    points_px: float32 [B, L, 2], NaN where missing.
    jitter_px: the least and the largest standard deviation.
    seed: int32 [2].

  Returns:
    float32 [B, L, 2]; the origin where a point is missing, since a crop has to lie somewhere.
  """
  low, high = (math.log(value) for value in jitter_px)
  width_seed, move_seed = seeds.split(seed, 2)
  shape = tf.shape(points_px)
  deviation = tf.exp(tf.random.stateless_uniform([*tf.unstack(shape)[:2], 1], width_seed, low, high))
  moved = points_px + deviation * tf.random.stateless_normal(shape, move_seed)
  return tf.where(tf.math.is_nan(moved), 0.0, moved)


def share_inside(density: tf.Tensor, frame: geometry.Frame, stride: int, size_px: int) -> tf.Tensor:
  """How much of each heatmap lies in its crop: what the first look thinks of the second one's place.

  Args:
    density: float32 [B, h, w, L], each sums to one; a pixel of it covers `stride` x `stride` pixels of
      the image.
    frame: of shape [B, L, 2], of the crops.
    stride: of the heatmap.
    size_px: side of the crops.

  Returns:
    float32 [B, L], 0 where a crop misses the heatmap altogether, at most 1. Pixels on a crop's edge
    count by the part that is inside.
  """
  _, height, width, _ = density.shape

  def along(size, axis):
    begin = tf.range(size, dtype=tf.float32)[None, :, None] * stride - 0.5
    corner = -frame.offset[:, None, :, axis] - 0.5
    covered = tf.minimum(begin + stride, corner + size_px) - tf.maximum(begin, corner)
    return tf.clip_by_value(covered / stride, 0.0, 1.0)  # [B, size, L]

  return tf.einsum('bhwl,bhl,bwl->bl', density, along(height, 1), along(width, 0))
