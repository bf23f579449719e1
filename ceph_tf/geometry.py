"""Frame: where a pixel of the network image lies in the source image.

Points are (x, y), x right, y down, in pixels with pixel centres at integers, so
an image of width w covers x from -0.5 to w - 0.5.
"""

import typing

import tensorflow as tf


class Frame(typing.NamedTuple):
  """network = source * scale + offset, for each of B images and each axis.

  Attributes:
    scale: float32 [..., 2], network pixels per source pixel, (x, y).
    offset: float32 [..., 2], network pixels.
  """

  scale: tf.Tensor
  offset: tf.Tensor

  def to_network(self, points_px: tf.Tensor) -> tf.Tensor:
    """Points [..., L, 2] of the source image to pixels of the network image."""
    return points_px * self.scale[..., None, :] + self.offset[..., None, :]

  def to_source(self, points_px: tf.Tensor) -> tf.Tensor:
    """Points [..., L, 2] of the network image to pixels of the source image."""
    return (points_px - self.offset[..., None, :]) / self.scale[..., None, :]

  def covariance_to_source(self, covariance_px2: tf.Tensor) -> tf.Tensor:
    """Covariances [..., L, 2, 2] in network px^2 to source px^2."""
    inverse = 1.0 / self.scale[..., None, :]
    return covariance_px2 * inverse[..., :, None] * inverse[..., None, :]


def fit_frame(source_hw: tf.Tensor, network_hw: tuple[int, int], fit: str):
  """The frame that shows a source image in a network image.

  Args:
    source_hw: int32 [2], height and width of the source image.
    network_hw: height and width of the network image.
    fit: `pad` keeps the aspect ratio and centres the image, `stretch` fills.

  Returns:
    A `Frame` (shapes [2]), the int32 [2] size (height, width) that the source
    image is resized to, and the int32 [2] padding (top, left) before it.
  """
  source = tf.cast(source_hw, tf.float32)
  target = tf.constant(network_hw, tf.float32)
  if fit == 'stretch':
    size = tf.constant(network_hw, tf.int32)
  else:
    size = tf.cast(tf.round(source * tf.reduce_min(target / source)), tf.int32)
    size = tf.clip_by_value(size, 1, tf.constant(network_hw, tf.int32))
  before = (tf.constant(network_hw, tf.int32) - size) // 2
  scale_yx = tf.cast(size, tf.float32) / source
  offset_yx = tf.cast(before, tf.float32) + 0.5 * scale_yx - 0.5
  return Frame(scale_yx[::-1], offset_yx[::-1]), size, before


def crop_frame(centres_px: tf.Tensor, size_px: int) -> Frame:
  """Square crops around points, moved to whole pixels, so that cutting them out interpolates nothing.

  Args:
    centres_px: float32 [..., 2] in pixels of the image that is cropped, finite.
    size_px: side of the crops; the point is in pixel `size_px // 2` of each axis.

  Returns:
    A `Frame` of shape [..., 2] whose source is that image and whose network image is the crop. It
    may leave the image. One crop for each landmark moves each by itself: points [..., L, 2] are asked
    about as [..., L, 1, 2].
  """
  corner = tf.round(centres_px) - size_px // 2
  return Frame(tf.ones_like(corner), -corner)


def heatmap_to_network(points_px: tf.Tensor, stride: int) -> tf.Tensor:
  """Points [..., 2] of a heatmap to pixels of the network image.

  A heatmap pixel covers `stride` network pixels, so centres are offset.
  """
  return points_px * stride + 0.5 * (stride - 1)


def network_to_heatmap(points_px: tf.Tensor, stride: int) -> tf.Tensor:
  """The inverse of `heatmap_to_network`."""
  return (points_px - 0.5 * (stride - 1)) / stride
