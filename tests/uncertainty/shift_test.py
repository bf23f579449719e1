"""The shift check: exact p-values, false alarms, and words."""

import numpy as np
import pytest
from scipy import stats

from ceph_tf import seeds
from ceph_tf.uncertainty import shift


def drawn(name, n, m, move=0.0, measures=('spread_mm', 'mha')):
  rng = seeds.rng(0, name)
  old = {key: rng.gamma(3, size=n) for key in measures}
  new = {key: rng.gamma(3, size=m) + move * (i == 0) for i, key in enumerate(measures)}
  return old, new


def test_holm_by_hand():
  np.testing.assert_allclose(shift.holm([0.04, 0.01, 0.03, 0.5]), [0.09, 0.04, 0.09, 0.5])
  np.testing.assert_allclose(shift.holm([0.7, 0.6]), [1, 1])


def test_image_level_is_the_mean_over_known_landmarks():
  measure = np.array([[1.0, 3.0], [np.nan, 5.0], [np.nan, np.nan]])
  np.testing.assert_array_equal(shift.image_level(measure), [2, 5, np.nan])


def test_conformal_p_value_is_the_rank_of_the_strangeness():
  old = np.arange(1.0, 10)[:, None]
  np.testing.assert_allclose(shift.image_p_values(old, np.array([[100.0], [-100], [5]])), [0.1, 0.1, 1])
  # 8.9 among 1..9: mean 5.39; stranger are 1 (4.39) and 9 (3.61), with itself 3 of 10.
  np.testing.assert_allclose(shift.image_p_values(old, np.array([[8.9]])), [0.3])


def test_conformal_p_values_are_uniform_when_nothing_changed():
  rng = seeds.rng(0, 'uniform')
  p = np.array([shift.image_p_values(rng.gamma(1, size=(9, 3)), rng.gamma(1, size=(1, 3)))[0]
                for _ in range(2000)])
  counts = np.bincount(np.rint(p * 10).astype(int), minlength=11)[1:]
  assert counts.min() > 140 and counts.max() < 260  # 200 each, 4 SD


def test_energy_distance_is_scipys_squared():
  rng = seeds.rng(0, 'scipy')
  x = rng.normal(size=12)
  chosen = np.stack([np.arange(12) < 4, np.arange(12) % 2 == 0]).astype(float)
  want = [stats.energy_distance(x[side == 1], x[side == 0])**2 for side in chosen]
  np.testing.assert_allclose(shift.energy_distance(np.abs(x[:, None] - x), chosen), want)


def test_energy_p_value_of_two_and_two_by_hand():
  # Of 6 ways to choose 2 of 4 values, 2 separate them wholly: p = 1/3.
  p = shift.energy_p_value(np.array([[1.0], [2]]), np.array([[8.0], [9]]), seeds.rng(0), 6000)
  assert abs(p - 1 / 3) < 0.025


def test_energy_finds_what_no_single_measure_shows():
  rng = seeds.rng(0, 'joint')
  x, y = rng.normal(size=(2, 150))
  old, new = np.stack([x, x + 0.2 * y], 1), np.stack([x[::-1], -x[::-1] + 0.2 * y], 1)
  assert shift.energy_p_value(old, new, seeds.rng(1), 200) < 0.01


def test_false_alarms_stay_below_alpha():
  alarms = 0
  for i in range(300):
    old, new = drawn(f'same {i}', 15, 10)
    a, b = np.stack(list(old.values()), 1), np.stack(list(new.values()), 1)
    alarms += shift.energy_p_value(a, b, seeds.rng(i), 99) <= 0.05
  assert alarms < 15 + 3 * np.sqrt(15)


def test_a_shift_is_named_in_words():
  found = shift.check(*drawn('moved', 30, 40, 3.0), seeds.rng(0))
  assert found['verdict'] == 'shifted' and found['trust_regions'] is False
  assert 'The 90 % regions should not be trusted on this set' in found['words']
  assert 'spread_mm is larger' in found['words'] and 'mha' not in found['words']
  smallest_holm = min(row['p_holm'] for row in found['measures'])
  assert found['p_value'] == 2 * min(smallest_holm, found['energy_p_value']) < 0.01
  by_name = {row['measure']: row for row in found['measures']}
  assert by_name['spread_mm']['larger'] > 0.8 and by_name['spread_mm']['p_holm'] < 0.01
  assert by_name['mha']['p_holm'] > 0.05


def test_nothing_changed_is_said_without_promising_too_much():
  found = shift.check(*drawn('same', 30, 40), seeds.rng(0), stated=0.95)
  assert found['verdict'] == 'no_shift_seen' and found['trust_regions'] is True
  assert 'No sign' in found['words'] and 'the 95 % regions, but no proof' in found['words']
  assert len(found['image_p_values']) == 40 and found['strange_by_chance'] == pytest.approx(2)


def test_one_new_image_is_judged_by_its_conformal_p_value():
  found = shift.check(*drawn('one', 30, 1, 20.0), seeds.rng(0))
  assert found['verdict'] == 'shifted' and found['p_value'] == pytest.approx(1 / 31)
  assert 'should not be trusted on this image' in found['words']
  assert found['measures'] == [] and found['strange_images'] == [0]
  assert shift.check(*drawn('one', 30, 1), seeds.rng(0))['verdict'] == 'no_shift_seen'


@pytest.mark.parametrize(('n', 'm'), [(18, 1), (5, 2), (2, 3)])
def test_too_few_images_for_any_alarm_is_said(n, m):
  found = shift.check(*drawn('few', n, m), seeds.rng(0))
  assert found['verdict'] == 'cannot_tell' and found['trust_regions'] is None
  assert f'with {n} calibration and {m} new images p cannot fall to 0.05' in found['words']


def test_nineteen_calibration_images_suffice_for_one_new_image():
  assert shift.check(*drawn('nineteen', 19, 1), seeds.rng(0))['verdict'] == 'no_shift_seen'
  assert shift.check(*drawn('nineteen', 19, 1, 50.0), seeds.rng(0))['verdict'] == 'shifted'


def test_constant_measures_show_no_shift_until_they_change():
  old = {'spread_mm': np.zeros(20)}
  same = shift.check(old, {'spread_mm': np.zeros(10)}, seeds.rng(0))
  assert same['verdict'] == 'no_shift_seen' and same['p_value'] == 1
  assert same['measures'][0]['larger'] == 0.5
  moved = shift.check(old, {'spread_mm': np.full(10, 1e-3)}, seeds.rng(0))
  assert moved['verdict'] == 'shifted'
  assert shift.check(old, {'spread_mm': np.ones(1)}, seeds.rng(0))['verdict'] == 'shifted'


def test_same_seed_same_answer():
  first, second = (shift.check(*drawn('seed', 12, 9), seeds.rng(4)) for _ in range(2))
  assert first == second


@pytest.mark.parametrize(('old', 'new', 'message'), [
    ({}, {}, 'at least one'),
    ({'a': [1, 2]}, {'b': [1]}, r"\['a'\] and of the new set \['b'\]"),
    ({'a': [1]}, {'a': [1]}, r'a of the calibration set has shape \(1,\).*N >= 2'),
    ({'a': [1, 2]}, {'a': []}, r'a of the new set has shape \(0,\).*N >= 1'),
    ({'a': [1, 2], 'b': [1, 2, 3]}, {'a': [1], 'b': [1]}, r'b of the calibration set has shape \(3,\)'),
    ({'a': [1, 2]}, {'a': [1, np.nan]}, 'a of the new set is nan for image 1'),
    ({'a': [np.inf, 2]}, {'a': [1]}, 'a of the calibration set is inf for image 0'),
])
def test_bad_input_is_an_error(old, new, message):
  with pytest.raises(ValueError, match=message):
    shift.check(old, new, seeds.rng(0))
