"""The same X-rays as another scanner might show them: framed and exposed anew, but not bent.

A film that is turned, larger, darker or on a wider plate is nothing that its reader must be warned of, as
long as the network was trained to read it; a head that is bent is, and so is one that something is drawn
over, although the network was trained to read that, too. So copies change by the training augmentation
without its elastic part and without rectangles.
"""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.config import AugmentConfig, InputConfig
from ceph_tf.data import augment, preprocess


def weakened(cfg: AugmentConfig, strength: float) -> AugmentConfig:
  """A share of each change, from 0 to 1, but nothing elastic and nothing erased."""
  changes = {field.name: strength * getattr(cfg, field.name) for field in dataclasses.fields(cfg)
             if not field.name.startswith(('elastic', 'erased'))}
  return dataclasses.replace(cfg, **changes, elastic_px=0.0, erased=0.0)


def copies(image_bytes: bytes, size: InputConfig, cfg: AugmentConfig, count: int, seed: int) -> list[bytes]:
  """Copies of an X-ray, each changed in its own way.

  Args:
    image_bytes: a JPEG, PNG or BMP file.
    size: of the copies: that of the network image, so that the network sees them as they are.
    cfg: the largest changes.
    count: number of copies.
    seed: of the changes.

  Returns:
    PNG files of 16 bits, of that size.
  """
  images = _changed(size, cfg, count)(tf.constant(image_bytes), seeds.tensor(seed, 'rescan'))
  return [tf.io.encode_png(image).numpy() for image in images]


@functools.lru_cache(maxsize=2)
def _changed(size: InputConfig, cfg: AugmentConfig, count: int):
  """A compiled function of file and seed, to uint16 [count, H, W, 1]."""
  @tf.function
  def change(image_bytes, seed):
    image, _ = preprocess.encode(image_bytes, size)
    nowhere = tf.zeros([count, 1, 2])
    images, _ = augment.apply(tf.repeat(image[None], count, 0), nowhere, seed, cfg)
    low, high = (reduce(images, [1, 2, 3], keepdims=True) for reduce in (tf.reduce_min, tf.reduce_max))
    return tf.cast(np.iinfo(np.uint16).max * (images - low) / tf.maximum(high - low, 1e-6), tf.uint16)
  return change
