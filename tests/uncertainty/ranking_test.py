"""Ranking figures by hand."""

import numpy as np
import pytest

from ceph_tf import seeds
from ceph_tf.uncertainty import ranking

NAN = np.nan


def test_by_hand():
  found = ranking.separation(np.array([4, 3, 2, 1]), np.array([1, 0, 1, 0], bool))
  assert found == {'auroc': 0.75, 'aupr': pytest.approx((1 + 2 / 3) / 2), 'fpr_at_95_tpr': 0.5}


def test_ties_count_half():
  found = ranking.separation(np.array([1, 1, 0, 1]), np.array([1, 0, 0, 1], bool))
  assert found == {'auroc': 0.75, 'aupr': pytest.approx(2 / 3), 'fpr_at_95_tpr': 0.5}
  constant = ranking.separation(np.zeros(8), np.arange(8) < 2)
  assert constant == {'auroc': 0.5, 'aupr': 0.25, 'fpr_at_95_tpr': 1}


def test_perfect_and_reversed():
  positive = np.arange(10) > 6
  assert ranking.separation(np.arange(10.0), positive) == {'auroc': 1, 'aupr': 1, 'fpr_at_95_tpr': 0}
  assert ranking.separation(-np.arange(10.0), positive)['auroc'] == 0


def test_auroc_is_the_fraction_of_pairs_in_order():
  rng = seeds.rng(0, 'pairs')
  score, positive = rng.integers(0, 9, 60), rng.uniform(size=60) < 0.3
  a, b = score[positive][:, None], score[~positive][None]
  assert ranking.separation(score, positive)['auroc'] == pytest.approx(np.mean((a > b) + (a == b) / 2))


def test_fpr_finds_at_least_95_percent_not_94():
  score, positive = np.arange(40.0, 0, -1), np.arange(40) % 2 == 0
  assert ranking.separation(score, positive)['fpr_at_95_tpr'] == 0.9  # the 19th of 20 positives
  nineteen = np.delete(np.arange(40), 38)
  assert ranking.separation(score[nineteen], positive[nineteen])['fpr_at_95_tpr'] == 0.9


def test_infinite_scores_rank_and_unknown_ones_are_left_out():
  found = ranking.separation(np.array([np.inf, 5, NAN, -np.inf]), np.array([1, 0, 0, 0], bool))
  assert found == {'auroc': 1, 'aupr': 1, 'fpr_at_95_tpr': 0}


@pytest.mark.parametrize('positive', [[False] * 3, [True] * 3])
def test_one_class_alone_cannot_be_ranked(positive):
  assert np.isnan(ranking.separation(np.arange(3.0), np.array(positive))['auroc'])
  assert np.isnan(ranking.separation(np.array([]), np.array([], bool))['aupr'])


def test_shapes_must_agree():
  with pytest.raises(ValueError, match='both must be'):
    ranking.separation(np.zeros(3), np.zeros(4, bool))
