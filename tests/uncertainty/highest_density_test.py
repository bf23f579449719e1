"""Highest-density regions of a heatmap of six pixels."""

import numpy as np
import pytest

from ceph_tf import seeds
from ceph_tf.uncertainty import conformal, highest_density

DENSITY = np.array([[4.0, 1.0, 1.0], [2.0, 2.0, 0.0]])  # of 10


def test_score_is_the_mass_of_the_denser_pixels():
  np.testing.assert_allclose(highest_density.mass_above(DENSITY), [[0, 0.8, 0.8], [0.4, 0.4, 1]])


def test_score_of_the_truth_is_that_of_its_pixel():
  truth = np.array([[0.4, -0.4], [1.2, 0.9], [2, 1], [2.6, 0], [0, -0.6], [np.nan, 0]])
  score = highest_density.truth_score(np.broadcast_to(DENSITY, (6, 2, 3)), truth)
  np.testing.assert_allclose(score, [0, 0.4, 1, np.inf, np.inf, np.nan])


def test_pixels_counts_the_region_with_ties():
  sizes = [int(highest_density.pixels(DENSITY, q)) for q in (-0.1, 0, 0.39, 0.41, 0.81, 1)]
  assert sizes == [0, 1, 1, 3, 5, 6]


def test_a_truth_is_in_the_region_exactly_when_its_score_is_at_most_the_quantile():
  rng = seeds.rng(0, 'hdr')
  density = np.round(rng.gamma(0.5, size=(7, 4, 9, 8)), 1)
  truth = rng.uniform(0, 7, size=(7, 4, 2))
  score = highest_density.truth_score(density, truth)
  for q in score.ravel():
    x, y = np.moveaxis(np.rint(truth).astype(int), -1, 0)
    at = np.take_along_axis(highest_density.mass_above(density).reshape(7, 4, -1),
                            (y * 8 + x)[..., None], -1)[..., 0]
    np.testing.assert_array_equal(score <= q, at <= q)
  # Brute force of the definition.
  p = density / density.sum((-2, -1), keepdims=True)
  want = np.array([[p[i, j][p[i, j] > p[i, j][tuple(np.rint(truth[i, j, ::-1]).astype(int))]].sum()
                    for j in range(4)] for i in range(7)])
  np.testing.assert_allclose(score, want, atol=1e-12)


def test_calibrated_regions_of_a_true_density_have_about_the_stated_mass():
  rng = seeds.rng(0, 'true density')
  y, x = np.mgrid[:15, :15]
  density = np.exp(-((x - 7)**2 + (y - 7)**2) / 8)
  flat = rng.choice(225, p=density.ravel() / density.sum(), size=400)
  truth = np.stack([flat % 15, flat // 15], -1)[:, None]
  score = highest_density.truth_score(np.broadcast_to(density, (400, 1, 15, 15)), truth)
  quantile = conformal.calibrate(score, 0.8)
  held = density[highest_density.mass_above(density) <= quantile].sum() / density.sum()
  assert 0.76 < held < 0.9
  assert highest_density.pixels(density[None], quantile) < 60


@pytest.mark.parametrize(('bad', 'message'), [
    (-1.0, 'allowed are'), (np.nan, 'allowed are'), (np.inf, 'allowed are'), (0.0, '1 of 2 .* no mass')])
def test_what_is_no_density_is_an_error(bad, message):
  density = np.ones((2, 3, 3))
  density[1] = bad
  with pytest.raises(ValueError, match=message):
    highest_density.mass_above(density)


def test_sizes_are_those_of_the_regions_of_each_level():
  density = seeds.rng(0, 'sizes').gamma(0.5, size=(3, 2, 6, 5))
  table = highest_density.sizes(density)
  assert table.shape == (3, 2, len(highest_density.LEVELS))
  for k in (0, 20, 150, len(highest_density.LEVELS) - 1):
    quantiles = np.full(2, highest_density.LEVELS[k])
    np.testing.assert_array_equal(table[..., k], highest_density.pixels(density, quantiles))
  assert (table[..., -1] == 30).all()


def test_the_level_of_a_quantile_is_never_below_it():
  quantiles = np.array([0.0, 0.3, 0.95, 0.99995, 1.0])
  levels = highest_density.LEVELS[highest_density.level(quantiles)]
  assert (levels >= quantiles).all() and levels[0] == 0 and levels[-1] == 1
  assert (levels - quantiles < 0.04).all()
