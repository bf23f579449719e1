"""Coverage and how to judge it."""

import numpy as np
import pytest

from ceph_tf import seeds
from ceph_tf.evaluation import coverage
from ceph_tf.uncertainty import conformal

NAN = np.nan


def test_intervals_against_simulated_calibrations():
  rng = seeds.rng(0, 'beta')
  n, m, repeats = 30, 50, 20000
  kth = np.sort(rng.uniform(size=(repeats, n)), axis=1)[:, conformal.rank(n, 0.9) - 1]
  low, high = coverage.beta_interval(n, 0.9)
  assert abs(np.mean((kth >= low) & (kth <= high)) - 0.95) < 0.006
  counted = rng.binomial(m, kth) / m
  low, high = coverage.counted_interval(n, m, 0.9)
  assert 0.95 <= np.mean((counted >= low - 1e-9) & (counted <= high + 1e-9)) < 0.99
  assert low < coverage.beta_interval(n, 0.9)[0]


def test_beta_interval_by_hand():
  # n = 1, coverage 1/2: Beta(1, 1), uniform.
  assert coverage.beta_interval(1, 0.5) == pytest.approx((0.025, 0.975))
  assert coverage.beta_interval(1, 0.5, 0.5) == pytest.approx((0.25, 0.75))
  with pytest.raises(ValueError, match='needs at least 19'):
    coverage.beta_interval(18, 0.95)


def _simulated(n, m, worse=1.0, worse_from=None):
  """Errors that follow the uncertainty, 3 landmarks; `worse` multiplies those tested."""
  rng = seeds.rng(0, 'simulated')
  u = rng.gamma(4, size=(n + m, 3))
  error = np.abs(rng.normal(size=u.shape)) * u
  error[n if worse_from is None else worse_from:] *= worse
  score = conformal.scaled_score(error, u)
  q = conformal.calibrate(score[:n], 0.9)
  area = conformal.circle_area_mm2(q * conformal.scale(u[n:]))
  return coverage.report(conformal.inside(score[n:], q), area, error[n:], u[n:],
                         conformal.calibration_sizes(score[:n]), 0.9, ('a', 'b', 'c'))


def test_exchangeable_images_are_covered_as_stated_in_every_tercile():
  report = _simulated(60, 300)
  assert report['as_stated'] and report['in_beta_interval']
  assert all(row['as_stated'] for row in report['per_landmark'])
  assert [row['points'] for row in report['per_tercile']] == [300, 300, 300]
  assert all(0.82 < row['coverage'] < 0.98 for row in report['per_tercile'])
  areas = [row['area_median_mm2'] for row in report['per_tercile']]
  assert areas == sorted(areas)
  assert report['adaptivity']['within'] > 0.25 and report['adaptivity']['pooled'] > 0.25


def test_worse_images_are_not_covered_and_recalibration_restores_it():
  report = _simulated(60, 300, worse=2.0)
  assert not report['as_stated'] and not report['in_beta_interval'] and report['coverage'] < 0.8
  recalibrated = _simulated(60, 300, worse=2.0, worse_from=0)
  assert recalibrated['as_stated']
  assert recalibrated['radius_mean_mm'] == pytest.approx(2 * report['radius_mean_mm'])


def test_figures_by_hand():
  covered = np.array([[1, 0], [1, 1], [0, NAN], [1, 1]])
  error = np.array([[1, 9], [2, 1], [5, NAN], [1, 1]])
  u = np.array([[1, 7], [2, 7], [3, 7], [NAN, 7]])
  area = np.array([[1, 4], [2, 4], [3, 100], [6, 4]]) * np.pi
  report = coverage.report(covered, area, error, u, np.array([9, 19]), 0.9, ('a', 'b'))
  assert (report['images'], report['points']) == (4, 7)
  assert report['coverage'] == pytest.approx(5 / 7)
  assert report['area_mean_mm2'] == pytest.approx(24 / 7 * np.pi)
  assert report['area_median_mm2'] == pytest.approx(4 * np.pi)
  a, b = report['per_landmark']
  assert (a['landmark'], a['images'], a['coverage'], a['calibrated']) == ('a', 4, 0.75, 9)
  assert (b['images'], b['coverage'], b['calibrated']) == (3, pytest.approx(2 / 3), 19)
  assert a['area_median_mm2'] == pytest.approx(2.5 * np.pi)
  # Landmark b has a constant uncertainty, and one of a is unknown: in no tercile.
  assert [row['points'] for row in report['per_tercile']] == [1, 1, 1]
  assert [row['coverage'] for row in report['per_tercile']] == [1, 1, 0]
  assert report['beta_interval'] == coverage.beta_interval(9, 0.9)


def test_a_landmark_without_labels_and_one_image_are_reported():
  report = coverage.report(np.array([[1, NAN]]), np.ones((1, 2)), np.array([[1, NAN]]), np.ones((1, 2)),
                           np.array([9, 9]), 0.9, ('a', 'b'))
  assert report['coverage'] == 1 and report['as_stated']
  assert report['per_landmark'][1]['images'] == 0 and np.isnan(report['per_landmark'][1]['coverage'])
  assert np.isnan(report['per_tercile'][0]['coverage']) and np.isnan(report['adaptivity']['pooled'])


def test_no_label_and_wrong_shapes_are_errors():
  with pytest.raises(ValueError, match='no point has a label'):
    unknown = np.full((2, 1), NAN)
    coverage.report(unknown, 1, unknown, np.ones((2, 1)), np.array([9]), 0.9, ('a',))
  with pytest.raises(ValueError, match=r'all must be \[N, 1\]'):
    coverage.report(np.ones((2, 2)), 1, np.ones((2, 2)), np.ones((2, 2)), np.array([9]), 0.9, ('a',))
