"""Correlations by hand and against scipy; weights mean repetition; intervals."""

import numpy as np
import pytest
from scipy import stats

from ceph_tf import seeds
from ceph_tf.evaluation import association, metrics

NAN = np.nan


def values(measure, error, **kwargs):
  patients = kwargs.pop('patients', [str(i) for i in range(len(error))])
  found = association.correlations(
      np.array(measure, float), np.array(error, float), patients, seeds.rng(0), 20)
  return {key: one['value'] for key, one in found.items()}


def test_ranks_of_repeated_values():
  weights = np.array([[1.0, 1, 1, 1], [2, 1, 0, 3]])
  found = association.weighted_ranks(np.array([5.0, 7, 6, 7]), weights)
  np.testing.assert_allclose(found[0], [1, 3.5, 2, 3.5])
  # 5 5 7 7 7 7 -> 1.5 1.5 4.5 4.5 4.5 4.5
  np.testing.assert_allclose(found[1, [0, 1, 3]], [1.5, 4.5, 4.5])


def test_a_weight_is_a_repetition():
  rng = seeds.rng(0, 'weights')
  a, b, times = rng.normal(size=9), rng.integers(0, 4, 9).astype(float), rng.integers(0, 3, 9)
  weights = times[None].astype(float)
  many = np.repeat(a, times), np.repeat(b, times)
  assert association.weighted_pearson(a, b, weights)[0] == pytest.approx(stats.pearsonr(*many)[0])
  ranks = (association.weighted_ranks(x, weights) for x in (a, b))
  assert association.weighted_pearson(*ranks, weights)[0] == pytest.approx(stats.spearmanr(*many)[0])


def test_levels_by_hand():
  # Within a landmark the measure ranks perfectly; one landmark is harder than its measure says.
  found = values([[1, 10], [2, 20], [3, 30]], [[5, 1], [6, 2], [7, 4]])
  assert found['spearman_within'] == pytest.approx(1)
  assert found['pearson_within'] == pytest.approx((1 + stats.pearsonr([1, 2, 3], [1, 2, 4])[0]) / 2)
  assert found['spearman_pooled'] == pytest.approx(
      stats.spearmanr([1, 10, 2, 20, 3, 30], [5, 1, 6, 2, 7, 4])[0])
  assert found['pearson_image'] == pytest.approx(
      stats.pearsonr([5.5, 11, 16.5], [3, 4, 5.5])[0])


def test_agrees_with_metrics_and_leaves_missing_points_out():
  rng = seeds.rng(0, 'metrics')
  measure, error = rng.normal(size=(12, 3)), rng.exponential(size=(12, 3))
  error[2, 1] = measure[5, 0] = NAN
  for key, value in metrics.correlations(measure, error).items():
    assert values(measure, error)[key] == pytest.approx(value)


def test_constant_or_tiny_inputs_are_unknown():
  assert np.isnan(list(values([[2.0], [2], [2]], [[1.0], [2], [3]]).values())).all()
  assert np.isnan(list(values([[2.0]], [[1.0]]).values())).all()


def test_intervals_draw_patients():
  rng = seeds.rng(0, 'intervals')
  measure = rng.normal(size=(40, 2))
  error = np.abs(measure + rng.normal(size=(40, 2)))
  one = association.correlations(measure, error, list(map(str, range(40))), seeds.rng(1), 200)
  for row in one.values():
    assert row['interval'][0] < row['value'] < row['interval'][1]
  same = association.correlations(measure, error, ['p'] * 40, seeds.rng(1), 200)
  assert np.isnan(same['pearson_pooled']['interval']).all()
  # Twice the images of the same patients are no more evidence.
  two = association.correlations(np.tile(measure, (2, 1)), np.tile(error, (2, 1)),
                                 list(map(str, range(40))) * 2, seeds.rng(1), 200)
  np.testing.assert_allclose(two['pearson_pooled']['interval'], one['pearson_pooled']['interval'],
                             atol=1e-9)


def test_shapes_that_differ():
  with pytest.raises(ValueError, match='must be'):
    association.correlations(np.ones((2, 3)), np.ones((2, 2)), ['a', 'b'], seeds.rng(0))
