"""The U-Net (Ronneberger et al., MICCAI 2015), built functionally.

The network is a deterministic function of the image and of its noise: every
channel dropout multiplies by a mask that is an input, and every variational
convolution draws its kernel with seeds that are an input, so whoever calls the
network decides what is random, with which seed, and whether two images share it.

A network of crops also takes, as what it sees, which landmark it looks for: `landmark`, int32 [B, 1].

Noise is a list of what a network needs, in this order; each has a row per image, or one for all:

- with dropout, `masks`, float32 [R, N], a factor of each channel of each dropout block;
- with variational blocks, `seeds`, int32 [R, 3], see `models.layers`;
- with members, `member`, int32 [R, 1], the number of the one that answers.
"""

import typing

import keras
import tensorflow as tf
from keras import layers

from ceph_tf import seeds
from ceph_tf.config import InputConfig, ModelConfig
from ceph_tf.models import spread
from ceph_tf.models.layers import ChannelMask, Conv2DFlipout, Conv2DReparameterization, OwnAffine

LANDMARK_SPREAD = 0.2  # of initial gains: enough to tell landmarks apart, and training does the rest
VARIATIONAL = {'flipout': Conv2DFlipout, 'reparameterization': Conv2DReparameterization}


class Network(typing.NamedTuple):
  """A U-Net and its two halves, which share its weights.

  Attributes:
    model: [image [B, H, W, C], *noise] -> float32 [B, h, w, L], of a gaussian head
      [B, h, w, 4 L] (see `spread.split`). Without noise it takes the image alone. That of crops is
      asked as [image, landmark, *noise].
    trunk: what `model` sees, without noise -> list of features: all that comes before the first
      noise, at most the encoder.
    head: [*features, *noise] -> what `model` answers.
  """

  model: keras.Model
  trunk: keras.Model
  head: keras.Model


class _Builder:
  """Layers with their names, precision and seeds; masks are numbered as they come."""

  def __init__(self, cfg: ModelConfig, precision: str, seed: int, landmark, noise: dict, fused: bool):
    self.cfg, self.precision, self.seed, self.fused = cfg, precision, seed, fused
    self.landmark, self.noise = landmark, noise
    self.begin = 0

  def conv(self, x, filters, size, name, strides=1, dtype=None, kind=layers.Conv2D, use_bias=True):
    return kind(
        filters, size, strides=strides, padding='same', name=name, dtype=dtype or self.precision,
        kernel_initializer=keras.initializers.HeNormal(seeds.derive(self.seed, name)), use_bias=use_bias,
    )(x)

  def block_conv(self, x, filters, block, i):
    """A convolution of a block, whose kernel is drawn where the block is variational."""
    cfg, name = self.cfg, f'{block}_conv{i}'
    if block not in cfg.variational_at:
      return self.conv(x, filters, 3, name)
    return VARIATIONAL[cfg.variational_kind](
        filters, 3, cfg.prior_scale, cfg.posterior_scale, name=name, dtype=self.precision,
        kernel_initializer=keras.initializers.HeNormal(seeds.derive(self.seed, name)),
    )(x, self.noise['seeds'])

  def normalize(self, x, block, i):
    # Else each member, or landmark, has a gain and an offset of its own.
    shared = block not in self.cfg.members_at and not self.cfg.landmarks
    options = {'name': f'{block}_norm{i}', 'dtype': self.precision, 'center': shared, 'scale': shared}
    # Folded into the convolution, but for drawn kernels: a factor may be negative, a scale may not.
    if self.cfg.norm == 'none' or self.fused and block not in self.cfg.variational_at:
      return x
    if self.cfg.norm == 'group':
      return layers.GroupNormalization(min(8, x.shape[-1]), **options)(x)
    return layers.BatchNormalization(momentum=0.95, **options)(x)

  def own(self, x, block, i):
    """What makes a normalization that of one member, in blocks where members differ, or landmark."""
    cfg = self.cfg
    if cfg.landmarks:
      kind, count, deviation, which = 'landmark', cfg.landmarks, LANDMARK_SPREAD, self.landmark
    elif block in cfg.members_at:
      kind, count, deviation, which = 'member', cfg.members, cfg.member_spread, self.noise['member']
    else:
      return x
    name = f'{block}_{kind}{i}'
    seed = seeds.derive(self.seed, name)
    return OwnAffine(count, deviation, seed, name=name, dtype=self.precision)(x, which)

  def relu(self, x, name):
    return layers.Activation('relu', name=name, dtype=self.precision)(x)

  def splits(self, level):
    """Is the first convolution of an up block two, of skip and rest? A drawn kernel stays whole."""
    return self.fused and f'up{level}' not in self.cfg.variational_at

  def skip(self, x, level):
    """What of a down block goes to the up block of its level."""
    if not self.splits(level):
      return x
    return self.conv(x, self.cfg.filters[level], 3, f'up{level}_conv0_skip')

  def up(self, x, skip, level):
    """Enlarges x twice, joins it with a `skip`, and goes through the up block."""
    filters, name, dtype = self.cfg.filters[level], f'up{level}', self.precision
    if not self.splits(level):
      x = layers.UpSampling2D(name=f'upsample{level}', dtype=dtype)(x)
      x = layers.Concatenate(name=f'concat{level}', dtype=dtype)([x, skip])
      return self.block(x, filters, name)
    # The bias is the skip's, where it costs nothing: passes share it, and there it is one operation with
    # the convolution.
    x = self.conv(x, filters, 4, f'{name}_conv0_up', strides=2, kind=layers.Conv2DTranspose, use_bias=False)
    x = layers.Add(name=f'{name}_add', dtype=dtype)([x, skip])
    x = self.relu(self.own(x, name, 0), f'{name}_relu0')
    return self.block(x, filters, name, begin=1)

  def block(self, x, filters, name, begin=0):
    for i in range(begin, self.cfg.convs):
      x = self.block_conv(x, filters, name, i)
      x = self.own(self.normalize(x, name, i), name, i)
      x = self.relu(x, f'{name}_relu{i}')
    if 'masks' in self.noise and name in self.cfg.dropout_at:
      mask = ChannelMask(self.begin, name=f'{name}_mask', dtype=self.precision)
      self.begin += filters
      x = mask(x, self.noise['masks'])
    return x

  def output(self, x, num_heatmaps):
    """The last features as heatmaps, and behind them what a gaussian head adds."""
    heatmaps = self.conv(x, num_heatmaps, 1, 'heatmaps', dtype='float32')
    if self.cfg.head != 'gaussian':
      return heatmaps
    seen = keras.ops.stop_gradient(x)
    if self.cfg.spread_gradient:
      seen = seen + self.cfg.spread_gradient * (x - seen)  # the same values
    numbers = self.conv(seen, spread.NUMBERS * num_heatmaps, 1, 'spread', dtype='float32')
    return layers.Concatenate(name='output', dtype='float32')([heatmaps, numbers])


def noise_inputs(cfg: ModelConfig) -> dict[str, tuple[int, str]]:
  """Width and dtype of each noise that a network needs, by name, in order."""
  channels = mask_channels(cfg)
  return (({'masks': (channels, 'float32')} if channels else {})
          | ({'seeds': (3, 'int32')} if cfg.variational_at else {})
          | ({'member': (1, 'int32')} if cfg.members else {}))


def noisy_blocks(cfg: ModelConfig) -> set[str]:
  """The blocks that take noise."""
  return {*cfg.variational_at, *cfg.members_at, *(cfg.dropout_at if cfg.dropout_rate else ())}


def mask_channels(cfg: ModelConfig) -> int:
  """The number of channels that the dropout blocks of a network mask together."""
  if not cfg.dropout_rate:
    return 0
  widths = {f'down{i}': width for i, width in enumerate(cfg.filters)}
  widths |= {f'up{i}': width for i, width in enumerate(cfg.filters[:-1])}
  return sum(widths[block] for block in set(cfg.dropout_at))


def build(cfg: ModelConfig, input_cfg: InputConfig, num_heatmaps: int, precision: str,
          seed: int, fused: bool = False) -> Network:
  """Builds a U-Net with freshly drawn weights.

  Args:
    cfg: width, depth, norm, dropout, variational blocks, members, landmarks.
    input_cfg: size of what it sees.
    num_heatmaps: their number L.
    precision: Keras dtype policy of all but the last layers, which are float32.
    seed: of the initial weights; the same seed gives the same weights.
    fused: the arrangement for inference that `folding.fold` fills: no batch normalization, and up
      blocks begin with two convolutions and a sum, so that what skips bring is part of the trunk.
      Variational blocks are as ever.

  Returns:
    A `Network`.
  """
  image = keras.Input((input_cfg.height, input_cfg.width, cfg.channels), name='image')
  noise = {name: keras.Input((width,), dtype=dtype, name=name)
           for name, (width, dtype) in noise_inputs(cfg).items()}
  seen = [image, keras.Input((1,), dtype='int32', name='landmark')] if cfg.landmarks else [image]
  make = _Builder(cfg, precision, seed, seen[-1], noise, fused)

  x = image
  if cfg.stem_stride > 1:
    x = make.conv(x, cfg.filters[0], 2 * cfg.stem_stride, 'stem', strides=cfg.stem_stride)
  skips, cut = [], None
  for level, filters in enumerate(cfg.filters):
    if level:
      x = layers.MaxPooling2D(name=f'pool{level}', dtype=precision)(x)
    if cut is None and f'down{level}' in noisy_blocks(cfg):
      cut = [*skips, x]  # the trunk ends where the first noisy block begins
    x = make.block(x, filters, f'down{level}')
    if level < len(cfg.filters) - 1:
      skips.append(make.skip(x, level))
  if cut is None:
    cut = [*skips, x]
  cut += seen[1:]  # the head is told, too
  for level in reversed(range(len(skips))):
    x = make.up(x, skips[level], level)
  output = make.output(x, num_heatmaps)
  return Network(
      keras.Model(bare([*seen, *noise.values()]), output, name='unet'),
      keras.Model(bare(seen), cut, name='trunk'),
      keras.Model([*cut, *noise.values()], output, name='head'),
  )


def draw_noise(seed: tf.Tensor, rows: int | tf.Tensor, cfg: ModelConfig) -> list[tf.Tensor]:
  """Independent noise of each row; of members, the first `rows`, in order.

  Args:
    seed: int32 [2].
    rows: number of rows R.
    cfg: which blocks need what.

  Returns:
    The noise of a network; masks are 0 with the dropout rate, else 1 / (1 - rate).
  """
  drawn = {}
  if channels := mask_channels(cfg):
    kept = tf.random.stateless_uniform([rows, channels], seed) >= cfg.dropout_rate
    drawn['masks'] = tf.cast(kept, tf.float32) / (1.0 - cfg.dropout_rate)
  if cfg.variational_at:
    words = tf.random.stateless_uniform([rows, 2], seeds.fold_in(seed, 1), 0, 2**31 - 1, tf.int32)
    drawn['seeds'] = tf.pad(words, [[0, 0], [0, 1]], constant_values=1)
  if cfg.members:
    drawn['member'] = tf.range(rows)[:, None]
  return [drawn[name] for name in noise_inputs(cfg)]


def training_noise(seed: tf.Tensor, rows: int | tf.Tensor, cfg: ModelConfig) -> list[tf.Tensor]:
  """Likewise for a batch of images, each of which trains a member drawn at random."""
  noise = draw_noise(seed, rows, cfg)
  if cfg.members:
    noise[-1] = tf.random.stateless_uniform([rows, 1], seeds.fold_in(seed, 2), 0, cfg.members, tf.int32)
  return noise


def no_noise(cfg: ModelConfig) -> list[tf.Tensor]:
  """One row that leaves every channel as it is, and every kernel at its mean; of members, the first."""
  quiet = {'masks': tf.ones, 'seeds': tf.zeros, 'member': tf.zeros}
  return [quiet[name]([1, width], dtype) for name, (width, dtype) in noise_inputs(cfg).items()]


def seen(batch: dict[str, tf.Tensor]) -> list[tf.Tensor]:
  """What a network sees of a batch of `data.input`."""
  return [batch[name] for name in ('image', 'landmark') if name in batch]


def bare(values: list):
  """A list of inputs as a Keras model takes it: one of them stands for itself."""
  return values if len(values) > 1 else values[0]


def run(network: Network, seen: list[tf.Tensor], noise: list[tf.Tensor], training: bool) -> tf.Tensor:
  """What a network sees, B rows of images [B, H, W, C] and perhaps landmarks, to float32 [B, h, w, L].

  `noise` has B rows, or one.
  """
  return network.model(bare([*seen, *noise]), training=training)


def features(network: Network, seen: list[tf.Tensor]) -> list[tf.Tensor]:
  """What the trunk makes of what a network sees."""
  found = network.trunk(bare(seen), training=False)
  return list(found) if isinstance(found, list | tuple) else [found]
