"""Systematic and random errors, by hand."""

import numpy as np
import pytest

from ceph_tf.evaluation import systematic

NAN = np.nan


def test_errors_are_vectors_in_mm_from_the_truth_to_the_point():
  found = systematic.error_xy_mm([[[13, 4]], [[1, 1]]], [[[10, 8]], [[1, 1]]], [0.1, NAN])
  np.testing.assert_allclose(found, [[[0.3, -0.4]], [[NAN, NAN]]])


def test_the_systematic_error_is_the_mean_of_what_is_known():
  error = np.array([[[1, 2], [NAN, NAN]], [[3, -2], [NAN, NAN]], [[NAN, NAN], [NAN, NAN]]], float)
  np.testing.assert_allclose(systematic.systematic_error_mm(error), [[2, 0], [NAN, NAN]])


def test_the_random_error_is_about_the_mean_of_all_others():
  error = np.array([[[1, 0]], [[3, 4]], [[5, 0]]], float)
  # Means of the others: (4, 2), (3, 0), (2, 2).
  np.testing.assert_allclose(systematic.random_error_mm(error, list('abc')),
                             [[np.sqrt(13)], [4], [np.sqrt(13)]])


def test_films_of_one_patient_say_nothing_of_each_other():
  error = np.array([[[1, 0]], [[3, 0]], [[6, 0]]], float)
  np.testing.assert_allclose(systematic.random_error_mm(error, ['a', 'a', 'b']), [[5], [3], [4]])


def test_what_is_unknown_changes_no_other_error_and_has_none():
  error = np.array([[[1, 0], [1, 1]], [[NAN, NAN], [2, 1]], [[6, 0], [NAN, NAN]]], float)
  np.testing.assert_allclose(systematic.random_error_mm(error, list('abc')), [[5, 1], [NAN, 1], [5, NAN]])


def test_without_another_patient_there_is_no_random_error():
  assert np.isnan(systematic.random_error_mm(np.ones([2, 3, 2]), ['a', 'a'])).all()


def test_a_shift_of_every_truth_changes_the_systematic_error_alone():
  rng = np.random.default_rng(0)
  error, shift = rng.normal(0, 1, [20, 3, 2]), np.array([[1, 2], [0, 0], [-3, 1]])
  patients = [str(i) for i in range(20)]
  np.testing.assert_allclose(systematic.systematic_error_mm(error + shift),
                             systematic.systematic_error_mm(error) + shift)
  np.testing.assert_allclose(systematic.random_error_mm(error + shift, patients),
                             systematic.random_error_mm(error, patients))


@pytest.mark.parametrize('shape', [(2, 3), (2, 3, 3), (3, 3, 2)])
def test_shapes_that_do_not_fit_are_refused(shape):
  with pytest.raises(ValueError, match='patient ids'):
    systematic.random_error_mm(np.zeros(shape), ['a', 'b'])
