"""Weights as a SavedModel keeps them: 16 bits each, which halves what is stored, pushed and downloaded.

Networks calculate with them in their own precision. Rounding changes a weight by at most 1 / 2048 of it, or
by 3e-8 where it is below 6e-5. Running statistics stay as they are: they are few, and may be of any size.
"""

from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

_LARGEST = float(np.finfo(np.float16).max)


def check(weights: Iterable[keras.Variable]) -> None:
  """Raises ValueError for a weight that float16 cannot hold."""
  for weight in weights:
    largest = np.max(np.abs(weight.numpy()), initial=0.0)
    if not largest <= _LARGEST:
      raise ValueError(f'weight {weight.path} is {largest:g}: allowed is at most {_LARGEST:g}')


class HalfWeights:
  """float16 copies of what some networks were taught, which take their places within `scope`."""

  def __init__(self, models: Sequence[keras.Model]):
    """Copies them.

    Raises:
      ValueError: a weight that float16 cannot hold.
    """
    weights = {id(weight): weight for model in models for weight in model.trainable_variables}.values()
    check(weights)
    self._copies = [(weight, tf.Variable(tf.cast(weight.value, tf.float16), trainable=False))
                    for weight in weights]

  def scope(self) -> keras.StatelessScope:
    """Within it networks run with the copies."""
    return keras.StatelessScope(
        [(weight, tf.cast(copy, weight.dtype)) for weight, copy in self._copies])
