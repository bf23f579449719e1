"""A model brought to a site: what is moved, what is replaced, and what stays as it was."""

import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.serving import outside
from ceph_tf.serving.recalibrated import Recalibrated
from ceph_tf.uncertainty import fitted as fitting
from ceph_tf.uncertainty import habits

HABIT = seeds.rng(0, 'habit').normal(0, 0.1, (19, 2))
SPACING_MM = 0.1


def refitted(images=30, ood=0.0):
  """Of a site whose films have OOD scores of `ood` and entropies of 100."""
  rng = seeds.rng(0, 'site')
  return fitting.refit(np.full((images, 1), ood), rng.normal(0, 40, (images, 19, 2)),
                       np.tile(np.eye(2), (images, 19, 1, 1)), np.full((images, 1, 19), 100.0), 0.9, 5, 0.05)


def ask(folder, pictures, signature='serving_default'):
  spacing = {'spacing_mm': tf.fill([len(pictures)], SPACING_MM)} if signature == 'serving_default' else {}
  asked = tf.saved_model.load(str(folder)).signatures[signature]
  answer = asked(image_bytes=tf.constant(pictures), **spacing)
  return {name: value.numpy() for name, value in answer.items()}


@pytest.fixture(scope='module')
def before(predictor, some_fitted, tmp_path_factory):
  folder = tmp_path_factory.mktemp('model')
  predictor('mc_dropout', some_fitted).export(folder)
  return folder


def recalibrated(before, folder, fitted, habit=HABIT):
  Recalibrated(tf.saved_model.load(str(before)), fitted, habit).export(folder)
  return folder


@pytest.fixture(scope='module')
def after(before, tmp_path_factory):
  return recalibrated(before, tmp_path_factory.mktemp('recalibrated'), refitted())


def test_points_and_samples_lose_the_habit_of_a_head_of_this_size(before, after, pictures):
  old, new = ask(before, pictures), ask(after, pictures)
  moved = -HABIT * habits.size_px(old['points_px']).numpy()[:, None, None]
  assert np.abs(moved).max() > 1
  for name, expected in (('points_px', old['points_px'] + moved), ('moved_px', moved),
                         ('samples_px', old['samples_px'] + moved[:, None])):
    np.testing.assert_allclose(new[name], expected, atol=0.02)
  for name in ('points', 'moved', 'region_radius'):
    np.testing.assert_allclose(new[f'{name}_mm'], new[f'{name}_px'] * SPACING_MM, rtol=1e-5)
  np.testing.assert_allclose(new['region_ellipse_mm2'], new['region_ellipse_px2'] * SPACING_MM**2, rtol=1e-5)


def test_regions_bins_and_alarms_are_those_of_the_site(before, after, pictures):
  old, new, fitted = ask(before, pictures), ask(after, pictures), refitted()
  np.testing.assert_allclose(
      new['region_radius_px'], fitted.radius_quantiles * np.maximum(new['total_sd_px'], fitting.FLOOR_PX),
      rtol=1e-4)
  assert (new['region_radius_px'] > 5 * old['region_radius_px']).all()
  assert (new['bin'] == 1).all() and (new['uncertainty_p_value'] == 1).all()
  np.testing.assert_allclose(new['ood_p_value'], 1 / 31)  # stranger than all that the site has
  assert new['refer'].all()
  assert set(new) == set(old) | {'moved_px', 'moved_mm'}
  for name in ('ood_score', 'total_sd_px', 'covariance_px2', 'covariance_mm2', 'mha', 'entropy_nats'):
    np.testing.assert_allclose(new[name], old[name], rtol=1e-3, atol=1e-3)


def test_another_sites_regions_are_gone_where_this_one_has_none(before, pictures, tmp_path):
  assert 'region_radius_mm' in ask(before, pictures)
  new = ask(recalibrated(before, tmp_path, refitted(8)), pictures)  # 90 % needs 9
  assert not [name for name in new if name.startswith('region')]


def test_an_ordinary_film_of_the_site_is_not_referred(before, pictures, tmp_path):
  new = ask(recalibrated(before, tmp_path, refitted(ood=1e6)), pictures)
  assert not new['refer'].any() and (new['ood_p_value'] == 1).all()


def test_a_refused_image_is_refused(after, pictures):
  new = ask(after, [b'no image', pictures[0]])
  assert new['status'].tolist() == [b'not_an_image', b'ok']
  for name in ('points_px', 'points_mm', 'moved_px', 'samples_px', 'region_radius_px', 'region_ellipse_mm2',
               'ood_p_value', 'uncertainty_p_value'):
    assert np.isnan(new[name][0]).all() and np.isfinite(new[name][1]).all(), name
  assert new['bin'][0].tolist() == [0] * 19 and new['refer'][0]


def test_heatmaps_stay_and_say_where_their_points_went(before, after, pictures):
  files = [*pictures, b'no image']
  old, new = (ask(folder, files, 'mean_heatmap') for folder in (before, after))
  for name in ('density', 'scale', 'offset', 'temperature'):
    np.testing.assert_allclose(new[name], old[name], rtol=1e-3, atol=1e-4)
  np.testing.assert_allclose(new['moved_px'], ask(after, files)['moved_px'], atol=0.02)


def test_gray_images_are_answered_alike(before, after):
  gray = seeds.rng(0, 'gray').uniform(0, 255, (2, 40, 60, 1)).astype(np.float32)
  old, new = (tf.saved_model.load(str(folder)).signatures['predict_image'](
      image=tf.constant(gray), spacing_mm=tf.constant([1.0, np.nan])) for folder in (before, after))
  moved = -HABIT * habits.size_px(old['points_px']).numpy()[:, None, None]
  np.testing.assert_allclose(new['points_px'], old['points_px'] + moved, atol=0.02)
  assert np.isnan(new['points_mm'][1]).all() and np.isfinite(new['points_mm'][0]).all()


def test_a_second_site_starts_from_the_first(before, after, pictures, tmp_path):
  second = ask(recalibrated(after, tmp_path, refitted(), -HABIT), pictures)
  first = ask(after, pictures)
  back = HABIT * habits.size_px(first['points_px']).numpy()[:, None, None]
  np.testing.assert_allclose(second['points_px'], first['points_px'] + back, atol=0.02)
  np.testing.assert_allclose(second['moved_px'], first['moved_px'] + back, atol=0.02)


def test_what_the_network_sees_is_told_as_before(before, after, pictures):
  old, new = (ask(folder, pictures, 'preprocess') for folder in (before, after))
  assert set(old) == set(new)
  np.testing.assert_array_equal(new['image'], old['image'])


def test_it_runs_outside_of_python_classes(after, pictures):
  found = outside.run(str(after), pictures)
  np.testing.assert_allclose(found['points_px'], ask(after, pictures)['points_px'], atol=0.02)
