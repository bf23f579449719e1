import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.config import Experiment
from ceph_tf.models import features, folding, unet
from ceph_tf.overrides import override

DROPOUT = ['model.dropout_rate=0.5', 'model.dropout_at=down1,up0']
LANDMARKS = ['model.landmarks=4', 'model.stem_stride=1', 'model.dropout_rate=0.5', 'model.dropout_at=down2']
MEMBERS = ['model.members=3', 'model.members_at=down2,up1,up0']
FLIPOUT = ['model.variational_at=down2,up0', 'model.posterior_scale=0.5']


def built(*fields):
  cfg = override(override(Experiment(), ['model.filters=4,8,8']).network,
                 ['input.height=32', 'input.width=32', *fields])
  network = unet.build(cfg.model, cfg.input, 3, 'float32', seed=1)
  rng = seeds.rng(0, 'weights')
  for layer in network.model.layers:  # statistics as after a training, not 0 and 1
    layer.set_weights([
        rng.uniform(0.5, 2, w.shape) if 'norm' in layer.name or 'member' in layer.name
        or 'landmark' in layer.name
        else w + rng.normal(0, 0.1, w.shape)
        for w in layer.get_weights()])
  return network, cfg


@pytest.mark.parametrize('fields', [
    [], DROPOUT, ['model.stem_stride=1', 'model.convs=1'], ['model.norm=none'],
    ['model.dropout_rate=0.5', 'model.dropout_at=down0,up1'], FLIPOUT, ['model.head=gaussian', *DROPOUT],
    [*FLIPOUT, *DROPOUT],
    ['model.variational_at=down0,up1', 'model.variational_kind=reparameterization'], MEMBERS,
    LANDMARKS, [*MEMBERS, 'model.convs=1'], [*MEMBERS, *DROPOUT], [*MEMBERS, *FLIPOUT]])
def test_heatmaps_and_features_stay_the_same(fields):
  network, cfg = built(*fields)
  folded = folding.fold(network, cfg.model, cfg.input, 3, 'float32')
  normed = {layer.name.partition('_norm')[0] for layer in folded.model.layers if 'norm' in layer.name}
  assert normed == set(cfg.model.variational_at)
  images = tf.random.stateless_normal([2, 32, 32, cfg.model.channels], [1, 2])
  seen = [images, tf.constant([[1], [3]])] if cfg.model.landmarks else [images]
  noise = unet.draw_noise(seeds.tensor(0, 'noise'), 1 if cfg.model.variational_at else 2, cfg.model)
  expected = unet.run(network, seen, noise, training=False).numpy()
  np.testing.assert_allclose(unet.run(folded, seen, noise, training=False), expected,
                             rtol=1e-4, atol=1e-5 * np.abs(expected).max())
  if not cfg.model.landmarks:  # of whole images only
    vectors = [features.encode(features.encoder(one, cfg.model), images, cfg.model)[0]
               for one in (network, folded)]
    np.testing.assert_allclose(*vectors, rtol=1e-4)
  halves = folded.head([*unet.features(folded, seen), *noise], training=False)
  np.testing.assert_allclose(halves, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_a_network_with_another_norm_is_left_alone():
  network, cfg = built('model.norm=group')
  assert folding.fold(network, cfg.model, cfg.input, 3, 'float32') is network


def test_what_skips_bring_is_the_same_for_all_members():
  network, cfg = built(*MEMBERS)
  folded = folding.fold(network, cfg.model, cfg.input, 3, 'float32')
  trunk = {layer.name for layer in folded.trunk.layers}
  assert {'up1_conv0_skip', 'up0_conv0_skip', 'down1_relu1'} <= trunk
  assert not any('member' in name or name.startswith('down2') for name in trunk)


def test_what_skips_bring_to_a_variational_block_is_not_split():
  network, cfg = built(*FLIPOUT)
  folded = folding.fold(network, cfg.model, cfg.input, 3, 'float32')
  names = {layer.name for layer in folded.model.layers}
  assert {'up1_conv0_skip', 'up1_conv0_up', 'up0_conv0'} <= names and 'up0_conv0_skip' not in names
  trunk = {layer.name for layer in folded.trunk.layers}
  assert 'down1_relu1' in trunk and not any(name.startswith('down2') for name in trunk)


def test_what_comes_before_dropout_is_the_same_for_all_passes_of_a_landmark():
  network, cfg = built(*LANDMARKS)
  folded = folding.fold(network, cfg.model, cfg.input, 3, 'float32')
  trunk = {layer.name for layer in folded.trunk.layers}
  assert {'up1_conv0_skip', 'up0_conv0_skip', 'down1_landmark1', 'down1_relu1'} <= trunk
  images = tf.ones([2, 32, 32, cfg.model.channels])
  answers = [unet.run(folded, [images, tf.fill([2, 1], k)], unet.no_noise(cfg.model), training=False).numpy()
             for k in range(4)]
  assert all(not np.allclose(answers[0], other, rtol=1e-2) for other in answers[1:])
