"""Habits: by hand, and that a share of a mean is worth more than the mean."""

import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.uncertainty import habits

NAN = np.nan


def fit(errors, patients=None):
  return habits.fit(errors, patients or [f'p{k}' for k in range(len(errors))])


def test_the_size_of_a_square_is_half_its_diagonal_wherever_it_lies():
  square = np.array([[0, 0], [6, 0], [6, 8], [0, 8]], np.float32)
  found = habits.size_px(tf.constant(np.stack([square, square + [100, -7], 3 * square])))
  np.testing.assert_allclose(found, [5, 5, 15], rtol=1e-6)


def test_a_habit_by_hand():
  # Means (2, 0) and 0 of five; squared deviations sum to 20, so the variance of a mean is 20 / (5 * 4) = 1.
  # The squared means have (4 - 1 + 0 - 1) / 2 = 1 above that, so half of each is believed.
  errors = np.array([[[2 + d, 0], [0, d]] for d in (-3, -1, 0, 1, 3)])
  np.testing.assert_allclose(fit(errors), [[1, 0], [0, 0]])


def test_a_landmark_counts_as_often_as_it_is_seen():
  # The third, seen ten times: mean 3, squared deviations 90, variance of the mean 1. Above chance is
  # (5 * (4 - 1) + 5 * (0 - 1) + 10 * (9 - 1)) / 20 = 4.5.
  errors = np.full((10, 3, 2), NAN)
  errors[:5, :2] = [[[2 + d, 0], [0, d]] for d in (-3, -1, 0, 1, 3)]
  errors[:, 2] = [[3 + d, 0] for d in (-3, 3) * 5]
  np.testing.assert_allclose(fit(errors), [[2 * 4.5 / 5.5, 0], [0, 0], [3 * 4.5 / 5.5, 0]])


def test_what_may_be_chance_is_no_habit():
  # The squared mean of the first is 1/4, its variance 1.
  errors = np.array([[[0.5 + d, 0], [0, d]] for d in (-3, -1, 0, 1, 3)])
  np.testing.assert_array_equal(fit(errors), np.zeros((2, 2)))


def test_a_habit_without_scatter_is_believed():
  np.testing.assert_allclose(fit(np.tile([[[0.3, -0.4]]], (5, 1, 1))), [[0.3, -0.4]])


def test_films_of_a_patient_count_once():
  rng = seeds.rng(0, 'habits')
  errors = rng.normal(1, 0.5, (6, 3, 2))
  often = np.concatenate([errors, errors[:1], errors[:1]])
  np.testing.assert_allclose(fit(often, ['a', 'b', 'c', 'd', 'e', 'f', 'a', 'a']), fit(errors))


def test_a_landmark_that_few_patients_show_has_no_habit_and_changes_none():
  rng = seeds.rng(0, 'habits')
  errors = rng.normal(1, 0.5, (6, 4, 2))
  errors[:, 1], errors[4:, 3], errors[0, 0, 1] = NAN, NAN, NAN
  found = fit(errors)
  np.testing.assert_array_equal(found[[1, 3]], 0)
  np.testing.assert_allclose(found[[0, 2]], fit(errors[:, [0, 2]]))
  assert (found[[0, 2]] > 0.5).all()
  np.testing.assert_array_equal(fit(errors[:4]), 0)
  np.testing.assert_array_equal(fit(errors[:0]), np.zeros((4, 2)))


def test_a_film_has_no_say_in_what_is_taken_from_it():
  rng = seeds.rng(0, 'habits')
  errors, patients = rng.normal(1, 0.5, (8, 3, 2)), [*'aabcdefg']
  found = habits.of_others(errors, patients)
  np.testing.assert_allclose(found[2], habits.fit(np.delete(errors, 2, 0), [*'aacdefg']))
  np.testing.assert_allclose(found[0], habits.fit(errors[2:], [*'bcdefg']))
  assert (found > 0.5).all()
  errors[1] += 100
  np.testing.assert_array_equal(habits.of_others(errors, patients)[:2], found[:2])
  np.testing.assert_array_equal(habits.of_others(errors, ['a'] * 8), 0)


@pytest.mark.parametrize('spread', [0.0, 0.1, 1.0])
def test_a_share_is_worth_more_than_the_mean_and_than_nothing(spread):
  """Over 200 sites with 20 films each: errors of 1 about habits of that spread."""
  rng, rest = seeds.rng(0, f'sites {spread}'), {'share': [], 'mean': [], 'nothing': []}
  for _ in range(200):
    habit = rng.normal(0, spread, (19, 2))
    errors = habit + rng.normal(0, 1, (20, 19, 2))
    for name, found in (('share', fit(errors)), ('mean', errors.mean(0)), ('nothing', 0)):
      rest[name].append(np.square(habit - found).sum(-1).mean())
  mean = {name: np.mean(values) for name, values in rest.items()}
  assert mean['share'] <= min(mean['mean'], mean['nothing'] + 0.01), mean
  if spread == 0.1:  # the best share of a mean with a variance of 1/20 is 1/6: 5/6 of the variance is left
    assert mean['share'] < 0.7 * mean['mean'], mean


@pytest.mark.parametrize('errors,patients', [(np.zeros((2, 3, 2)), ['a']), (np.zeros((2, 3)), ['a', 'b']),
                                             (np.zeros((2, 3, 3)), ['a', 'b'])])
def test_shapes_that_do_not_fit_are_refused(errors, patients):
  with pytest.raises(ValueError, match=r'must be \[N, L, 2\] and N'):
    habits.fit(errors, patients)
