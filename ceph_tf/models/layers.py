"""Layers that take noise: channel masks, gains of one's own, and convolutions with drawn kernels.

A variational convolution owns a normal distribution of each entry of its kernel. Layers of tfp.layers
are Keras 2 layers, whose weights a Keras 3 model does not see: here a Keras 3 layer owns the weights and
hands a tfp layer, made anew in every call, distributions built of them. The bias is an ordinary weight.

What is random of them comes from `seeds`, int32 [R or 1, 3]: two numbers that seed the kernels, and 1,
or 0 for the mean of every kernel. A batch has one draw of the kernels, that of the first row.
"""

import math

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from keras import layers

from ceph_tf import seeds as seeding

tfd = tfp.distributions
_CEPH_TF = keras.saving.register_keras_serializable('ceph_tf')  # so that a `.keras` file finds them


@_CEPH_TF
class ChannelMask(layers.Layer):
  """Multiplies features [B, h, w, C] by channels `begin:begin+C` of masks [B or 1, N]."""

  def __init__(self, begin: int, **kwargs):
    super().__init__(**kwargs)
    self.begin = begin

  def call(self, features, masks):
    channels = features.shape[-1]
    mask = keras.ops.cast(masks[:, self.begin:self.begin + channels], features.dtype)
    return features * mask[:, None, None, :]

  def compute_output_shape(self, features_shape, masks_shape):
    return features_shape

  def get_config(self):
    return {**super().get_config(), 'begin': self.begin}


@_CEPH_TF
class OwnAffine(layers.Layer):
  """Features [B, h, w, C] times a gain plus an offset per channel, one of K pairs of them.

  The rows of `which`, int32 [B or 1, 1], choose. It stands where a normalization has no gain and
  offset: K members are one network with K of these (FiLM-Ensemble, Turkoglu et al., NeurIPS 2022), and
  a network of crops is told by them which of K landmarks it sees (FiLM, Perez et al., AAAI 2018).

  Args:
    count: their number K.
    spread: initial gains are uniform in 1 - spread .. 1 + spread, which is what tells them apart.
      Initial offsets are 0.
    seed: of the initial gains.
  """

  def __init__(self, count: int, spread: float, seed: int, **kwargs):
    super().__init__(**kwargs)
    self.count, self.spread, self.seed = count, spread, seed

  def build(self, features_shape, which_shape=None):
    shape = (self.count, features_shape[-1])
    gains = keras.initializers.RandomUniform(1 - self.spread, 1 + self.spread, self.seed)
    self.gain = self.add_weight(shape=shape, initializer=gains, name='gain')
    self.offset = self.add_weight(shape=shape, initializer='zeros', name='offset')

  def call(self, features, which):
    def chosen(weight):
      rows = tf.gather(tf.cast(weight, features.dtype), which[:, 0])
      return rows[:, None, None, :]
    return features * chosen(self.gain) + chosen(self.offset)

  def compute_output_shape(self, features_shape, which_shape=None):
    return features_shape

  def get_config(self):
    return {**super().get_config(), 'count': self.count, 'spread': self.spread, 'seed': self.seed}


@_CEPH_TF
class Conv2DReparameterization(layers.Layer):
  """A convolution with one kernel per call, drawn from its posterior (Kingma & Welling, ICLR 2014).

  (features [B, h, w, C], seeds) -> [B, h, w, filters]; stride 1, borders padded with zeros.

  Args:
    filters: number of output channels.
    kernel_size: height and width of the kernel.
    prior_scale, posterior_scale: standard deviations of the prior, whose mean is 0, and of the posterior
      before training. They are in units of He's sqrt(2 / fan in), so that one number fits layers of any
      width: drawn by He's rule, initial means are a draw from a prior of scale 1. A posterior of scale 0
      is a point and stays one: the layer is an ordinary convolution, and its divergence counts as 0.
    kernel_initializer: of the posterior's means.
  """

  def __init__(self, filters: int, kernel_size: int, prior_scale: float = 1.0, posterior_scale: float = 0.1,
               kernel_initializer='he_normal', **kwargs):
    super().__init__(**kwargs)
    self.filters, self.kernel_size = filters, kernel_size
    self.prior_scale, self.posterior_scale = prior_scale, posterior_scale
    self.kernel_initializer = keras.initializers.get(kernel_initializer)

  def build(self, features_shape, seeds_shape=None):
    shape = (self.kernel_size, self.kernel_size, features_shape[-1], self.filters)
    self.he_scale = math.sqrt(2 / (self.kernel_size**2 * features_shape[-1]))
    # Not rounded to bfloat16 before the scale times the noise is added.
    self.kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name='kernel',
                                  autocast=False)
    self.raw_scale = None
    if self.posterior_scale:
      raw = float(tfp.math.softplus_inverse(self.posterior_scale * self.he_scale))
      self.raw_scale = self.add_weight(shape=shape, initializer=keras.initializers.Constant(raw),
                                       name='raw_scale', autocast=False)
    self.bias = self.add_weight(shape=(self.filters,), initializer='zeros', name='bias')

  def posterior(self) -> tfd.Distribution:
    """The distribution of the kernel [k, k, C, filters], float32."""
    mean = tf.convert_to_tensor(self.kernel.value)
    scale = tf.zeros_like(mean) if self.raw_scale is None else tf.nn.softplus(self.raw_scale.value)
    return tfd.Independent(tfd.Normal(mean, scale), 4)

  def kl_nats(self) -> tf.Tensor:
    """The divergence of the posterior from the prior, summed over the kernel, scalar float32."""
    if self.raw_scale is None:
      return tf.constant(0.0)
    prior = tfd.Normal(tf.zeros(self.kernel.shape), self.prior_scale * self.he_scale)
    return tfd.kl_divergence(self.posterior(), tfd.Independent(prior, 4))

  def call(self, features, seeds):
    return self._convolve(tfp.layers.Convolution2DReparameterization, features, seeds)

  def _convolve(self, kind: type, features, seeds, **kwargs):
    """What a tfp layer of a kind makes of features, with this layer's weights and a kernel of `seeds`."""
    seed, drawn = self._seed(seeds, 'kernel'), tf.cast(seeds[0, 2], self.compute_dtype)

    def kernel_posterior(dtype, *_):
      normal = self.posterior().distribution
      return tfd.Independent(
          tfd.Normal(tf.cast(normal.loc, dtype), tf.cast(normal.scale, dtype) * drawn), 4)

    def bias_posterior(dtype, *_):
      return tfd.Independent(tfd.Deterministic(tf.cast(self.bias.value, dtype)), 1)

    layer = kind(
        self.filters, self.kernel_size, padding='same', dtype=self.compute_dtype,
        kernel_posterior_fn=kernel_posterior, kernel_posterior_tensor_fn=lambda q: q.sample(seed=seed),
        kernel_prior_fn=None, kernel_divergence_fn=None,
        bias_posterior_fn=bias_posterior, bias_divergence_fn=None, **kwargs)
    layer.build(features.shape)
    return layer.call(features)

  def _seed(self, seeds, use: str) -> tf.Tensor:
    """An int32 [2] seed from the first row: another one for each layer and use."""
    return seeding.fold_in(seeds[0, :2], seeding.derive(0, self.name, use))

  def compute_output_shape(self, features_shape, seeds_shape=None):
    return (*features_shape[:-1], self.filters)

  def get_config(self):
    return {**super().get_config(), 'filters': self.filters, 'kernel_size': self.kernel_size,
            'prior_scale': self.prior_scale, 'posterior_scale': self.posterior_scale,
            'kernel_initializer': keras.initializers.serialize(self.kernel_initializer)}


class _SeededFlipout(tfp.layers.Convolution2DFlipout):
  """tfp's layer, but its signs are functions of a seed; tfp's own are drawn from a hidden state."""

  def __init__(self, *args, sign_seed: tf.Tensor, **kwargs):
    super().__init__(*args, **kwargs)
    self.sign_seed = sign_seed

  def _apply_variational_kernel(self, inputs):
    normal = self.kernel_posterior.distribution
    self.kernel_posterior_tensor = None  # tfp's `call` asks for it, though here as there nothing uses it
    deviation = self.kernel_posterior_tensor_fn(tfd.Normal(tf.zeros_like(normal.loc), normal.scale))
    channels = inputs.shape[-1]
    signs = tfp.random.rademacher([tf.shape(inputs)[0], 1, 1, channels + self.filters],
                                  dtype=inputs.dtype, seed=self.sign_seed)
    deviating = self._convolution_op(inputs * signs[..., :channels], deviation) * signs[..., channels:]
    return self._convolution_op(inputs, normal.loc) + deviating


@_CEPH_TF
class Conv2DFlipout(Conv2DReparameterization):
  """The same, trained by Flipout (Wen et al., ICLR 2018).

  In training each image of a batch turns signs of the drawn deviation from the mean kernel, as if it had
  a kernel of its own, so that gradients of a batch vary less. Signs do not change the distribution of a
  kernel. Outside of training a batch has one network, and so one kernel and no signs: the answer for an
  image does not depend on where it stands, and one convolution suffices.
  """

  def call(self, features, seeds, training=False):
    if not training:
      return super().call(features, seeds)
    return self._convolve(_SeededFlipout, features, seeds, sign_seed=self._seed(seeds, 'signs'))


def kl_nats(model: keras.Model) -> tf.Tensor:
  """The divergence of all posteriors of a model from their priors, scalar float32."""
  variational = [layer for layer in model.layers if isinstance(layer, Conv2DReparameterization)]
  return tf.add_n([tf.constant(0.0), *(layer.kl_nats() for layer in variational)])
