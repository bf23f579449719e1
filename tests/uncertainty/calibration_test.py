"""Quantile bins against figures worked out by hand and sklearn's isotonic regression."""

import numpy as np
import pytest

from ceph_tf import seeds
from ceph_tf.uncertainty import calibration

NAN = np.nan


def test_five_by_five_by_hand():
  found = calibration.quantile_bins(
      [1, 2, 3, 4, 5], [1, 3, 2, 4, 10], [0.5, 1.8, 2.0, 3.4, 9.0], [0.5, 2.3, 2.5, 5.0, 3.0], 5)
  np.testing.assert_allclose(found.thresholds, [1.8, 2.6, 3.4, 4.2])
  # Fit: 1, 2.5, 2.5, 4, 10 at 1..5, read linearly between.
  np.testing.assert_allclose(found.bounds, [2.2, 2.5, 3.1, 5.2])
  np.testing.assert_array_equal(found.bins, [0, 0, 1, 2, 4])
  # Errors are distinct: their quantile bins are their ranks, 0, 1, 2, 4, 3.
  np.testing.assert_allclose(found.jaccard, [1 / 2, 0, 0, 0, 0])
  np.testing.assert_allclose(found.bound_accuracy, [1 / 2, 1, 0, NAN, 0])


def test_a_perfect_uncertainty_has_jaccard_one_and_a_reversed_one_zero():
  error = np.arange(1.0, 101)
  found = calibration.quantile_bins(error, error, error, error, 5)
  np.testing.assert_array_equal(found.jaccard, 1)
  np.testing.assert_array_equal(found.bound_accuracy, 1)
  np.testing.assert_allclose(found.bounds, found.thresholds)
  reversed_ = calibration.quantile_bins(-error, error, -error, error, 4)
  np.testing.assert_array_equal(reversed_.jaccard, 0)
  np.testing.assert_allclose(reversed_.bounds, 50.5)  # a decreasing relation fits as its mean


def test_an_uncertainty_on_a_threshold_belongs_to_the_lower_bin_and_an_error_on_a_bound_is_inside():
  found = calibration.quantile_bins([0, 1, 2], [5, 5, 5], [1, np.nextafter(1, 2)], [5, 5], 2)
  assert found.thresholds == [1]
  np.testing.assert_array_equal(found.bins, [0, 1])
  np.testing.assert_array_equal(found.bound_accuracy, [1, 0])  # 0 < 5 <= 5, but not 5 < 5


def test_an_error_of_zero_is_below_the_lowest_bound():
  found = calibration.quantile_bins([0, 1], [1, 1], [0, 0, 2], [0, 0.5, 1e30], 2)
  np.testing.assert_array_equal(found.bound_accuracy, [0.5, 1])


def test_ties_are_one_point_with_their_mean_and_weight():
  fit = calibration.isotonic(np.array([1, 1, 1, 2, 3]), np.array([1, 2, 6, 0, 5]), np.array([0, 1, 2.5, 9]))
  np.testing.assert_allclose(fit, [2.25, 2.25, 3.625, 5])  # (3 * 3 + 0) / 4 up to 2


def _brute_force(u, error, at):
  """Isotonic fit by its max-min formula."""
  knots = np.unique(u)
  fitted = [max(min(np.mean(error[(u >= knots[i]) & (u <= knots[j])]) for j in range(k, len(knots)))
                for i in range(k + 1)) for k in range(len(knots))]
  return np.interp(at, knots, fitted)


def test_the_fit_is_the_max_min_formula():
  rng = seeds.rng(0, 'isotonic')
  u = rng.integers(0, 12, 30).astype(float)
  error = u / 4 + rng.gamma(2, size=30)
  at = np.linspace(-2, 14, 40)
  np.testing.assert_allclose(calibration.isotonic(u, error, at), _brute_force(u, error, at))


def test_bins_equal_the_definition_on_random_points():
  rng = seeds.rng(0, 'bins')
  u_valid, u_test = rng.gamma(2, size=73), np.round(rng.gamma(2, size=50), 1)
  e_valid, e_test = u_valid + rng.gamma(1, size=73), u_test + rng.gamma(1, size=50)
  for num_bins in (2, 5, 10):
    found = calibration.quantile_bins(u_valid, e_valid, u_test, e_test, num_bins)
    cuts = [np.quantile(u_valid, k / num_bins) for k in range(1, num_bins)]
    error_cuts = [np.quantile(e_test, k / num_bins) for k in range(1, num_bins)]
    np.testing.assert_array_equal(found.thresholds, cuts)
    bins = [next((k for k, cut in enumerate(cuts) if u <= cut), num_bins - 1) for u in u_test]
    by_error = [next((k for k, cut in enumerate(error_cuts) if e <= cut), num_bins - 1) for e in e_test]
    np.testing.assert_array_equal(found.bins, bins)
    for k in range(num_bins):
      a, b = ({i for i, other in enumerate(of) if other == k} for of in (bins, by_error))
      assert found.jaccard[k] == len(a & b) / len(a | b)
      low, high = (0, *found.bounds, np.inf)[k:k + 2]
      assert found.bound_accuracy[k] == np.mean([low < e_test[i] <= high for i in a])


def test_missing_truths_are_left_out_but_still_binned():
  found = calibration.quantile_bins(
      [1, 2, 3, NAN, 100], [1, 2, 3, 4, NAN], [1, 3, NAN, 3], [1, NAN, 2, 3], 2)
  assert found.thresholds == [2]
  np.testing.assert_array_equal(found.bins, [0, 1, -1, 1])
  np.testing.assert_array_equal(found.jaccard, [1, 1])
  np.testing.assert_array_equal(found.bound_accuracy, [1, 1])


def test_a_set_without_labels_gets_bins_and_no_figures():
  found = calibration.quantile_bins([1, 2, 3], [1, 2, 3], [1, 3], [NAN, NAN], 2)
  np.testing.assert_array_equal(found.bins, [0, 1])
  assert np.isnan(found.jaccard).all() and np.isnan(found.bound_accuracy).all()


def test_constant_uncertainties_put_all_into_the_first_bin():
  found = calibration.quantile_bins([7] * 4, [1, 2, 3, 6], [7, 8], [1, 4], 3)
  np.testing.assert_array_equal(found.thresholds, [7, 7])
  np.testing.assert_array_equal(found.bounds, [3, 3])
  np.testing.assert_array_equal(found.bins, [0, 2])


def test_an_infinite_test_uncertainty_is_in_the_last_bin():
  assert calibration.quantile_bins([1, 2], [1, 2], [np.inf], [9], 4).bins == [3]


@pytest.mark.parametrize(('u_valid', 'error_valid', 'num_bins', 'message'), [
    ([1, 2], [1, 2], 1, 'num_bins=1: allowed is'),
    ([1, 2], [1, 2], 2.5, 'num_bins=2.5'),
    ([1, 2], [1], 2, r'u_valid \(2,\) and error_valid \(1,\)'),
    ([[1, 2]], [[1, 2]], 2, 'for one landmark'),
    ([1, np.inf], [1, 2], 2, r'u_valid\[1\] is infinite'),
    ([NAN, 1], [1, NAN], 2, 'none of the 2 validation points'),
    ([], [], 2, 'none of the 0 validation points'),
])
def test_bad_validation_points_are_an_error(u_valid, error_valid, num_bins, message):
  with pytest.raises(ValueError, match=message):
    calibration.quantile_bins(u_valid, error_valid, [1], [1], num_bins)


def test_confidences_are_inverted_with_negatives_at_the_smallest_positive():
  u = calibration.confidence_to_uncertainty(np.array([0.5, -3, 0.25, NAN, 0]))
  np.testing.assert_array_equal(u, [2 + 1e-13, 4 + 1e-13, 4 + 1e-13, NAN, np.inf])
  columns = calibration.confidence_to_uncertainty(np.array([[0.5, 0.1], [-1, -1]]))
  np.testing.assert_allclose(columns, [[2, 10], [2, 10]])


def test_confidences_that_are_never_positive_are_an_error():
  with pytest.raises(ValueError, match='largest -1: at least one'):
    calibration.confidence_to_uncertainty(np.array([-1.0, -2.0]))
  with pytest.raises(ValueError, match='column 1'):
    calibration.confidence_to_uncertainty(np.array([[1.0, -1.0], [1.0, 0.0]]))
