"""The U-Net (Ronneberger et al., MICCAI 2015), built functionally.

The network is a deterministic function of the image and of its noise: every
channel dropout multiplies by a mask that is an input, so whoever calls the
network decides what is random, with which seed, and whether two images share it.
"""

import typing

import keras
import tensorflow as tf
from keras import layers

from ceph_tf import seeds
from ceph_tf.config import InputConfig, ModelConfig


class Network(typing.NamedTuple):
  """A U-Net and its two halves, which share its weights.

  Attributes:
    model: (image [B, H, W, 1], noise [B or 1, N]) -> float32 [B, h, w, L]. Without
      dropout N is 0 and the model takes the image alone.
    trunk: image -> list of features: all that comes before the first noise.
    head: features and noise -> float32 [B, h, w, L]. Without dropout: None.
    noise_channels: N, the number of dropout masks' channels.
  """

  model: keras.Model
  trunk: keras.Model | None
  head: keras.Model | None
  noise_channels: int


class ChannelMask(layers.Layer):
  """Multiplies features [B, h, w, C] by channels `begin:begin+C` of noise [B or 1, N]."""

  def __init__(self, begin: int, **kwargs):
    super().__init__(**kwargs)
    self.begin = begin

  def call(self, features, noise):
    channels = features.shape[-1]
    mask = keras.ops.cast(noise[:, self.begin:self.begin + channels], features.dtype)
    return features * mask[:, None, None, :]

  def compute_output_shape(self, features_shape, noise_shape):
    return features_shape

  def get_config(self):
    return {**super().get_config(), 'begin': self.begin}


class _Builder:
  """Layers with their names, precision and seeds; masks are numbered as they come."""

  def __init__(self, cfg: ModelConfig, precision: str, seed: int, noise):
    self.cfg, self.precision, self.seed, self.noise = cfg, precision, seed, noise
    self.begin = 0
    self.masked_from: list[str] = []

  def conv(self, x, filters, size, name, strides=1, dtype=None):
    return layers.Conv2D(
        filters, size, strides=strides, padding='same', name=name, dtype=dtype or self.precision,
        kernel_initializer=keras.initializers.HeNormal(seeds.derive(self.seed, name)),
    )(x)

  def normalize(self, x, name):
    if self.cfg.norm == 'none':
      return x
    if self.cfg.norm == 'group':
      return layers.GroupNormalization(min(8, x.shape[-1]), name=name, dtype=self.precision)(x)
    return layers.BatchNormalization(momentum=0.95, name=name, dtype=self.precision)(x)

  def block(self, x, filters, name):
    for i in range(self.cfg.convs):
      x = self.conv(x, filters, 3, f'{name}_conv{i}')
      x = self.normalize(x, f'{name}_norm{i}')
      x = layers.Activation('relu', name=f'{name}_relu{i}', dtype=self.precision)(x)
    if self.cfg.dropout_rate and name in self.cfg.dropout_at:
      mask = ChannelMask(self.begin, name=f'{name}_mask', dtype=self.precision)
      self.begin += filters
      x = mask(x, self.noise)
    return x


def noise_channels(cfg: ModelConfig) -> int:
  """The number of channels that the dropout blocks of a network mask together."""
  if not cfg.dropout_rate:
    return 0
  widths = {f'down{i}': width for i, width in enumerate(cfg.filters)}
  widths |= {f'up{i}': width for i, width in enumerate(cfg.filters[:-1])}
  return sum(widths[block] for block in set(cfg.dropout_at))


def build(cfg: ModelConfig, input_cfg: InputConfig, num_landmarks: int, precision: str,
          seed: int) -> Network:
  """Builds a U-Net with freshly drawn weights.

  Args:
    cfg: width, depth, norm, dropout.
    input_cfg: size of the network image.
    num_landmarks: number of heatmaps L.
    precision: Keras dtype policy of all but the last layer, which is float32.
    seed: of the initial weights; the same seed gives the same weights.

  Returns:
    A `Network`.
  """
  image = keras.Input((input_cfg.height, input_cfg.width, 1), name='image')
  channels = noise_channels(cfg)
  noise = keras.Input((channels,), name='noise') if channels else None
  make = _Builder(cfg, precision, seed, noise)

  x = image
  if cfg.stem_stride > 1:
    x = make.conv(x, cfg.filters[0], 2 * cfg.stem_stride, 'stem', strides=cfg.stem_stride)
  skips, cut = [], None
  for level, filters in enumerate(cfg.filters):
    if level:
      x = layers.MaxPooling2D(name=f'pool{level}', dtype=precision)(x)
    if cut is None and f'down{level}' in cfg.dropout_at and channels:
      cut = [*skips, x]  # the trunk ends where the first masked block begins
    x = make.block(x, filters, f'down{level}')
    skips.append(x)
  skips.pop()
  if cut is None:
    cut = [*skips, x]
  for level in reversed(range(len(skips))):
    x = layers.UpSampling2D(name=f'upsample{level}', dtype=precision)(x)
    x = layers.Concatenate(name=f'concat{level}', dtype=precision)([x, skips[level]])
    x = make.block(x, cfg.filters[level], f'up{level}')
  heatmaps = make.conv(x, num_landmarks, 1, 'heatmaps', dtype='float32')
  if not channels:
    return Network(keras.Model(image, heatmaps, name='unet'), None, None, 0)
  return Network(
      keras.Model([image, noise], heatmaps, name='unet'),
      keras.Model(image, cut, name='trunk'),
      keras.Model([*cut, noise], heatmaps, name='head'),
      channels,
  )


def draw_noise(seed: tf.Tensor, rows: int | tf.Tensor, cfg: ModelConfig) -> tf.Tensor:
  """Channel dropout masks: 0 with the dropout rate, else 1 / (1 - rate).

  Args:
    seed: int32 [2].
    rows: number of independent masks.
    cfg: dropout rate and blocks.

  Returns:
    float32 [rows, N]; N is 0 for a network without dropout.
  """
  kept = tf.random.stateless_uniform([rows, noise_channels(cfg)], seed) >= cfg.dropout_rate
  return tf.cast(kept, tf.float32) / (1.0 - cfg.dropout_rate)


def no_noise(cfg: ModelConfig) -> tf.Tensor:
  """The masks [1, N] that leave every channel as it is."""
  return tf.ones([1, noise_channels(cfg)])


def run(network: Network, images: tf.Tensor, noise: tf.Tensor, training: bool) -> tf.Tensor:
  """Images [B, H, W, 1] under masks [B or 1, N] to float32 [B, h, w, L]."""
  inputs = [images, noise] if network.noise_channels else images
  return network.model(inputs, training=training)
