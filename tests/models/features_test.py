"""Encoder features: which layers, without noise, with the network's own weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ceph_tf.config import InputConfig, ModelConfig
from ceph_tf.models import features, unet

INPUT = InputConfig(height=32, width=16)
BASELINE = ModelConfig(filters=(4, 6, 10), convs=2, stem_stride=1)
DROPOUT = ModelConfig(filters=(4, 6, 10), convs=2, stem_stride=1, dropout_rate=0.5,
                      dropout_at=('down0', 'down1', 'down2', 'up0'))
CONFIGS = pytest.mark.parametrize('cfg', [BASELINE, DROPOUT], ids=['baseline', 'dropout'])


def built(cfg, precision='float32', seed=3):
  return unet.build(cfg, INPUT, 2, precision, seed)


def pooled(network, cfg, images):
  return features.encode(features.encoder(network, cfg), images, cfg)[0].numpy()


def images(count=3):
  return tf.constant(np.random.default_rng(0).normal(size=(count, 32, 16, 1)), tf.float32)


@CONFIGS
@pytest.mark.parametrize('precision', ['float32', 'mixed_bfloat16'])
def test_one_float32_vector_per_image_from_the_two_coarsest_levels(cfg, precision):
  found = pooled(built(cfg, precision), cfg, images())
  assert found.shape == (3, 6 + 10) and found.dtype == np.float32
  assert np.isfinite(found).all() and found.min() >= 0 and found.std(0).max() > 0


def test_features_are_the_means_of_the_last_activations():
  network = built(BASELINE)
  for level, part in ((1, slice(0, 6)), (2, slice(6, 16))):
    layer = network.model.get_layer(f'down{level}_relu1').output
    activations = keras.Model(network.model.inputs, layer)(images(), training=False).numpy()
    assert activations.shape[1:3] == (32 >> level, 16 >> level)
    np.testing.assert_allclose(pooled(network, BASELINE, images())[:, part], activations.mean((1, 2)),
                               rtol=1e-4, atol=1e-5)


def test_a_network_with_dropout_has_the_features_of_the_same_network_without():
  np.testing.assert_allclose(pooled(built(DROPOUT), DROPOUT, images()),
                             pooled(built(BASELINE), BASELINE, images()), rtol=1e-5, atol=1e-6)


def test_features_do_not_change_between_calls():
  network = built(DROPOUT)
  np.testing.assert_array_equal(pooled(network, DROPOUT, images()), pooled(network, DROPOUT, images()))


@CONFIGS
def test_features_do_not_depend_on_the_other_images_of_a_batch(cfg):
  network = built(cfg)
  together = pooled(network, cfg, images())
  for i in range(3):
    np.testing.assert_allclose(pooled(network, cfg, images()[i:i + 1])[0], together[i], rtol=1e-4, atol=1e-5)
  assert np.abs(together[0] - together[1]).max() > 1e-3


def test_the_encoder_shares_the_weights_of_its_network():
  network = built(BASELINE)
  encoder = features.encoder(network, BASELINE)
  before = features.encode(encoder, images(), BASELINE)[0].numpy()
  other = built(BASELINE, seed=4)
  network.model.set_weights(other.model.get_weights())
  after = features.encode(encoder, images(), BASELINE)[0].numpy()
  assert np.abs(after - before).max() > 1e-2
  np.testing.assert_allclose(after, pooled(other, BASELINE, images()), rtol=1e-5, atol=1e-6)


def test_the_encoder_ends_at_the_bottleneck():
  network = built(BASELINE)
  names = {layer.name for layer in features.encoder(network, BASELINE).layers}
  assert 'down2_relu1' in names and not any(name.startswith('up') for name in names)


@CONFIGS
def test_behind_the_vector_comes_what_the_trunk_makes_of_the_images(cfg):
  network = built(cfg)
  encoder = features.encoder(network, cfg)
  vector, trunk = features.encode(encoder, images(), cfg)
  assert vector.shape[-1] == features.width(encoder)
  expected = network.trunk(images(), training=False)
  expected = expected if isinstance(expected, list) else [expected]
  for found, one in zip(trunk, expected, strict=True):
    np.testing.assert_allclose(found, one, rtol=1e-5, atol=1e-6)
