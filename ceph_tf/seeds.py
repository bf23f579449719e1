"""Seeds are data: derived from names, never from hidden state.

A seed is an integer in [0, 2**31) on the Python side and an int32 pair (the form
of `tf.random.stateless_*`) on the TensorFlow side. A path of names and numbers
gives each use its own independent seed: `derive(seed, 'augment', step)`.
"""

import hashlib

import numpy as np
import tensorflow as tf


def _words(seed: int, path: tuple) -> np.ndarray:
  text = '/'.join([str(int(seed)), *(f'{type(part).__name__}:{part}' for part in path)])
  return np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint32)


def derive(seed: int, *path: str | int) -> int:
  """A seed in [0, 2**31) that depends on `seed` and every element of `path`."""
  return int(_words(seed, path)[0] >> 1)


def rng(seed: int, *path: str | int) -> np.random.Generator:
  """A numpy generator of its own for this seed and path."""
  return np.random.default_rng(_words(seed, path))


def tensor(seed: int, *path: str | int) -> tf.Tensor:
  """An int32 [2] seed for `tf.random.stateless_*`."""
  return tf.constant((_words(seed, path)[:2] >> 1).astype(np.int32))


def fold_in(seed: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
  """An int32 [2] seed from a seed and a number, inside a graph."""
  return tf.random.experimental.stateless_fold_in(seed, number)


def split(seed: tf.Tensor, num: int) -> list[tf.Tensor]:
  """`num` independent int32 [2] seeds."""
  return tf.unstack(tf.random.experimental.stateless_split(seed, num), num)
