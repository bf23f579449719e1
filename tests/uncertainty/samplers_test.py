import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.config import Experiment, SamplerConfig
from ceph_tf.models import heatmaps, unet
from ceph_tf.overrides import override
from ceph_tf.uncertainty import samplers

CFG = override(Experiment(), ['input.height=32', 'input.width=32', 'model.filters=4,8,8', 'model.norm=group',
                              'train.precision=float32', 'model.dropout_rate=0.5',
                              'model.dropout_at=down1,up0']).network
PLAIN = override(Experiment(), ['input.height=32', 'input.width=32', 'model.filters=4,8,8',
                                'train.precision=float32']).network
FLIPOUT = override(Experiment(), ['input.height=32', 'input.width=32', 'model.filters=4,8,8',
                                  'model.norm=group', 'train.precision=float32',
                                  'model.variational_at=down2,up0', 'model.posterior_scale=0.5']).network
MEMBERS = override(Experiment(), ['input.height=32', 'input.width=32', 'model.filters=4,8,8',
                                  'train.precision=float32', 'model.members=4',
                                  'model.members_at=down2,up0']).network
NOISY = pytest.mark.parametrize('cfg', [CFG, FLIPOUT], ids=['dropout', 'flipout'])
ANY = pytest.mark.parametrize('cfg', [CFG, FLIPOUT, MEMBERS], ids=['dropout', 'flipout', 'members'])


def images(batch=3, seed=0):
  return tf.constant(np.random.default_rng(seed).normal(size=(batch, 32, 32, 1)), tf.float32)


def network(cfg, seed=0):
  return unet.build(cfg.model, cfg.input, 5, 'float32', seed)


def draw(cfg, sampler, batch, networks=None, seed=7):
  return samplers.draw(networks or [network(cfg)], [batch], cfg, sampler, seeds.tensor(seed))


def test_shapes():
  drawn = draw(CFG, SamplerConfig('passes', 6, chunk=2), images())
  assert drawn.points_px.shape == (6, 3, 5, 2)
  assert drawn.peak.shape == drawn.entropy_nats.shape == drawn.expected_radius_px.shape == (6, 3, 5)
  assert drawn.covariance_px2.shape == (6, 3, 5, 2, 2)
  assert drawn.mean_peak.shape == drawn.mean_entropy_nats.shape == (3, 5)


@ANY
def test_chunks_do_not_change_the_answer(cfg):
  results = [draw(cfg, SamplerConfig('passes', 4, chunk=chunk), images()) for chunk in (1, 2, 4)]
  for other in results[1:]:
    for a, b in zip(results[0], other, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


@ANY
def test_a_pass_is_one_network_for_the_whole_batch(cfg):
  """Alone, in a batch, at another place of the batch: the same answer."""
  sampler, batch = SamplerConfig('passes', 4), images()
  together = draw(cfg, sampler, batch)
  alone = draw(cfg, sampler, batch[2:])
  np.testing.assert_allclose(together.points_px[:, 2], alone.points_px[:, 0], atol=1e-3)
  turned = draw(cfg, sampler, batch[::-1])
  np.testing.assert_allclose(together.points_px[:, 2], turned.points_px[:, 0], atol=1e-3)


@pytest.mark.parametrize('cfg,sampler', [
    (PLAIN, SamplerConfig()), (CFG, SamplerConfig('passes', 6, chunk=2)),
    (PLAIN, SamplerConfig('members', 3))])
def test_the_mean_heatmap_is_a_density_and_knows_less_than_its_parts(cfg, sampler):
  networks = [network(cfg, k) for k in range(3 if sampler.kind == 'members' else 1)]
  drawn = draw(cfg, sampler, images(), networks)
  np.testing.assert_allclose(tf.reduce_sum(drawn.mean_density, [1, 2]), 1, rtol=1e-4)
  # Jensen: entropy is concave, the maximum convex.
  assert (drawn.mean_entropy_nats >= tf.reduce_mean(drawn.entropy_nats, 0) - 1e-4).numpy().all()
  assert (drawn.mean_peak <= tf.reduce_mean(drawn.peak, 0) + 1e-4).numpy().all()


@ANY
def test_trunk_and_head_are_the_model_under_the_same_noise(cfg):
  net, batch, seed = network(cfg), images(), seeds.tensor(7)
  noise = unet.draw_noise(seed, 4, cfg.model)
  drawn = samplers.draw([net], [batch], cfg, SamplerConfig('passes', 4), seed)
  for one in range(4):
    output = unet.run(net, [batch], [kind[one:one + 1] for kind in noise], training=False)
    decoded = heatmaps.decode(output, 'cross_entropy', cfg.heatmap)
    np.testing.assert_allclose(drawn.points_px[one], 2 * decoded.points_px + 0.5, atol=1e-3)


@NOISY
def test_passes_differ_and_depend_on_the_seed(cfg):
  first = draw(cfg, SamplerConfig('passes', 4), images()).points_px
  assert np.std(first, axis=0).max() > 0
  assert not np.allclose(first, draw(cfg, SamplerConfig('passes', 4), images(), seed=8).points_px)
  np.testing.assert_array_equal(first, draw(cfg, SamplerConfig('passes', 4), images()).points_px)


def test_members_of_one_network_differ_and_do_not_depend_on_the_seed():
  first = draw(MEMBERS, SamplerConfig('passes', 4), images()).points_px
  assert np.std(first, axis=0).max() > 0
  np.testing.assert_array_equal(first, draw(MEMBERS, SamplerConfig('passes', 4), images(), seed=8).points_px)
  alone = draw(MEMBERS, SamplerConfig(), images()).points_px
  np.testing.assert_allclose(alone[0], first[0], atol=1e-3)  # without noise it is the first


def test_one_network_of_means_does_not_depend_on_the_seed():
  first, second = (draw(FLIPOUT, SamplerConfig(), images(), seed=seed).points_px for seed in (7, 8))
  np.testing.assert_array_equal(first, second)


def test_masks_drop_channels_at_the_rate_and_keep_the_mean():
  masks = unet.draw_noise(seeds.tensor(1), 2000, CFG.model)[0].numpy()
  assert masks.shape == (2000, 8 + 4)
  assert set(np.unique(masks)) == {0.0, 2.0}
  assert masks.mean() == pytest.approx(1, abs=0.03)


def test_members_are_the_networks():
  networks = [network(PLAIN, seed) for seed in range(3)]
  batch = images()
  drawn = draw(PLAIN, SamplerConfig('members', 3), batch, networks)
  for k, member in enumerate(networks):
    alone = draw(PLAIN, SamplerConfig(), batch, [member])
    np.testing.assert_allclose(drawn.points_px[k], alone.points_px[0], atol=1e-3)
    np.testing.assert_allclose(drawn.entropy_nats[k], alone.entropy_nats[0], atol=1e-4)


def test_mean_heatmap_knows_less_than_its_members():
  drawn = draw(CFG, SamplerConfig('passes', 6), images())
  assert np.all(drawn.mean_entropy_nats >= tf.reduce_mean(drawn.entropy_nats, 0) - 1e-3)
  assert np.all(drawn.mean_peak <= tf.reduce_mean(drawn.peak, 0) + 1e-5)


def test_one_network_disagrees_with_nobody():
  drawn = draw(PLAIN, SamplerConfig(), images())
  np.testing.assert_allclose(drawn.mean_entropy_nats, drawn.entropy_nats[0], atol=1e-5)
  np.testing.assert_allclose(drawn.mean_peak, drawn.peak[0], rtol=1e-5)


def test_expected_radius_of_a_known_density():
  density = np.zeros((1, 8, 8, 1), np.float32)
  density[0, 2, 3] = 0.25  # (x, y) = (3, 2), 5 px from (0, 6)
  density[0, 6, 0] = 0.75
  radius = samplers.expected_radius_px(tf.constant(density), tf.constant([[[0.0, 6.0]]]))
  assert float(radius[0, 0]) == pytest.approx(0.25 * 5)


@pytest.mark.parametrize('sampler', [SamplerConfig('passes', 4, chunk=2), SamplerConfig('members', 2)])
def test_samples_of_a_gaussian_head_have_its_covariances_and_the_heatmaps_points(sampler):
  cfg, count = (CFG, 1) if sampler.kind == 'passes' else (PLAIN, 2)
  gaussian = override(cfg, ['model.head=gaussian'])
  networks = [network(gaussian, k) for k in range(count)]
  plain = [network(cfg, k) for k in range(count)]
  for one, other in zip(networks, plain, strict=True):
    other.model.set_weights([w for v, w in zip(one.model.weights, one.model.get_weights(), strict=True)
                             if not v.path.startswith('spread')])
  found, without = draw(gaussian, sampler, images(), networks), draw(cfg, sampler, images(), plain)
  np.testing.assert_allclose(found.points_px, without.points_px, atol=1e-3)
  np.testing.assert_allclose(found.mean_density, without.mean_density, atol=1e-5)
  assert found.covariance_px2.shape == without.covariance_px2.shape
  assert (np.linalg.eigvalsh(found.covariance_px2) > 0).all()
  assert not np.allclose(found.covariance_px2, without.covariance_px2, rtol=0.1)


def test_wrong_networks_are_refused():
  with pytest.raises(ValueError, match='needs 3 networks, got 1'):
    draw(PLAIN, SamplerConfig('members', 3), images())
  with pytest.raises(ValueError, match='num_samples=3: the network has 4 members'):
    draw(MEMBERS, SamplerConfig('passes', 3), images())
  with pytest.raises(ValueError, match='network with noise'):
    draw(PLAIN, SamplerConfig('passes', 3), images())
