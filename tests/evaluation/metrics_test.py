"""Metrics against figures worked out by hand."""

import time

import numpy as np
import pytest

from ceph_tf import seeds
from ceph_tf.evaluation import metrics


def test_radial_error_is_the_distance_times_the_spacing_of_each_image():
  points = np.array([[[3, 4], [0, 0]], [[3, 4], [6, 8]]], np.float32)
  truth = np.zeros((2, 2, 2), np.float32)
  error = metrics.radial_error_mm(points, truth, np.array([0.1, 0.5]))
  np.testing.assert_allclose(error, [[0.5, 0], [2.5, 5]])


def test_missing_points_and_unknown_spacing_give_nan_and_nothing_else():
  points = np.zeros((2, 2, 2))
  truth = np.array([[[np.nan, 0], [1, 0]], [[1, 0], [1, 0]]])
  error = metrics.radial_error_mm(points, truth, np.array([1.0, np.nan]))
  np.testing.assert_array_equal(np.isnan(error), [[True, False], [True, True]])
  assert metrics.radial_error_px(points, truth)[1, 0] == 1


@pytest.mark.parametrize('shape', [(2, 3, 2), (2, 4), (1, 4, 2)])
def test_shapes_that_do_not_match_are_an_error(shape):
  with pytest.raises(ValueError, match='must be'):
    metrics.radial_error_px(np.zeros(shape), np.zeros((2, 4, 2)))


def test_summary_of_five_errors():
  table = metrics.summarize(np.array([[1.0, 2.0, 2.6], [3.0, 6.4, np.nan]]))
  assert table['points'] == 5
  assert table['mre_mm'] == pytest.approx(3.0)
  assert table['sd_mm'] == pytest.approx(np.sqrt((4 + 1 + 0.16 + 0 + 11.56) / 4))
  assert table['median_mm'] == pytest.approx(2.6)
  assert [table[f'sdr_{t}mm'] for t in ('2', '2.5', '3', '4')] == [0.4, 0.4, 0.8, 0.8]


def test_an_error_of_exactly_the_threshold_is_detected_despite_float32_spacing():
  error = metrics.radial_error_mm([[[20, 0]]], [[[0, 0]]], np.array([0.1], np.float32))
  assert error[0, 0] > 2
  assert metrics.summarize(error)['sdr_2mm'] == 1


def test_nothing_to_average_is_nan_and_silent():
  table = metrics.summarize(np.full((3, 2), np.nan))
  assert table['points'] == 0
  assert np.isnan(table['mre_mm']) and np.isnan(table['sdr_2mm']) and np.isnan(table['sd_mm'])
  assert np.isnan(metrics.summarize(np.array([[1.0]]))['sd_mm'])


def test_per_landmark_names_its_columns():
  rows = metrics.per_landmark(np.array([[1.0, 5.0], [3.0, np.nan]]), ('sella', 'nasion'))
  assert [row['landmark'] for row in rows] == ['sella', 'nasion']
  assert [row['mre_mm'] for row in rows] == [2.0, 5.0]
  assert [row['points'] for row in rows] == [2, 1]
  with pytest.raises(ValueError, match='2 columns of errors for 1'):
    metrics.per_landmark(np.zeros((1, 2)), ('sella',))


def test_bootstrap_matches_a_plain_loop_over_the_same_draws():
  rng = np.random.default_rng(1)
  error = rng.gamma(2.0, 1.0, (7, 3))
  error[2, 1] = np.nan
  patients = ['a', 'a', 'b', 'c', 'd', 'd', 'e']
  found = metrics.bootstrap_intervals(error, patients, np.random.default_rng(5), 60)
  draws = np.random.default_rng(5).multinomial(5, np.full(5, 0.2), size=60)
  statistics = []
  for draw in draws:
    rows = [i for i, p in enumerate(patients) for _ in range(draw['abcde'.index(p)])]
    table = metrics.summarize(error[rows])
    statistics.append([table[key] for key in found])
  expected = np.quantile(statistics, [0.025, 0.975], axis=0).T
  np.testing.assert_allclose(list(found.values()), expected)


def test_bootstrap_in_blocks_gives_the_same_medians(monkeypatch):
  error = np.random.default_rng(1).gamma(2.0, 1.0, (9, 4))
  patients = [str(i) for i in range(9)]
  whole = metrics.bootstrap_intervals(error, patients, np.random.default_rng(5), 50)
  monkeypatch.setattr(metrics, '_CHUNK', 100)
  assert metrics.bootstrap_intervals(error, patients, np.random.default_rng(5), 50) == whole


def test_images_of_one_patient_are_drawn_together():
  error = np.repeat([[1.0], [5.0]], 50, axis=0)
  two = metrics.bootstrap_intervals(error, ['a'] * 50 + ['b'] * 50, seeds.rng(0, 'x'), 500)
  hundred = metrics.bootstrap_intervals(error, [str(i) for i in range(100)], seeds.rng(0, 'x'), 500)
  assert two['mre_mm'] == (1.0, 5.0)
  assert 2.4 < hundred['mre_mm'][0] < 3 < hundred['mre_mm'][1] < 3.6


def test_one_patient_has_no_interval():
  interval = metrics.bootstrap_intervals(np.ones((2, 2)), ['a', 'a'], seeds.rng(0))['mre_mm']
  assert np.isnan(interval).all()


def test_a_thousand_resamples_of_test1_take_well_under_a_second():
  error = np.random.default_rng(0).gamma(2.0, 1.0, (150, 19))
  start = time.process_time()
  metrics.bootstrap_intervals(error, [str(i) for i in range(150)], seeds.rng(0), 1000)
  assert time.process_time() - start < 1


def test_correlations_of_short_series():
  a, b = np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 100])
  assert metrics.spearman(a, b) == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
  assert metrics.pearson(a, 5 - 2 * a) == pytest.approx(-1)
  assert metrics.spearman(np.array([1, 1, 2, np.nan]), np.array([3, 3, 9, 1])) == pytest.approx(1)
  # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5).
  assert metrics.spearman(np.array([1, 2, 2, 3]), a) == pytest.approx(np.sqrt(0.9))
  assert np.isnan(metrics.pearson(a, np.ones(4)))
  assert np.isnan(metrics.spearman(np.full(4, np.nan), a))


def test_within_landmark_correlation_ignores_which_landmark_is_hard():
  error = np.array([[1.0, 11], [2, 12], [3, 13]])
  measure = np.array([[3.0, 13], [2, 12], [1, 11]])
  table = metrics.correlations(measure, error)
  assert table['spearman_pooled'] > 0.5
  assert table['spearman_within'] == pytest.approx(-1)
  assert table['pearson_within'] == pytest.approx(-1)
