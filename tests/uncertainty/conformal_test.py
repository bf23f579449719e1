"""Conformal regions: quantiles by hand, areas, and coverage on simulated images."""

import numpy as np
import pytest

from ceph_tf import seeds
from ceph_tf.uncertainty import conformal

NAN = np.nan


@pytest.mark.parametrize(('n', 'coverage', 'k'), [
    (9, 0.9, 9), (10, 0.9, 10), (19, 0.9, 18), (99, 0.9, 90), (19, 0.95, 19), (20, 0.95, 20),
    (39, 0.95, 38), (1, 0.5, 1), (999, 0.999, 999)])
def test_rank_is_the_ceiling_despite_rounding(n, coverage, k):
  assert conformal.rank(n, coverage) == k


@pytest.mark.parametrize(('coverage', 'needed'), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_a_coverage_the_calibration_set_cannot_support_is_refused(coverage, needed):
  assert conformal.needed_patients(coverage) == needed
  conformal.rank(needed, coverage)
  with pytest.raises(ValueError, match=f'{coverage} cannot be stated from {needed - 1} cal.* {needed}$'):
    conformal.rank(needed - 1, coverage)


@pytest.mark.parametrize('coverage', [0, 1, -0.1, 90, NAN])
def test_a_coverage_outside_0_to_1_is_an_error(coverage):
  with pytest.raises(ValueError, match='allowed is 0 < coverage < 1'):
    conformal.needed_patients(coverage)


def test_quantile_is_the_kth_smallest_and_missing_truths_do_not_count():
  scores = np.full((12, 2), NAN)
  scores[:9, 0] = [3, 1, 4, 1, 5, 9, 2, 6, 5]
  scores[:, 1] = np.arange(12)
  np.testing.assert_array_equal(conformal.calibrate(scores, 0.9), [9, 11])
  np.testing.assert_array_equal(conformal.calibrate(scores, 0.5), [4, 6])  # 5th of 9, 7th of 12
  np.testing.assert_array_equal(conformal.calibration_sizes(scores), [9, 12])
  with pytest.raises(ValueError, match='nasion: a coverage of 0.95 cannot be stated from 12'):
    conformal.calibrate(scores[:, 1:], 0.95, ('nasion',))


def test_films_of_a_patient_count_together_as_one():
  scores = np.array([[1.0], [2], [3], [4], [5], [6]])
  ids = ['a', 'b', 'b', 'c', 'd', 'd']
  # Sorted, they count for 1, 1/2, 1/2, 1, 1/2, 1/2 of four patients; of five, 60 % are three.
  np.testing.assert_array_equal(conformal.calibration_sizes(scores, ids), [4])
  assert conformal.calibrate(scores, 0.6, patient_ids=ids) == [4]
  assert conformal.calibrate(scores, 0.8, patient_ids=ids) == [6]
  assert conformal.calibrate(scores, 0.7, patient_ids=ids) == [5]  # of five 3.5
  with pytest.raises(ValueError, match='from 4 calibration patients: it needs at least 9'):
    conformal.calibrate(scores, 0.9, patient_ids=ids)
  scores[2] = NAN  # of b one film is left, which counts for him
  assert conformal.calibrate(scores, 0.4, patient_ids=ids) == [2]
  assert conformal.quantile(np.array([1.0, np.inf, np.inf]), 0.5, ['a', 'a', 'b']) == np.inf


def test_an_infinite_quantile_and_a_wrong_shape_are_errors():
  scores = np.ones((9, 1))
  scores[0] = np.inf
  assert conformal.calibrate(scores, 0.5) == [1]
  with pytest.raises(ValueError, match='landmark 0: the score at coverage 0.9 is infinite: 1 of 9'):
    conformal.calibrate(scores, 0.9)
  with pytest.raises(ValueError, match='must be'):
    conformal.calibrate(np.ones(9), 0.9)


def test_inside_includes_the_edge_and_knows_nothing_of_missing_truths():
  covered = conformal.inside(np.array([[1.0, 3.0], [2.0, NAN], [np.inf, 1.0]]), np.array([1.0, 3.0]))
  np.testing.assert_array_equal(covered, [[1, 1], [0, NAN], [0, 1]])


def test_scaled_circles_of_a_constant_uncertainty_are_plain_circles():
  error = np.arange(1.0, 11)[:, None]
  for constant in (0.0, 2.0):
    u = np.full((10, 1), constant)
    quantile = conformal.calibrate(conformal.scaled_score(error, u), 0.8)
    np.testing.assert_allclose(quantile * conformal.scale(u[0]), [9])


def test_scaled_score_by_hand_with_floor():
  score = conformal.scaled_score(np.array([[2.0, 1.0, NAN]]), np.array([[4.0, 0.0, 1.0]]), 0.5)
  np.testing.assert_array_equal(score, [[0.5, 2, NAN]])


@pytest.mark.parametrize('bad', [-1.0, np.inf])
def test_impossible_uncertainties_name_value_and_place(bad):
  with pytest.raises(ValueError, match=rf'uncertainty {bad:g} at \(1, 0\)'):
    conformal.scale(np.array([[1.0], [bad]]))
  with pytest.raises(ValueError, match='floor=0'):
    conformal.scale(np.ones(1), 0)


def test_ellipse_by_hand():
  covariance = np.array([[[[4.0, 0.0], [0.0, 9.0]], [[2.0, 1.0], [1.0, 2.0]]]])
  residual = np.array([[[2.0, 3.0], [1.0, -1.0]]])
  score = conformal.ellipse_score(residual, covariance, 1e-9)
  np.testing.assert_allclose(score, [[np.sqrt(2), np.sqrt(2)]])
  area = conformal.ellipse_area_mm2(np.array([2.0, 1.0]), covariance, 1e-9)
  np.testing.assert_allclose(area, [[4 * np.pi * 6, np.pi * np.sqrt(3)]])


def test_ellipse_is_the_circle_for_a_round_covariance():
  residual = seeds.rng(0, 'round').normal(size=(5, 2, 2))
  round_ = np.broadcast_to(np.eye(2) * 0.25, (5, 2, 2, 2))
  np.testing.assert_allclose(conformal.ellipse_score(residual, round_, 1e-9),
                             np.linalg.norm(residual, axis=-1) / 0.5)
  np.testing.assert_allclose(conformal.ellipse_area_mm2(np.array([3.0, 3.0]), round_, 1e-9),
                             conformal.circle_area_mm2(1.5))


def test_a_covariance_of_zero_gives_finite_scores_and_missing_truths_stay_missing():
  score = conformal.ellipse_score(np.array([[[3.0, 4.0], [NAN, 1.0]]]), np.zeros((1, 2, 2, 2)), 0.5)
  np.testing.assert_allclose(score, [[10, NAN]])


@pytest.mark.parametrize('bad', [[[1, 2], [2, 1]], [[-1, 0], [0, -1]]])
def test_a_matrix_that_is_no_covariance_is_an_error(bad):
  with pytest.raises(ValueError, match=r'at \(0, 0\) is not that of any'):
    conformal.ellipse_score(np.ones((1, 1, 2)), np.array(bad, float)[None, None])


def test_coverage_over_many_draws_is_that_of_the_theorem():
  rng = seeds.rng(0, 'theorem')
  n, repeats = 19, 4000
  u = rng.gamma(2, size=(n + 1, repeats)) + 0.1
  error = np.abs(rng.normal(size=u.shape)) * u
  score = conformal.scaled_score(error, u)
  quantiles = conformal.calibrate(score[:n], 0.9)
  mean = conformal.inside(score[n:], quantiles).mean()
  # Exactly 18 / 20 without ties; 4000 draws give it to within 0.0142 (3 SD).
  assert abs(mean - 0.9) < 0.0142
