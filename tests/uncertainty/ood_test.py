"""Mahalanobis distances of features: against numpy, and what degenerate features do."""

import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.uncertainty import ood


def scores(features, density):
  return ood.score(tf.constant(features, tf.float32), density).numpy()


def correlated(n, f, name='features'):
  rng = seeds.rng(0, name)
  return rng.normal(size=(n, f)) @ rng.normal(size=(f, f)) + 5 * rng.normal(size=f)


def test_with_many_images_the_score_is_the_classical_distance():
  train = correlated(5000, 4)
  new = train[:50] * 1.3
  centred = new - train.mean(0)
  precision = np.linalg.inv(np.cov(train.T, bias=True))
  expected = np.sqrt(np.einsum('ni,ij,nj->n', centred, precision, centred))
  np.testing.assert_allclose(scores(new, ood.fit(train)), expected, rtol=0.03)


def test_the_score_does_not_depend_on_the_units_of_the_features():
  train = correlated(30, 5)
  units = np.array([1e-3, 1, 1e3, 10, 0.1])
  np.testing.assert_allclose(scores(train * units, ood.fit(train * units)),
                             scores(train, ood.fit(train)), rtol=1e-2)


def ledoit_wolf_by_definition(x):
  """Section 3.2 of the paper, image by image, with the norm |A|^2 = tr(AA') / F."""
  n, f = x.shape
  def squared(a):
    return np.trace(a @ a.T) / f
  sample = sum(np.outer(row, row) for row in x) / n
  m = np.trace(sample) / f
  d2 = squared(sample - m * np.eye(f))
  b2 = min(sum(squared(np.outer(row, row) - sample) for row in x) / n**2, d2)
  return b2 / d2 * m * np.eye(f) + (1 - b2 / d2) * sample


@pytest.mark.parametrize(('n', 'f'), [(6, 3), (4, 9), (40, 2), (2, 2)])
def test_shrunk_covariance_is_that_of_the_paper(n, f):
  x = correlated(n, f)
  x -= x.mean(0)
  found = ood.shrunk_covariance(x)
  np.testing.assert_allclose(found, ledoit_wolf_by_definition(x), rtol=1e-9)
  np.testing.assert_allclose(np.trace(found), np.square(x).sum() / n)


def test_shrunk_covariance_by_hand():
  x = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
  # sample = diag(2, 0.5), m = 1.25, d2 = 0.5625; |xx' - sample|^2 is 4 + 0.25 before division by F.
  each = [4.25 / 2] * 4
  weight = sum(each) / 4**2 / 0.5625
  np.testing.assert_allclose(weight, 0.9444444444444444)
  np.testing.assert_allclose(ood.shrunk_covariance(x), np.diag(
      [weight * 1.25 + (1 - weight) * 2, weight * 1.25 + (1 - weight) * 0.5]))


def test_with_fewer_images_than_features_the_covariance_is_positive_definite():
  x = correlated(6, 20)
  x -= x.mean(0)
  assert np.linalg.matrix_rank(x.T @ x) < 20
  eigenvalues = np.linalg.eigvalsh(ood.shrunk_covariance(x))
  assert eigenvalues.min() > 1e-3 * eigenvalues.max()
  density = ood.fit(x)
  assert np.linalg.eigvalsh(density.precision.astype(np.float64)).min() > 0
  assert all(value.dtype == np.float32 for value in density)
  assert np.isfinite(scores(x, density)).all()


def test_a_far_image_scores_higher_in_every_direction():
  train = correlated(12, 30)
  density = ood.fit(train)
  usual = scores(train, density)
  for direction in seeds.rng(0, 'directions').normal(size=(5, 30)):
    steps = train.mean(0) + np.arange(4)[:, None] * 20 * train.std(0) * np.sign(direction)
    found = scores(steps, density)
    assert found[0] < 1e-2 and (np.diff(found) > 0).all() and found[1] > usual.max()


def test_a_constant_feature_alarms_only_when_it_changes():
  train = correlated(40, 3)
  constant = np.concatenate([train, np.full((40, 1), 7.0)], 1)
  density = ood.fit(constant)
  usual = scores(constant, density)
  assert np.isfinite(usual).all()
  assert np.corrcoef(usual, scores(train, ood.fit(train)))[0, 1] > 0.95
  changed = constant[:1] + [0, 0, 0, 10 * train.std(0).max()]
  assert scores(changed, density)[0] > usual.max()


def test_images_that_are_all_alike_give_finite_scores():
  density = ood.fit(np.full((5, 3), 2.0))
  np.testing.assert_allclose(scores(np.full((1, 3), 2.0), density), [0])
  found = scores([[2.0, 2.0, 3.0]], density)
  assert np.isfinite(found).all() and found[0] > 1


@pytest.mark.parametrize('features', [np.ones((1, 3)), np.ones((0, 3)), np.ones(3)])
def test_too_few_images_are_an_error(features):
  with pytest.raises(ValueError, match=r'allowed is \[N, F\] with N >= 2'):
    ood.fit(features)
  assert ood.fit(np.eye(2)).mean.tolist() == [0.5, 0.5]


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_features_that_are_not_finite_name_their_image(bad):
  features = correlated(6, 3)
  features[4, 1] = bad
  with pytest.raises(ValueError, match='features of image 4 are not finite'):
    ood.fit(features)


def test_a_new_image_that_is_not_finite_never_looks_usual():
  train = correlated(12, 3)
  density = ood.fit(train)
  found = scores([train[0], [np.nan, 0, 0]], density)
  np.testing.assert_allclose(found[0], scores(train[:1], density)[0], rtol=1e-5)
  assert np.isnan(found[1]) or found[1] > found[0]
