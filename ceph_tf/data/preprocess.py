"""Bytes to network image and Frame: pure TensorFlow, deterministic.

Training (`encode`) and the exported predictor (`serving.admission`) call the same two functions, so the
image a network was trained on and the image it is served are the same floats.
"""

from collections.abc import Callable

import tensorflow as tf

from ceph_tf import geometry
from ceph_tf.config import InputConfig


def decode_gray(image_bytes: tf.Tensor, run: Callable = lambda decoder, data: decoder(data)) -> tf.Tensor:
  """One image file to gray values.

  Args:
    image_bytes: string scalar, a JPEG, PNG (8 or 16 bit) or BMP file. TIFF is
      transcoded where data enter (`ceph_tf.data.codec`), TensorFlow has no decoder.
    run: calls a decoder (bytes -> uint8 or uint16 [h, w, channels]); for whoever must
      survive its failure.

  Returns:
    float32 [h, w, 1] in 0..1. Colour is reduced by the luma weights of BT.601;
    an alpha channel is dropped.

  Raises:
    tf.errors.InvalidArgumentError: the bytes are none of these.
  """
  is_png16 = tf.logical_and(
      tf.equal(tf.strings.substr(image_bytes, 1, 3), 'PNG'),
      tf.equal(tf.strings.substr(image_bytes, 24, 1), b'\x10'))
  image = tf.cond(is_png16, lambda: tf.cast(run(decode_16_bit, image_bytes), tf.float32) / 65535.0,
                  lambda: tf.cast(run(decode_8_bit, image_bytes), tf.float32) / 255.0)
  return tf.cond(tf.shape(image)[-1] >= 3, lambda: _luma(image), lambda: image[..., :1])


def decode_16_bit(image_bytes: tf.Tensor) -> tf.Tensor:
  """A PNG file to uint16 [h, w, channels]."""
  return tf.io.decode_png(image_bytes, dtype=tf.uint16)


def decode_8_bit(image_bytes: tf.Tensor) -> tf.Tensor:
  """A JPEG, PNG or BMP file to uint8 [h, w, channels]."""
  # All channels: channels=1 would refuse BMP, the format ISBI 2015 is distributed in.
  return tf.io.decode_image(image_bytes, expand_animations=False)


def _luma(image: tf.Tensor) -> tf.Tensor:
  return tf.tensordot(image[..., :3], tf.constant([[0.299], [0.587], [0.114]]), 1)


def standardize(image: tf.Tensor) -> tf.Tensor:
  """Zero mean, unit variance, so that exposure and bit depth do not matter.

  Args:
    image: float32 [h, w, 1].

  Returns:
    float32 [h, w, 1]; a constant image becomes zeros.
  """
  mean, variance = tf.nn.moments(image, axes=[0, 1, 2])
  return (image - mean) * tf.math.rsqrt(variance + 1e-8)


def to_network_image(image: tf.Tensor, cfg: InputConfig) -> tuple[tf.Tensor, geometry.Frame]:
  """Gray image of any size to the network image.

  Args:
    image: float32 [h, w, 1], any intensity scale.
    cfg: size and fit of the network image.

  Returns:
    float32 [H, W, 1], standardized, zero (the mean) where padded, and its `Frame`.
  """
  size_hw = (cfg.height, cfg.width)
  frame, size, before = geometry.fit_frame(tf.shape(image)[:2], size_hw, cfg.fit)
  # Area averaging is the right low-pass for shrinking and a staircase for enlarging.
  shrinks = tf.reduce_all(size <= tf.shape(image)[:2])
  resized = tf.cond(shrinks, lambda: _shrink(image, size), lambda: _enlarge(image, size))
  resized = standardize(resized)
  network = tf.image.pad_to_bounding_box(resized, before[0], before[1], *size_hw)
  return tf.ensure_shape(network, (*size_hw, 1)), frame


def _shrink(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
  return tf.image.resize(image[None], size, method='area')[0]


def _enlarge(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
  return tf.image.resize(image[None], size, method='bilinear', antialias=True)[0]


def encode(image_bytes: tf.Tensor, cfg: InputConfig) -> tuple[tf.Tensor, geometry.Frame]:
  """One image file to the network image; see `decode_gray`, `to_network_image`."""
  return to_network_image(decode_gray(image_bytes), cfg)
