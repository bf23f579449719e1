"""What a second, finer look sees: a crop of the network image around each landmark.

Crops lie on whole pixels (`geometry.crop_frame`): cutting them out is a gather, and a landmark in a crop
is the same landmark in the image up to an addition.

To its network a crop is an image with one landmark and two channels: the crop, and its surroundings, twice
as wide around the same middle, at half the resolution. What it sees are crops [N, s, s, 2] and, int32 [N, 1],
the number of each one's landmark.
"""

import math

import tensorflow as tf

from ceph_tf import geometry, seeds
from ceph_tf.config import CropConfig


def pixels(frame: geometry.Frame, size_px: int) -> tf.Tensor:
  """The columns and rows of the image that crops show, int32 [B, L, 2, size_px], (x, y)."""
  return tf.cast(tf.round(-frame.offset), tf.int32)[..., None] + tf.range(size_px)


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
  shown = pixels(frame, size_px)
  x, y = shown[:, :, None, 0, :], shown[:, :, 1, :, None]
  there = (x >= 0) & (x < width) & (y >= 0) & (y < height)
  pixel = tf.clip_by_value(y, 0, height - 1) * width + tf.clip_by_value(x, 0, width - 1)
  shape = tf.shape(pixel)
  found = tf.gather(tf.reshape(images, [-1, height * width]), tf.reshape(pixel, [shape[0], -1]), batch_dims=1)
  return tf.where(there, tf.reshape(found, shape), 0.0)[..., None]


def to_crops(points_px: tf.Tensor, frame: geometry.Frame) -> tf.Tensor:
  """Points [B, L, 2] of the image to pixels of each one's own crop."""
  return frame.to_network(points_px[..., None, :])[..., 0, :]


def from_crops(points_px: tf.Tensor, frame: geometry.Frame) -> tf.Tensor:
  """The inverse of `to_crops`; points [S, B, L, 2] of several networks, too."""
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


def to_see(images: tf.Tensor, frame: geometry.Frame, size_px: int) -> list[tf.Tensor]:
  """What a network of crops sees of images, one row for each landmark of each image.

  Args:
    images: float32 [B, H, W, 1].
    frame: of shape [B, L, 2].
    size_px: side of the crops.

  Returns:
    float32 [B * L, size_px, size_px, 2] and int32 [B * L, 1].
  """
  wider = geometry.Frame(frame.scale, frame.offset + size_px / 2)
  crops, around = (tf.reshape(cut(images, where, side), [-1, side, side, 1])
                   for where, side in ((frame, size_px), (wider, 2 * size_px)))
  around = tf.nn.avg_pool2d(around, 2, 2, 'VALID')
  batch, landmarks = tf.unstack(tf.shape(frame.offset)[:2])
  return [tf.concat([crops, around], -1), tf.tile(tf.range(landmarks), [batch])[:, None]]


def of_batch(images: tf.Tensor, points_px: tf.Tensor, seed: tf.Tensor,
             cfg: CropConfig) -> dict[str, tf.Tensor]:
  """A batch of training crops: of some landmarks of each image, off their middle.

  Args:
    images: float32 [B, H, W, 1].
    points_px: float32 [B, L, 2] in their pixels, NaN where missing.
    seed: int32 [2].
    cfg: size, jitter, K landmarks an image, all of them where it has fewer.

  Returns:
    image float32 [B * K, s, s, 2], landmark int32 [B * K, 1], points_px float32 [B * K, 1, 2] in pixels
    of the crop.
  """
  choice_seed, jitter_seed = seeds.split(seed, 2)
  batch, landmarks = tf.shape(images)[0], points_px.shape[1]
  order = tf.argsort(tf.random.stateless_uniform([batch, landmarks], choice_seed), axis=1)
  chosen = order[:, :cfg.landmarks]
  points = tf.gather(points_px, chosen, batch_dims=1)
  frame = geometry.crop_frame(jittered(points, cfg.jitter_px, jitter_seed), cfg.size_px)
  crops, _ = to_see(images, frame, cfg.size_px)
  return {'image': crops, 'landmark': tf.reshape(chosen, [-1, 1]),
          'points_px': tf.reshape(to_crops(points, frame), [-1, 1, 2])}


def of_example(example: dict, seed: tf.Tensor, cfg: CropConfig) -> dict:
  """An example of `data.input.encoded` as crops of all its landmarks, for validation.

  They are off by the geometric mean of `cfg.jitter_px`. A frame of a crop leads to the source image.

  Args:
    example: image [H, W, 1], points_px [L, 2], frame, spacing_mm [].
    seed: int32 [2].
    cfg: of the crops.

  Returns:
    image [L, s, s, 2], landmark [L, 1], points_px [L, 1, 2], frame of shape [L, 2], spacing_mm [L].
  """
  points, (scale, offset) = example['points_px'][None], example['frame']
  middle = math.sqrt(math.prod(cfg.jitter_px))
  frame = geometry.crop_frame(jittered(points, (middle, middle), seed), cfg.size_px)
  image, landmark = to_see(example['image'][None], frame, cfg.size_px)
  return {'image': image, 'landmark': landmark,
          'points_px': tf.transpose(to_crops(points, frame), [1, 0, 2]),
          'frame': geometry.Frame(tf.broadcast_to(scale, frame.offset[0].shape), offset + frame.offset[0]),
          'spacing_mm': tf.repeat(example['spacing_mm'], points.shape[1])}


def cover(size_hw: tuple[int, int], frame: geometry.Frame, stride: int, size_px: int) -> tf.Tensor:
  """How much of each pixel of a heatmap lies in its landmark's crop.

  Args:
    size_hw: of the heatmap, whose pixels cover `stride` x `stride` pixels of the image.
    frame: of shape [B, L, 2], of the crops.
    stride: of the heatmap.
    size_px: side of the crops.

  Returns:
    float32 [B, h, w, L], 0 to 1.
  """
  height, width = size_hw

  def along(size, axis):
    begin = tf.range(size, dtype=tf.float32)[None, :, None] * stride - 0.5
    corner = -frame.offset[:, None, :, axis] - 0.5
    covered = tf.minimum(begin + stride, corner + size_px) - tf.maximum(begin, corner)
    return tf.clip_by_value(covered / stride, 0.0, 1.0)  # [B, size, L]

  return along(height, 1)[:, :, None, :] * along(width, 0)[:, None, :, :]
