"""Batch normalization folded into the convolution before it, for a network that is no longer trained.

In inference a normalization is one factor and one offset per channel, which the convolution's
kernel and bias can hold (Jacob et al., CVPR 2018). The heatmaps are the same up to rounding.
"""

import dataclasses

import keras
import numpy as np

from ceph_tf.config import InputConfig, ModelConfig
from ceph_tf.models import unet


def fold(network: unet.Network, cfg: ModelConfig, input_cfg: InputConfig, num_landmarks: int,
         precision: str) -> unet.Network:
  """The same network without its batch normalizations.

  Args:
    network: built by `unet.build` from the other arguments, and trained.

  Returns:
    A new network of its own weights; `network` itself where there is nothing to fold.
  """
  if cfg.norm != 'batch':
    return network
  folded = unet.build(dataclasses.replace(cfg, norm='none'), input_cfg, num_landmarks, precision, seed=0)
  for layer in folded.model.layers:
    if isinstance(layer, keras.layers.Conv2D):
      layer.set_weights(_folded(network.model, layer.name))
  return folded


def _folded(model: keras.Model, name: str) -> list[np.ndarray]:
  """Kernel and bias of a convolution, and of the normalization of its number if there is one."""
  kernel, bias = model.get_layer(name).get_weights()
  norm_name = name.replace('_conv', '_norm')
  if norm_name == name:  # stem and heatmaps are not normalized
    return [kernel, bias]
  norm = model.get_layer(norm_name)
  gamma, beta, mean, variance = norm.get_weights()
  factor = gamma / np.sqrt(variance + norm.epsilon)
  return [kernel * factor, (bias - mean) * factor + beta]
