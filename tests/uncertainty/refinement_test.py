"""The second look: by hand, moved away from the first, and as a whole."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from ceph_tf import geometry, seeds
from ceph_tf.config import Experiment, InputConfig, SamplerConfig
from ceph_tf.data import preprocess
from ceph_tf.models import heatmaps, unet
from ceph_tf.overrides import override
from ceph_tf.uncertainty import measures, refinement, samplers
from ceph_tf.uncertainty.samplers import Samples

EXPERIMENT = override(Experiment(), [
    'input.height=32', 'input.width=24', 'model.filters=4,8', 'model.stem_stride=2', 'model.dropout_rate=0.5',
    'model.dropout_at=down1', 'sampler.kind=passes', 'sampler.num_samples=4', 'refine.scale=2',
    'refine.crop.size_px=16', 'refine.filters=4,8', 'refine.dropout_rate=0.5', 'refine.dropout_at=down1'])
SIZE_HW, CROP, STRIDE = (64, 48), 16, 4
LANDMARKS = 3


def networks(count=1):
  cfg, second = EXPERIMENT.network, EXPERIMENT.refiner.of_landmarks(LANDMARKS)
  first = [unet.build(cfg.model, cfg.input, LANDMARKS, 'float32', seed=k) for k in range(count)]
  again = [unet.build(second.model, second.seen, 1, 'float32', seed=9 + k) for k in range(count)]
  return first, cfg, refinement.refiner(again, second, cfg)


def looks(images, sampler, count=1, seed=3):
  """Both looks at images: the first one's samples, and the refined ones."""
  first, cfg, second = networks(count)
  found = samplers.draw(first, [refinement.coarse_images(images, 2)], cfg, sampler, seeds.tensor(seed))
  return found, refinement.refine(found, images, second, sampler, seeds.tensor(seed))


def noise_images(batch=3):
  return tf.random.stateless_normal([batch, *SIZE_HW, 1], [1, 2])


def samples_of(density, stride, count=1):
  """What `count` networks say that all answer with this density [B, h, w, L]."""
  mean, covariance = heatmaps.moments(density)
  entropy, peak = heatmaps.entropy_nats(density), heatmaps.peak_of(density)
  radius = stride * samplers.expected_radius_px(density, mean)
  def many(values):
    return tf.repeat(values[None], count, 0)
  return Samples(many(geometry.heatmap_to_network(mean, stride)), many(peak), many(covariance * stride**2),
                 many(entropy), many(radius), peak, entropy, density)


def spot(size_hw, points_px, sigma_px):
  density = heatmaps.render(tf.constant(points_px, tf.float32), size_hw, sigma_px)
  return density / tf.reduce_sum(density, [1, 2], keepdims=True)


def merged(centre, coarse_at=(32.0, 30.0), sigma=2.0, count=2):
  """A first look at one landmark, a sharp second one at the middle of a crop around `centre`."""
  heatmap_hw = (SIZE_HW[0] // STRIDE, SIZE_HW[1] // STRIDE)
  at = geometry.network_to_heatmap(tf.constant([[coarse_at]]), STRIDE)
  first = samples_of(spot(heatmap_hw, at, sigma), STRIDE, count)
  found = samples_of(spot((CROP, CROP), [[[8.0, 8.0]]], 0.8), 1, count)
  frame = geometry.crop_frame(tf.constant([[centre]]), CROP)
  _, _, second = networks()
  return first, found, refinement.merged(first, found, frame, SIZE_HW, second)


def test_a_crop_around_all_of_the_first_look_is_the_second_look():
  first, found, both = merged((33.0, 29.0), sigma=0.3)
  np.testing.assert_allclose(both.points_px, np.broadcast_to([33.0, 29.0], (2, 1, 1, 2)), atol=1e-4)
  for name in ('peak', 'covariance_px2', 'entropy_nats', 'expected_radius_px', 'mean_peak',
               'mean_entropy_nats'):
    ours, theirs = getattr(both, name), getattr(found, name)
    np.testing.assert_allclose(tf.reshape(ours, theirs.shape), theirs, rtol=2e-2, atol=1e-3, err_msg=name)


def test_of_a_crop_far_away_nothing_is_left_but_the_first_look():
  first, _, both = merged((500.0, 500.0))
  np.testing.assert_allclose(both.points_px, first.points_px, atol=1e-3)
  np.testing.assert_allclose(both.covariance_px2, first.covariance_px2, rtol=1e-3)
  # Of densities per pixel of the image instead of per pixel of the heatmap.
  np.testing.assert_allclose(both.mean_entropy_nats, first.mean_entropy_nats + 2 * np.log(STRIDE), rtol=1e-4)
  np.testing.assert_allclose(both.expected_radius_px, first.expected_radius_px, rtol=1e-3)
  assert np.all(both.peak == 0)
  grid = tf.nn.avg_pool2d(both.mean_density, 2, 2, 'VALID') * 4
  np.testing.assert_allclose(grid, first.mean_density, atol=1e-6)


def test_the_further_the_crop_the_greater_the_doubt():
  """The second network is as sure of itself in every crop."""
  moved = [merged((32.0 + by, 30.0), sigma=0.8)[2] for by in (0, 6, 9, 12, 20)]
  doubt = {name: [float(measures.MEASURES[name](both)[0, 0]) for both in moved]
           for name in ('entropy_nats', 'total_sd_px', 'ere_px')}
  assert doubt['entropy_nats'] == sorted(doubt['entropy_nats'])
  for name, values in doubt.items():  # where the two disagree a distance is largest
    assert min(values[1:]) > 1.2 * values[0], f'{name}: {values}'
  sure = [float(measures.e_mha(both)[0, 0]) for both in moved]
  assert sure == sorted(sure, reverse=True)
  found = [float(both.points_px[0, 0, 0, 0]) for both in moved]
  assert found[1] == pytest.approx(38, abs=1e-3) and found[-1] == pytest.approx(32, abs=0.5)


def test_what_networks_disagree_about_counts_once():
  """Two that are sure of points 32 px apart, and a crop between them that holds neither."""
  heatmap_hw = (SIZE_HW[0] // STRIDE, SIZE_HW[1] // STRIDE)
  each = [samples_of(spot(heatmap_hw, [[[x, 7.0]]], 0.3), STRIDE) for x in (2.0, 10.0)]
  mean = (each[0].mean_density + each[1].mean_density) / 2
  first = Samples(*(tf.concat(pair, 0) for pair in list(zip(*each, strict=True))[:5]),
                  heatmaps.peak_of(mean), heatmaps.entropy_nats(mean), mean)
  frame = geometry.crop_frame(tf.reduce_mean(first.points_px, 0), CROP)
  found = samples_of(spot((CROP, CROP), [[[8.0, 8.0]]], 0.8), 1, 2)
  both = refinement.merged(first, found, frame, SIZE_HW, networks()[2])
  np.testing.assert_allclose(both.points_px, first.points_px)
  expected = first.covariance_px2[0, 0, 0] + np.diag([16.0**2, 0])
  np.testing.assert_allclose(measures.total_covariance_px2(both)[0, 0], expected, rtol=1e-3, atol=1e-3)
  assert float(measures.mutual_information_nats(both)[0, 0]) == pytest.approx(np.log(2), rel=1e-2)


def test_an_entropy_by_hand():
  first, found, both = merged((36.0, 32.0), sigma=1.0)  # on the edges of coarse pixels
  density, inside = first.mean_density.numpy()[0, :, :, 0], 0.0
  y, x = np.mgrid[:SIZE_HW[0], :SIZE_HW[1]]
  per_px = density[y // STRIDE, x // STRIDE] / STRIDE**2
  cropped = (x >= 28) & (x < 44) & (y >= 24) & (y < 40)
  inside = per_px[cropped].sum()
  whole = np.where(cropped, 0.0, per_px)
  whole[24:40, 28:44] = inside * found.mean_density.numpy()[0, :, :, 0]
  assert 0.5 < inside < 0.95
  flat = whole[whole > 0]
  assert float(both.mean_entropy_nats[0, 0]) == pytest.approx(-(flat * np.log(flat)).sum(), rel=1e-3)
  mean = (whole * x).sum(), (whole * y).sum()
  xx, yy = (whole * (x - mean[0])**2).sum(), (whole * (y - mean[1])**2).sum()
  # Coarse pixels are points to the first look's own covariance, and squares here: 16 / 12 - 1 / 12 more.
  np.testing.assert_allclose(np.diag(both.covariance_px2[0, 0, 0]) + 15 / 12 * (1 - inside), [xx, yy],
                             rtol=5e-3)
  grid = whole.reshape(SIZE_HW[0] // 2, 2, SIZE_HW[1] // 2, 2).sum((1, 3))
  np.testing.assert_allclose(both.mean_density[0, :, :, 0], grid, atol=1e-6)


def prior_by_hand(density, corner, size):
  """Bilinear interpolation of the logarithm, pixel by pixel."""
  log = np.log(np.maximum(density, 1e-12))
  y, x = ((np.arange(size)[:, None] + corner[1] - 1.5) / STRIDE, (np.arange(size) + corner[0] - 1.5) / STRIDE)
  found = ndimage.map_coordinates(log, np.broadcast_arrays(y, x), order=1, mode='nearest')
  return refinement.PRIOR_WEIGHT * (found - found.min())


@pytest.mark.parametrize('centre', [(33.0, 29.0), (2.0, 61.0), (100.0, 10.0)])
def test_a_prior_is_the_first_look_between_its_pixels(centre):
  density = spot((SIZE_HW[0] // STRIDE, SIZE_HW[1] // STRIDE), [[[6.0, 8.0]]], 2.0)
  frame = geometry.crop_frame(tf.constant([[centre]]), CROP)
  found = refinement.prior(density, frame, STRIDE, CROP)
  assert found.shape == (1, CROP, CROP, 1)
  expected = prior_by_hand(density[0, :, :, 0].numpy(), -frame.offset[0, 0].numpy(), CROP)
  np.testing.assert_allclose(found[0, :, :, 0], expected, atol=1e-4)


def test_a_second_look_that_sees_nothing_says_what_the_first_one_did():
  """Heatmaps of zeros: what is left is the prior, so points lie where the first look has its mass."""
  images = noise_images()
  first, cfg, second = networks()
  blind = second.networks[0].model.get_layer('heatmaps')
  blind.set_weights([np.zeros_like(values) for values in blind.get_weights()])
  sampler = SamplerConfig('one')
  density = spot((SIZE_HW[0] // STRIDE, SIZE_HW[1] // STRIDE), [[[5.25, 8.5], [6.0, 6.0], [4.0, 9.0]]], 1.0)
  looked = samples_of(tf.repeat(density, 3, 0), 2)  # in pixels of the first networks' image
  both = refinement.refine(looked, images, second, sampler, seeds.tensor(0))
  truth = refinement.finer(looked, 2).points_px
  np.testing.assert_allclose(both.points_px, truth, atol=0.7)  # a window of whole pixels decodes them
  # Pooled with the exponent 1/2 a normal density is twice as wide in variance, and a crop cuts it off.
  wide = both.covariance_px2[0, 0, 0, 0, 0] / (STRIDE**2 * 1.0)
  assert 1.0 < wide < 2.0


def test_at_the_border_the_density_still_sums_to_one():
  _, _, both = merged((1.0, 62.0), coarse_at=(2.0, 61.0))
  np.testing.assert_allclose(tf.reduce_sum(both.mean_density, [1, 2]), 1, rtol=1e-5)
  assert np.isfinite(both.covariance_px2).all() and np.isfinite(both.entropy_nats).all()


@pytest.mark.parametrize('sampler,count', [
    (SamplerConfig('passes', 4), 1), (SamplerConfig('one'), 1), (SamplerConfig('members', 2), 2),
    (SamplerConfig('views', 3), 1)], ids=lambda value: getattr(value, 'kind', ''))
def test_each_sampler_looks_twice_and_an_answer_does_not_depend_on_its_batch(sampler, count):
  images = noise_images()
  both = looks(images, sampler, count)[1]
  assert both.points_px.shape == (sampler.num_samples, 3, LANDMARKS, 2)
  assert both.mean_density.shape == (3, 32, 24, LANDMARKS)
  np.testing.assert_allclose(tf.reduce_sum(both.mean_density, [1, 2]), 1, rtol=1e-4)
  alone = looks(images[2:], sampler, count)[1]
  for ours, theirs in zip(both, alone, strict=True):
    batch = 0 if ours.shape[0] == 3 and theirs.shape[0] == 1 else 1
    np.testing.assert_allclose(tf.gather(ours, [2], axis=batch), theirs, rtol=1e-4, atol=1e-5)
  if sampler.num_samples > 1:
    assert float(tf.reduce_mean(measures.spread_px(both))) > 0


def test_points_of_the_first_look_in_finer_pixels():
  first = samples_of(spot((8, 6), [[[2.0, 3.0]]], 0.5), 1)
  np.testing.assert_allclose(refinement.finer(first, 2).points_px[0, 0, 0], [4.5, 6.5], atol=1e-5)
  np.testing.assert_allclose(refinement.finer(first, 2).covariance_px2, 4 * first.covariance_px2, rtol=1e-5)


def test_the_first_networks_see_what_they_were_trained_on():
  """A finer image made smaller is the smaller image, but for how twice resizing differs from once."""
  rng = seeds.rng(0, 'film')
  rough = tf.constant(rng.normal(size=(1, 12, 10, 1)), tf.float32)
  film = tf.image.resize(rough, (480, 384), 'bicubic')[0] + rng.normal(0, 0.1, (480, 384, 1))
  fine, _ = preprocess.to_network_image(film, InputConfig(160, 128))
  small, _ = preprocess.to_network_image(film, InputConfig(80, 64))
  again = refinement.coarse_images(fine[None], 2)[0]
  assert float(tf.sqrt(tf.reduce_mean((again - small)**2))) < 0.02
  assert float(tf.math.reduce_std(again)) == pytest.approx(1, abs=1e-3)
  assert not refinement.coarse_images(tf.zeros([1, 8, 8, 1]), 2).numpy().any()


def test_a_network_image_that_does_not_fit_is_refused():
  first, cfg, second = networks()
  other = override(Experiment(), ['input.height=48', 'input.width=48', 'model.filters=4,8']).network
  with pytest.raises(ValueError, match='whole number of times finer'):
    refinement.refiner(second.networks, second.cfg, other)
