"""What a U-Net's encoder makes of a whole image: one vector, from one pass without noise."""

import keras
import tensorflow as tf

from ceph_tf.config import ModelConfig
from ceph_tf.models import unet


def encoder(network: unet.Network, cfg: ModelConfig) -> keras.Model:
  """The part of a network above its bottleneck, with the network's own weights.

  Takes what `network.model` takes; answers with the activations of the last convolution of
  each of the two coarsest levels, [B, h, w, C] each.
  """
  levels = len(cfg.filters)
  last = [f'down{level}_relu{cfg.convs - 1}' for level in range(levels)[-2:]]
  return keras.Model(network.model.inputs, [network.model.get_layer(name).output for name in last],
                     name='encoder')


def pooled(encoder_model: keras.Model, images: tf.Tensor, cfg: ModelConfig) -> tf.Tensor:
  """Means over all positions, float32 [B, F], of network images [B, H, W, 1]."""
  noise = unet.no_noise(cfg)
  activations = encoder_model([images, *noise] if noise else images, training=False)
  return tf.concat([tf.reduce_mean(tf.cast(a, tf.float32), [1, 2]) for a in activations], -1)
