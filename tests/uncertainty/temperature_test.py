"""Temperatures of heatmaps: those that are known, and what they may not do."""

import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.uncertainty import highest_density, temperature

Y, X = np.mgrid[:60, :50]


def gaussians(centres, sd):
  """Densities [N, L, h, w] around centres [N, L, 2]."""
  away = (X - centres[..., 0, None, None])**2 + (Y - centres[..., 1, None, None])**2
  density = np.exp(-away / (2 * sd**2))
  return density / density.sum((-2, -1), keepdims=True)


def cases(factor, sd=3.0, images=300, name='truths', landmarks=2):
  """Heatmaps of standard deviation sd, and truths that scatter around them by factor times that.

  `factor` is one, or one of each landmark.
  """
  rng = seeds.rng(0, name)
  centres = rng.uniform(24, 26, (images, landmarks, 2))
  away = np.broadcast_to(factor, landmarks)[:, None] * sd * rng.normal(size=centres.shape)
  return gaussians(centres, sd), centres + away


def tempered(density, by):
  """[N, L, h, w] by temperatures [L]."""
  found = temperature.tempered(tf.constant(np.moveaxis(density, 1, -1), tf.float32), np.asarray(by))
  return np.moveaxis(found.numpy(), -1, 1)


@pytest.mark.parametrize('factor', [0.5, 1.0, 2.0])
def test_a_gaussian_needs_the_square_of_the_factor_its_truths_scatter_by(factor):
  # The power 1 / T of a Gaussian of variance s^2 is one of variance T s^2.
  np.testing.assert_allclose(temperature.fit(*cases(factor, images=500)), factor**2, rtol=0.15)


def test_few_images_move_all_and_then_each_landmark_a_part_of_the_way():
  # An image says as much of ln T as a prior does that has a standard deviation of 1 (two axes, half a
  # unit each): n images against one over PRIOR_LOG_SD squared. Both landmarks together have twice as many.
  images = round(1 / temperature.PRIOR_LOG_SD**2)
  fitted = [temperature.fit(*cases([1.0, 2.0], images=images, name=k)) for k in range(20)]
  own = np.log([1, 4])
  common = 2 / 3 * np.log((1 + 4) / 2)  # the variances' mean, two thirds of the way from 0
  np.testing.assert_allclose(np.log(fitted).mean(0), (common + own) / 2, atol=0.15)


def test_a_landmark_of_few_images_learns_from_the_others():
  density, truths = cases(2.0, images=4, landmarks=30)
  assert np.log(temperature.fit(density, truths)).mean() > 0.8 * np.log(4)
  alone = [temperature.fit(density[:, [i]], truths[:, [i]]) for i in range(30)]
  assert np.log(alone).mean() < 0.5 * np.log(4)


def test_the_likelihood_is_that_of_the_definition_and_lowest_at_the_temperature():
  density, truths = cases(1.7)
  fitted = temperature.fit(density, truths)
  def nll(by):
    return -temperature.log_at_truth(tempered(density, by), truths).mean(0)
  for other in (0.8 * fitted, 1.25 * fitted, np.ones(2)):
    assert (nll(fitted) < nll(other)).all()
  x, y = np.rint(truths[3, 1]).astype(int)
  powered = density[3, 1]**(1 / 2.5)
  by_hand = np.log(powered[y, x] / powered.sum())
  found = temperature.log_at_truth(tempered(density, [1.0, 2.5]), truths)[3, 1]
  assert found == pytest.approx(by_hand, abs=1e-4)


def test_all_landmarks_together_are_never_worse_on_the_images_they_were_fitted_on():
  rng = seeds.rng(0, 'any')
  for _ in range(20):
    density = rng.gamma(rng.uniform(0.05, 2), size=(4, 3, 8, 9)) + 1e-30
    density /= density.sum((-2, -1), keepdims=True)
    truths = rng.uniform(0, 7, (4, 3, 2))
    after = tempered(density, temperature.fit(density, truths))
    before, now = (temperature.log_at_truth(d, truths).mean() for d in (density, after))
    assert now >= before - 1e-4


def test_one_network_is_a_softmax_with_its_logits_divided():
  logits = 3 * tf.random.stateless_normal([2, 4, 5, 3], [1, 2])
  def softmax(values):
    return tf.reshape(tf.nn.softmax(tf.reshape(values, [2, 20, 3]), axis=1), [2, 4, 5, 3])
  by = np.array([0.5, 1.0, 3.0], np.float32)
  np.testing.assert_allclose(temperature.tempered(softmax(logits), by), softmax(logits / by), rtol=1e-4)


def test_the_inverse_undoes_it_and_one_changes_nothing():
  density = gaussians(np.full((1, 2, 2), 25.0), 4.0)
  np.testing.assert_allclose(tempered(density, [1, 1]), density, rtol=1e-4, atol=1e-9)
  np.testing.assert_allclose(tempered(tempered(density, [4, 2]), [0.25, 0.5]), density, rtol=1e-3, atol=1e-9)


def test_missing_truths_take_no_part_and_none_leave_the_temperature_of_the_others():
  density, truths = cases(2.0, images=10)
  truths[:, 1] = np.nan
  truths[0, 1] = [-3, 5]  # outside
  truths[4, 0] = np.nan
  found = temperature.fit(density, truths)
  kept = np.arange(10) != 4
  np.testing.assert_allclose(found, temperature.fit(density[kept], truths[kept]))
  assert 1 < found[1] < found[0]
  np.testing.assert_array_equal(temperature.fit(density, truths * np.nan), 1)
  assert np.isnan(temperature.log_at_truth(density, truths)[:, 1]).all()


def test_what_is_no_density_is_an_error():
  density, truths = cases(1.0, images=3)
  with pytest.raises(ValueError, match='allowed are'):
    temperature.fit(density, truths[:, :1])
  with pytest.raises(ValueError, match='an image or more'):
    temperature.fit(density[:0], truths[:0])
  density[1, 0, 2, 3] = np.nan  # would silently change the temperatures of all landmarks
  with pytest.raises(ValueError, match='not finite'):
    temperature.fit(density, truths)


def test_temperatures_have_limits():
  many = (500, 1, 2)
  exact = gaussians(np.full(many, 25.0), 6.0), np.full(many, 25.0)
  hopeless = gaussians(np.full(many, 25.0), 0.3), np.full(many, 3.0)
  low, high = temperature.LIMITS
  assert low <= temperature.fit(*exact)[0] < 1.1 * low
  assert 0.9 * high < temperature.fit(*hopeless)[0] <= high


def test_calibration_error_by_hand():
  # Two pixels of mass 0.75 and 0.25; one truth in each. At level 0.5 the region is two thirds of the
  # first pixel; at 0.9 all of it and 0.15 / 0.25 of the second.
  score, log_at = np.array([0.0, 0.75]), np.log([0.75, 0.25])
  levels = np.array([0.5, 0.9])
  np.testing.assert_allclose(temperature.share_inside(score, log_at, levels), [1 / 3, 0.8])
  assert temperature.calibration_error(score, log_at, levels) == pytest.approx((1 / 6 + 0.1) / 2)


def test_outside_is_in_no_region_and_missing_takes_no_part():
  score, log_at = np.array([0.0, np.inf, np.nan]), np.array([np.log(0.01), np.nan, np.nan])
  np.testing.assert_allclose(temperature.share_inside(score, log_at, np.array([0.5])), [0.5])
  assert np.isnan(temperature.calibration_error(score[2:], log_at[2:]))


def test_tempering_mends_the_calibration_error_of_new_images():
  by = temperature.fit(*cases(2.0))
  density, truths = cases(2.0, name='new')
  errors = [temperature.calibration_error(highest_density.truth_score(d, truths),
                                          temperature.log_at_truth(d, truths))
            for d in (density, tempered(density, by))]
  assert errors[0] > 0.25 and errors[1] < 0.05


@pytest.mark.parametrize('sd', [0.3, 0.6, 2.0])
def test_a_right_density_has_no_calibration_error_however_sharp(sd):
  rng = seeds.rng(0, 'right', sd)
  density = np.repeat(gaussians(np.array([[[25.2, 24.7]]]), sd), 3000, 0)
  pixel = rng.choice(density[0].size, p=density[0].ravel(), size=3000)
  truths = np.stack([pixel % 50, pixel // 50], -1)[:, None]
  score = highest_density.truth_score(density, truths)
  assert temperature.calibration_error(score, temperature.log_at_truth(density, truths)) < 0.02
