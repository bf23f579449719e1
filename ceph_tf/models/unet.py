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
from ceph_tf.models import spread


class Network(typing.NamedTuple):
  """A U-Net and its two halves, which share its weights.

  Attributes:
    model: (image [B, H, W, 1], noise [B or 1, N]) -> float32 [B, h, w, L], of a gaussian
      head [B, h, w, 4 L] (see `spread.split`). Without dropout N is 0 and the model takes the
      image alone.
    trunk: image -> list of features: all that comes before the first noise.
    head: features and noise -> what `model` answers. Without dropout: None.
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

  def __init__(self, cfg: ModelConfig, precision: str, seed: int, noise, fused: bool):
    self.cfg, self.precision, self.seed, self.noise, self.fused = cfg, precision, seed, noise, fused
    self.begin = 0
    self.masked_from: list[str] = []

  def conv(self, x, filters, size, name, strides=1, dtype=None, kind=layers.Conv2D, use_bias=True):
    return kind(
        filters, size, strides=strides, padding='same', name=name, dtype=dtype or self.precision,
        kernel_initializer=keras.initializers.HeNormal(seeds.derive(self.seed, name)), use_bias=use_bias,
    )(x)

  def normalize(self, x, name):
    if self.cfg.norm == 'none':
      return x
    if self.cfg.norm == 'group':
      return layers.GroupNormalization(min(8, x.shape[-1]), name=name, dtype=self.precision)(x)
    return layers.BatchNormalization(momentum=0.95, name=name, dtype=self.precision)(x)

  def relu(self, x, name):
    return layers.Activation('relu', name=name, dtype=self.precision)(x)

  def skip(self, x, level):
    """What of a down block goes to the up block of its level."""
    if not self.fused:
      return x
    return self.conv(x, self.cfg.filters[level], 3, f'up{level}_conv0_skip', use_bias=False)

  def up(self, x, skip, level):
    """Enlarges x twice, joins it with a `skip`, and goes through the up block."""
    filters, name, dtype = self.cfg.filters[level], f'up{level}', self.precision
    if not self.fused:
      x = layers.UpSampling2D(name=f'upsample{level}', dtype=dtype)(x)
      x = layers.Concatenate(name=f'concat{level}', dtype=dtype)([x, skip])
      return self.block(x, filters, name)
    x = self.conv(x, filters, 4, f'{name}_conv0_up', strides=2, kind=layers.Conv2DTranspose)
    x = self.relu(layers.Add(name=f'{name}_add', dtype=dtype)([x, skip]), f'{name}_relu0')
    return self.block(x, filters, name, begin=1)

  def block(self, x, filters, name, begin=0):
    for i in range(begin, self.cfg.convs):
      x = self.conv(x, filters, 3, f'{name}_conv{i}')
      x = self.normalize(x, f'{name}_norm{i}')
      x = self.relu(x, f'{name}_relu{i}')
    if self.cfg.dropout_rate and name in self.cfg.dropout_at:
      mask = ChannelMask(self.begin, name=f'{name}_mask', dtype=self.precision)
      self.begin += filters
      x = mask(x, self.noise)
    return x

  def output(self, x, num_landmarks):
    """The last features as heatmaps, and behind them what a gaussian head adds."""
    heatmaps = self.conv(x, num_landmarks, 1, 'heatmaps', dtype='float32')
    if self.cfg.head != 'gaussian':
      return heatmaps
    numbers = self.conv(x, spread.NUMBERS * num_landmarks, 1, 'spread', dtype='float32')
    return layers.Concatenate(name='output', dtype='float32')([heatmaps, numbers])


def noise_channels(cfg: ModelConfig) -> int:
  """The number of channels that the dropout blocks of a network mask together."""
  if not cfg.dropout_rate:
    return 0
  widths = {f'down{i}': width for i, width in enumerate(cfg.filters)}
  widths |= {f'up{i}': width for i, width in enumerate(cfg.filters[:-1])}
  return sum(widths[block] for block in set(cfg.dropout_at))


def build(cfg: ModelConfig, input_cfg: InputConfig, num_landmarks: int, precision: str,
          seed: int, fused: bool = False) -> Network:
  """Builds a U-Net with freshly drawn weights.

  Args:
    cfg: width, depth, norm, dropout.
    input_cfg: size of the network image.
    num_landmarks: number of heatmaps L.
    precision: Keras dtype policy of all but the last layers, which are float32.
    seed: of the initial weights; the same seed gives the same weights.
    fused: the arrangement for inference that `folding.fold` fills: up blocks begin with two
      convolutions and a sum, so that what skips bring is part of the trunk.

  Returns:
    A `Network`.
  """
  image = keras.Input((input_cfg.height, input_cfg.width, 1), name='image')
  channels = noise_channels(cfg)
  noise = keras.Input((channels,), name='noise') if channels else None
  make = _Builder(cfg, precision, seed, noise, fused)

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
    if level < len(cfg.filters) - 1:
      skips.append(make.skip(x, level))
  if cut is None:
    cut = [*skips, x]
  for level in reversed(range(len(skips))):
    x = make.up(x, skips[level], level)
  output = make.output(x, num_landmarks)
  if not channels:
    return Network(keras.Model(image, output, name='unet'), None, None, 0)
  return Network(
      keras.Model([image, noise], output, name='unet'),
      keras.Model(image, cut, name='trunk'),
      keras.Model([*cut, noise], output, name='head'),
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
