"""What a U-Net's encoder makes of a whole image: one vector, from one pass without noise."""

import keras
import tensorflow as tf

from ceph_tf.config import ModelConfig
from ceph_tf.models import unet

_LEVELS = 2  # the coarsest ones


def encoder(network: unet.Network, cfg: ModelConfig) -> keras.Model:
  """The part of a network above its bottleneck, with the network's own weights.

  Takes what `network.model` takes; answers with the activations of the last convolution of
  each of the two coarsest levels, [B, h, w, C] each, and behind them with what `network.trunk` does.
  """
  levels = len(cfg.filters)
  last = [f'down{level}_relu{cfg.convs - 1}' for level in range(levels)[-_LEVELS:]]
  return keras.Model(network.model.inputs, [*(network.model.get_layer(name).output for name in last),
                                            *network.trunk.outputs], name='encoder')


def width(encoder_model: keras.Model) -> int:
  """F, the length of the vector of `encode`."""
  return sum(output.shape[-1] for output in encoder_model.outputs[:_LEVELS])


def encode(encoder_model: keras.Model, images: tf.Tensor,
           cfg: ModelConfig) -> tuple[tf.Tensor, list[tf.Tensor]]:
  """Network images [B, H, W, 1] to means over all positions, float32 [B, F], and to the trunk's features."""
  noise = unet.no_noise(cfg)
  found = encoder_model([images, *noise] if noise else images, training=False)
  means = [tf.reduce_mean(tf.cast(activation, tf.float32), [1, 2]) for activation in found[:_LEVELS]]
  return tf.concat(means, -1), found[_LEVELS:]
