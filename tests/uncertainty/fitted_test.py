"""What is fitted on calibration images: by hand, saved and loaded, and its promises by simulation."""

import dataclasses

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.uncertainty import conformal, ood
from ceph_tf.uncertainty import fitted as fitting

NAN = np.nan
NAMES = ['sella', 'nasion']


def covariances(rng, n, landmarks):
  roots = rng.normal(size=(n, landmarks, 2, 2)) + np.eye(2)
  return roots @ np.swapaxes(roots, -1, -2) + 0.2 * np.eye(2)


def made(n=19, landmarks=2, name='made', features=4):
  rng = seeds.rng(0, name)
  covariance = covariances(rng, n, landmarks)
  residual = np.einsum('nlij,nlj->nli', np.linalg.cholesky(covariance), rng.normal(size=(n, landmarks, 2)))
  return {
      'train_features': rng.normal(size=(40, features)),
      'features': rng.normal(size=(n, 1, features)),  # of an image and no copy of it
      'residual_px': residual,
      'covariance_px2': covariance,
      'bin_measure': rng.gamma(2, size=(n, 1, landmarks)),
  }


def fit(arrays, coverage=0.9, bins=5, alpha=0.05):
  return fitting.fit(**arrays, coverage=coverage, bins=bins, alpha=alpha)


def answers(fitted, arrays):
  sd = np.sqrt(np.trace(arrays['covariance_px2'], axis1=-2, axis2=-1))
  measures = {'total_sd_px': tf.constant(sd, tf.float32),
              'entropy_nats': tf.constant(arrays['bin_measure'][:, 0], tf.float32)}
  score = ood.score(tf.constant(arrays['features'][:, 0], tf.float32), fitted.density)
  found = fitting.answers(fitted, measures, tf.constant(arrays['covariance_px2'], tf.float32), score)
  return {name: value.numpy() for name, value in found.items()}


@pytest.mark.parametrize('n', [19, 4])
def test_loaded_is_what_was_saved(tmp_path, n):
  fitted = fit(made(n))
  fitting.save(fitted, tmp_path / 'fitted.npz')
  loaded = fitting.load(tmp_path / 'fitted.npz')
  for field in dataclasses.fields(fitted):
    if field.name != 'density':
      np.testing.assert_array_equal(getattr(loaded, field.name), getattr(fitted, field.name))
  assert (type(loaded.coverage), type(loaded.alpha)) == (float, float)
  for name, value in fitted.density._asdict().items():
    np.testing.assert_array_equal(getattr(loaded.density, name), value)
  assert fitting.summary(loaded, NAMES) == fitting.summary(fitted, NAMES)
  for name, value in answers(fitted, made(n)).items():
    np.testing.assert_array_equal(answers(loaded, made(n))[name], value)


def test_radius_is_the_18th_smallest_of_19_ratios_times_the_uncertainty():
  arrays = made(19)
  fitted = fit(arrays)
  sd = np.sqrt(arrays['covariance_px2'][..., 0, 0] + arrays['covariance_px2'][..., 1, 1])
  ratio = np.hypot(arrays['residual_px'][..., 0], arrays['residual_px'][..., 1]) / sd
  new = made(3, name='new')
  new_sd = np.sqrt(new['covariance_px2'][..., 0, 0] + new['covariance_px2'][..., 1, 1])
  expected = np.sort(ratio, 0)[17] * new_sd
  np.testing.assert_allclose(answers(fitted, new)['region_radius_px'], expected, rtol=1e-5)


def test_radius_of_a_certain_landmark_has_a_floor():
  arrays = made(19)
  arrays['covariance_px2'] = np.zeros((19, 2, 2, 2))
  arrays['residual_px'] = np.zeros((19, 2, 2)) + [3.0, 4.0]
  found = answers(fit(arrays), arrays)
  np.testing.assert_allclose(found['region_radius_px'], 5.0, rtol=1e-5)
  np.testing.assert_allclose(found['region_ellipse_px2'], np.broadcast_to(25 * np.eye(2), (19, 2, 2, 2)),
                             rtol=1e-4, atol=1e-6)


def test_circle_and_ellipse_hold_18_of_19_calibration_truths():
  arrays = made(19)
  found = answers(fit(arrays), arrays)
  residual = arrays['residual_px']
  inside = np.linalg.norm(residual, axis=-1) <= found['region_radius_px'] * (1 + 1e-5)
  np.testing.assert_array_equal(inside.sum(0), [18, 18])
  distance = np.einsum('nli,nlij,nlj->nl', residual, np.linalg.inv(found['region_ellipse_px2']), residual)
  np.testing.assert_array_equal((distance <= 1 + 1e-4).sum(0), [18, 18])
  for landmark in range(2):  # the one outside is the farthest
    shape = arrays['covariance_px2'][:, landmark] + 0.01 * np.eye(2)
    r = residual[:, landmark]
    mahalanobis = np.einsum('ni,nij,nj->n', r, np.linalg.inv(shape), r)
    assert np.argmax(mahalanobis) == np.flatnonzero(distance[:, landmark] > 1 + 1e-4)


def test_a_missing_truth_takes_no_part_and_too_few_make_its_region_absent():
  arrays = made(20)
  arrays['residual_px'][0, 0] = NAN
  without = {name: value if name == 'train_features' else value[1:] for name, value in arrays.items()}
  np.testing.assert_array_equal(fit(arrays).radius_quantiles[0], fit(without).radius_quantiles[0])
  arrays['residual_px'][:12, 0] = NAN
  fitted = fit(arrays)
  np.testing.assert_array_equal(np.isnan(fitted.radius_quantiles), [True, False])
  np.testing.assert_array_equal(np.isnan(fitted.ellipse_quantiles), [True, False])
  found = answers(fitted, arrays)
  np.testing.assert_array_equal(np.isnan(found['region_radius_px']), np.tile([True, False], (20, 1)))
  summary = fitting.summary(fitted, NAMES)
  assert summary['radius_quantiles'][0] is None and summary['radius_quantiles'][1] > 0


def test_bins_by_hand():
  arrays = made(9, landmarks=2)
  arrays['bin_measure'] = np.stack([np.arange(9.0), 10 * np.arange(9.0)], 1)[:, None]
  fitted = fit(arrays, coverage=0.5, bins=4)
  np.testing.assert_allclose(fitted.thresholds, [[2, 4, 6], [20, 40, 60]])
  new = made(7, name='new')
  new['bin_measure'] = np.array(
      [[-1, 500], [2, 40], [2.01, 40.01], [4, 20], [5, 19], [6, 60], [6.01, 60.1]])[:, None]
  np.testing.assert_array_equal(answers(fitted, new)['bin'],
                                [[1, 4], [1, 2], [2, 3], [2, 1], [3, 1], [3, 3], [4, 4]])


def test_p_value_by_hand():
  calibration = np.array([1, 2, 2, 5], np.float32)
  found = fitting.p_value(tf.constant([0.0, 1.0, 2.0, 2.5, 5.0, 6.0]), calibration, np.ones(4))
  np.testing.assert_allclose(found, [1, 1, 0.8, 0.4, 0.4, 0.2], rtol=1e-6)


def test_p_value_of_images_with_copies_by_hand():
  # Two images, two values each: half an image is at least 5, so (1 + 1/2) / 3.
  found = fitting.p_value(tf.constant([2.0, 5.0, 6.0]), np.array([1, 2, 2, 5], np.float32), np.full(4, 0.5))
  np.testing.assert_allclose(found, [2.5 / 3, 1.5 / 3, 1 / 3], rtol=1e-6)


def test_several_images_of_a_patient_count_as_one():
  arrays = made(20)
  twice = fit({name: value if name == 'train_features' else np.concatenate([value, value])
               for name, value in arrays.items()} | {'patient_ids': [f'p{i % 20}' for i in range(40)]})
  once, new = fit(arrays), made(7, name='new')
  assert (twice.images, twice.patients, once.images, once.patients) == (40, 20, 20, 20)
  for name, expected in answers(once, new).items():
    np.testing.assert_allclose(answers(twice, new)[name], expected, rtol=1e-6, err_msg=name)
  few = fit(arrays | {'patient_ids': [f'p{i // 3}' for i in range(20)]})
  assert (few.patients, few.has_regions, few.refers) == (7, False, False)


def test_an_alarm_is_as_rare_as_stated_where_films_of_a_patient_are_alike():
  """10 patients of two films: as 20 patients they would reach 0.05 in 9 % of cases."""
  rng = seeds.rng(0, 'alike')
  ids, raised = np.repeat(np.arange(10), 2), []
  for _ in range(600):
    patients = rng.normal(size=11)
    films = np.repeat(patients[:10], 2) + 0.1 * rng.normal(size=20)
    new = tf.constant([patients[10] + 0.1 * rng.normal()], tf.float32)
    raised.append(fitting.p_value(new, films.astype(np.float32), conformal.shares(ids)).numpy()[0] <= 0.05)
  assert np.mean(raised) < 0.068  # 0.05 by two standard errors


def test_an_image_is_not_strange_if_a_copy_of_a_calibration_image_is_as_strange():
  arrays = made(19)
  far = 100 * (np.arange(19) == 7)[:, None, None]  # a copy of one image is far off
  names = ('features', 'bin_measure')
  fitted = fit(arrays | {name: np.concatenate([arrays[name], arrays[name] + far], 1) for name in names})
  new = {name: value[:5].copy() for name, value in arrays.items()}
  new['features'][:, 0] = arrays['train_features'].mean(0)
  new['bin_measure'][:] = np.median(arrays['bin_measure'])
  for row, (name, shift) in enumerate(((name, shift) for name in names for shift in (50, 150)), start=1):
    new[name][row] += shift
  found = answers(fitted, new)
  # The one copy is half of one of 19 images; the alarm of uncertain images is raised at 0.1.
  np.testing.assert_array_equal(found['refer'], [False, False, True, True, True])
  np.testing.assert_allclose(found['ood_p_value'][:3], [1, 1.5 / 20, 1 / 20])
  np.testing.assert_allclose(found['uncertainty_p_value'][3:], [1.5 / 20, 1 / 20])
  np.testing.assert_array_equal(fitted.thresholds, fit(arrays).thresholds)  # bins are of images as they are
  assert fitting.summary(fitted, NAMES)['calibration_images'] == 19


def test_a_strange_or_an_uncertain_image_is_referred_and_an_ordinary_one_is_not():
  arrays = made(19)
  fitted = fit(arrays)
  new = {name: np.repeat(value[:1], 3, 0) for name, value in arrays.items()}
  new['features'][:] = arrays['train_features'].mean(0)
  new['bin_measure'][:] = np.median(arrays['bin_measure'])
  new['features'][1] += 100
  new['bin_measure'][2] += 100
  found = answers(fitted, new)
  np.testing.assert_array_equal(found['refer'], [False, True, True])
  np.testing.assert_allclose(found['ood_p_value'][[0, 1]], [1, 1 / 20])
  np.testing.assert_allclose(found['uncertainty_p_value'][2], 1 / 20)
  assert found['uncertainty_p_value'][0] > 0.05 and found['ood_score'][1] > 10 * found['ood_score'][0]


def test_an_image_whose_features_are_not_finite_is_referred():
  arrays = made(19)
  new = {name: value[:2].copy() for name, value in arrays.items()}
  new['features'][1] = NAN
  assert answers(fit(arrays), new)['refer'][1]


@pytest.mark.parametrize(('n', 'alpha', 'refers'), [(10, 0.05, False), (18, 0.05, False), (19, 0.05, True),
                                                   (8, 0.1, False), (9, 0.1, True), (99, 0.01, True),
                                                   (47, 1 / 49, False), (48, 1 / 49, True)])
def test_refer_is_absent_where_no_image_could_be_referred(n, alpha, refers):
  fitted = fit(made(n), alpha=alpha, coverage=0.5)
  found = answers(fitted, made(n))
  assert (fitted.refers, 'refer' in found) == (refers, refers)
  assert {'bin', 'ood_score', 'ood_p_value', 'uncertainty_p_value'} <= set(found)
  stated = fitting.summary(fitted, NAMES)['refer']
  needed = round(1 / alpha) - 1
  assert stated == (f'ood_p_value <= {alpha:g} or uncertainty_p_value <= {2 * alpha:g}' if refers else
                    f'absent: alpha={alpha:g} needs {needed} calibration patients')


@pytest.mark.parametrize(('n', 'stated'), [(4, False), (8, False), (9, True)])
def test_regions_are_absent_where_the_calibration_set_is_too_small(n, stated):
  fitted = fit(made(n))
  found = answers(fitted, made(n))
  assert ('region_radius_px' in found, 'region_ellipse_px2' in found) == (stated, stated)
  summary = fitting.summary(fitted, NAMES)
  assert summary['calibration_images'] == summary['calibration_patients'] == n
  assert summary['landmarks'] == NAMES
  assert summary['regions'] == (
      'stated' if stated else 'absent: a coverage of 0.9 needs 9 calibration patients')
  assert (summary['radius_quantiles'] == [None, None]) != stated


def test_no_calibration_image_is_an_error():
  arrays = {name: value if name == 'train_features' else value[:0] for name, value in made().items()}
  with pytest.raises(ValueError, match='no calibration image'):
    fit(arrays)


@pytest.mark.parametrize('name', ['train_features', 'features', 'covariance_px2', 'bin_measure'])
@pytest.mark.parametrize('bad', [NAN, np.inf])
def test_values_that_are_not_finite_are_errors(name, bad):
  arrays = made(19)
  arrays[name][2, ..., 1] = bad
  with pytest.raises(ValueError):
    fit(arrays)


def test_measures_of_other_copies_than_the_features_are_an_error():
  arrays = made(19)
  with pytest.raises(ValueError, match=r'bin_measure \(19, 2\)'):
    fit(arrays | {'bin_measure': arrays['bin_measure'][:, 0]})
  with pytest.raises(ValueError, match=r'allowed are \[N, C, F\]'):
    fit(arrays | {'features': np.repeat(arrays['features'], 2, 1)})


@pytest.mark.parametrize('bad', [[NAN, 1.0], [0.0, 1.0], [-1.0, 1.0], [1.0], [1.0] * 5])
def test_temperatures_that_are_none_are_an_error(bad):
  with pytest.raises(ValueError, match='allowed is one positive number for each of 2 landmarks'):
    fit(made(19) | {'temperatures': np.array(bad)})


def test_an_infinite_residual_is_an_error():
  arrays = made(19)
  arrays['residual_px'][:3, 1] = np.inf
  with pytest.raises(ValueError):
    fit(arrays)


def drawn(everything, rows):
  return {name: value if name == 'train_features' else value[rows] for name, value in everything.items()}


def test_promises_hold_on_exchangeable_images():
  n, new, alpha, coverage = 99, 3000, 0.05, 0.9
  everything = made(n + new, name='exchangeable')
  fitted = fit(drawn(everything, slice(0, n)), coverage=coverage, alpha=alpha)
  test = drawn(everything, slice(n, None))
  found = answers(fitted, test)
  # Of infinitely many new images the share inside is Beta(k, n + 1 - k), k = 90; 3000 add sampling.
  k = 90
  low, high = scipy.stats.betabinom.ppf([1e-3, 1 - 1e-3], new, k, n + 1 - k) / new
  circles = (np.linalg.norm(test['residual_px'], axis=-1) <= found['region_radius_px']).mean(0)
  assert (low <= circles).all() and (circles <= high).all()
  inverse = np.linalg.inv(found['region_ellipse_px2'])
  distance = np.einsum('nli,nlij,nlj->nl', test['residual_px'], inverse, test['residual_px'])
  ellipses = (distance <= 1).mean(0)
  assert (low <= ellipses).all() and (ellipses <= high).all()
  # The alarms refer alpha and 2 alpha: 5 and 10 of 100 ranks, Beta(5, 95) and Beta(10, 90) shares.
  most = 0
  for name, ranks in (('ood_p_value', 5), ('uncertainty_p_value', 10)):
    low, high = scipy.stats.betabinom.ppf([1e-3, 1 - 1e-3], new, ranks, 100 - ranks) / new
    assert low <= (found[name] <= ranks / 100 + 1e-6).mean() <= high
    most += high
  assert found['refer'].mean() <= most


def test_over_many_calibration_sets_at_most_3_alpha_are_referred():
  repeats, n, alpha = 60, 19, 0.05
  everything = made(repeats * (n + 10), landmarks=1, name='many')
  shares = []
  for i in range(repeats):
    start = i * (n + 10)
    fitted = fit(drawn(everything, slice(start, start + n)), alpha=alpha)
    shares.append(answers(fitted, drawn(everything, slice(start + n, start + n + 10)))['refer'].mean())
  margin = 3 * np.std(shares) / np.sqrt(repeats)
  # The two alarms are independent here: 1 - 0.95 * 0.9 of the images.
  assert abs(np.mean(shares) - (1 - (1 - alpha) * (1 - 2 * alpha))) <= margin < 0.06
  assert np.mean(shares) <= 3 * alpha + margin
