import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.config import Experiment
from ceph_tf.models import features, folding, unet
from ceph_tf.overrides import override

DROPOUT = ['model.dropout_rate=0.5', 'model.dropout_at=down1,up0']


def built(*fields):
  cfg = override(Experiment(), ['input.height=32', 'input.width=32', 'model.filters=4,8,8', *fields])
  network = unet.build(cfg.model, cfg.input, 3, 'float32', seed=1)
  rng = seeds.rng(0, 'weights')
  for layer in network.model.layers:  # statistics as after a training, not 0 and 1
    layer.set_weights([
        rng.uniform(0.5, 2, w.shape) if 'norm' in layer.name else w + rng.normal(0, 0.1, w.shape)
        for w in layer.get_weights()])
  return network, cfg


@pytest.mark.parametrize('fields', [
    [], DROPOUT, ['model.stem_stride=1', 'model.convs=1'], ['model.norm=none'],
    ['model.dropout_rate=0.5', 'model.dropout_at=down0,up1'], ['model.head=gaussian', *DROPOUT]])
def test_heatmaps_and_features_stay_the_same(fields):
  network, cfg = built(*fields)
  folded = folding.fold(network, cfg.model, cfg.input, 3, 'float32')
  assert not [layer for layer in folded.model.layers if 'norm' in layer.name]
  images = tf.random.stateless_normal([2, 32, 32, 1], [1, 2])
  noise = unet.draw_noise(seeds.tensor(0, 'noise'), 2, cfg.model)
  expected = unet.run(network, images, noise, training=False).numpy()
  np.testing.assert_allclose(unet.run(folded, images, noise, training=False), expected,
                             rtol=1e-4, atol=1e-5 * np.abs(expected).max())
  vectors = [features.pooled(features.encoder(one, cfg.model), images, cfg.model)
             for one in (network, folded)]
  np.testing.assert_allclose(*vectors, rtol=1e-4)
  if folded.head:
    trunk = folded.trunk(images, training=False)
    halves = folded.head([*(trunk if isinstance(trunk, list) else [trunk]), noise], training=False)
    np.testing.assert_allclose(halves, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_a_network_with_another_norm_is_left_alone():
  network, cfg = built('model.norm=group')
  assert folding.fold(network, cfg.model, cfg.input, 3, 'float32') is network
