"""Warnings of four films with two landmarks, counted by hand."""

import numpy as np
import pytest

from ceph_tf.evaluation import alarms

IDS = ('a', 'b', 'c', 'd')
REFER = np.array([True, False, False, False])
RADIUS_MM = np.array([[9.0, 1.0], [4.1, 2.0], [4.0, np.nan], [3.0, 3.0]])
ERROR_MM = np.array([[5.0, 6.0], [7.0, 4.0], [4.1, 8.0], [np.nan, 1.0]])


def test_prices_and_worths_by_hand():
  assert alarms.alarms(IDS, REFER, RADIUS_MM, ERROR_MM) == {
      'referred': 0.25, 'referred_ids': ['a'],
      'checked': pytest.approx(1 / 6),  # of three films of two landmarks, b's first; a radius of 4 mm is none
      'gross': 5,  # an error of 4 mm is none
      'gross_referred': 2,
      'gross_checked': 1}  # b's first; both of c come without a warning


def test_where_all_are_referred_nothing_is_left_to_check():
  found = alarms.alarms(IDS, np.ones(4, bool), RADIUS_MM, ERROR_MM)
  assert (found['referred'], found['gross_referred'], found['gross_checked']) == (1, 5, 0)
  assert np.isnan(found['checked'])


def test_of_no_film_no_share_is_known():
  found = alarms.alarms((), REFER[:0], RADIUS_MM[:0], ERROR_MM[:0])
  assert np.isnan(found['referred']) and np.isnan(found['checked']) and found['gross'] == 0


def test_without_regions_only_films_are_named():
  found = alarms.alarms(IDS, REFER, np.full((4, 2), np.nan), ERROR_MM)
  assert (found['checked'], found['gross_referred'], found['gross_checked']) == (0, 2, 0)
