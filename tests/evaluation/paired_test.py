"""Paired differences: by hand, against what is known of them, and what they are not."""

import numpy as np
import pytest

from ceph_tf import seeds
from ceph_tf.evaluation import paired, selective
from ceph_tf.evaluation.paired import Judged

NAN = np.nan


def judged(error, uncertainty=None, nll=None):
  error = np.array(error, float)
  unknown = np.full(error.shape, NAN)
  return Judged(error, unknown if uncertainty is None else np.array(uncertainty, float),
                unknown if nll is None else np.array(nll, float))


def differences(reference, other, patients=None, **kwargs):
  patients = patients or [str(i) for i in range(len(reference.error_mm))]
  found, = paired.differences([reference, other], patients, seeds.rng(0), **{'resamples': 200, **kwargs})
  return found


def test_values_by_hand():
  found = differences(judged([[1.0, 3.0], [2.0, NAN]], [[1, 2], [3, 4]], [[1, 2], [6, NAN]]),
                      judged([[1.5, 1.5], [3.0, NAN]], [[2, 1], [3, 4]], [[1, 1], [4, NAN]]))
  values = {figure: one['value'] for figure, one in found.items()}
  # Ranked 1, 3, 2 the first model has the risks 1, 2, 2, perfectly 1, 1.5, 2; the other one is perfect.
  assert values == pytest.approx({'mre_mm': 0, 'sdr_2mm': 0, 'nll_nats': -1,
                                  'aurc_mm': (1.5 + 1.5 + 2 - 5) / 3, 'excess_aurc_mm': (4.5 - 5) / 3})


def test_a_model_that_is_better_on_every_film_by_as_much_is_so_without_doubt():
  rng = np.random.default_rng(0)
  error = rng.gamma(2.0, 1.0, [30, 5])
  found = differences(judged(error), judged(error - 0.1))['mre_mm']
  assert found['value'] == pytest.approx(-0.1)
  assert found['interval'] == pytest.approx((-0.1, -0.1))


def test_intervals_are_of_the_expected_width():
  rng = np.random.default_rng(1)
  error = rng.gamma(2.0, 1.0, [400, 1])
  other = error + rng.normal(0, 1, error.shape)
  low, high = differences(judged(error), judged(other), resamples=2000)['mre_mm']['interval']
  assert high - low == pytest.approx(2 * 1.96 / np.sqrt(400), rel=0.1)


def test_films_of_one_patient_are_drawn_together():
  error, gain = np.ones([40, 1]), np.tile([[0.5], [-0.5]], [20, 1])
  together = differences(judged(error), judged(error + gain), [str(i // 2) for i in range(40)])['mre_mm']
  apart = differences(judged(error), judged(error + gain))['mre_mm']
  assert together['interval'] == pytest.approx((0, 0)) and apart['interval'][0] < -0.05


def test_aurc_of_the_images_themselves_and_of_one_of_them():
  rng = np.random.default_rng(2)
  error, uncertainty = rng.gamma(2.0, 1.0, [6, 3]), rng.integers(0, 4, [6, 3])  # with ties
  found = selective.aurc_mm(uncertainty, error, np.array([np.ones(6), [0, 0, 2, 0, 0, 0]]))
  patients = [str(i) for i in range(6)]
  whole = selective.evaluate(uncertainty, error, patients, seeds.rng(0), resamples=1)['figures']['aurc_mm']
  twice = selective.evaluate(np.repeat(uncertainty[2:3], 2, 0), np.repeat(error[2:3], 2, 0), ['0', '0'],
                             seeds.rng(0), resamples=1)['figures']['aurc_mm']
  np.testing.assert_allclose(found, [whole, twice])


def test_images_without_any_known_point_do_not_shift_the_others():
  error, uncertainty = [[NAN], [1.0], [4.0]], [[1.0], [2.0], [3.0]]
  assert selective.aurc_mm(np.array(uncertainty), np.array(error), np.array([[0, 1, 0]])) == [1.0]


def test_what_a_model_lacks_is_unknown():
  found = differences(judged([[1.0], [2.0]]), judged([[1.0], [1.0]], [[1], [2]], [[1], [2]]))
  assert found['mre_mm']['value'] == -0.5
  for figure in ('nll_nats', 'aurc_mm', 'excess_aurc_mm'):
    assert np.isnan(found[figure]['value']) and np.isnan(found[figure]['interval']).all()


def test_one_patient_has_no_interval():
  found = differences(judged([[1.0], [2.0]]), judged([[1.0], [1.0]]), ['a', 'a'])
  assert np.isnan(found['mre_mm']['interval']).all()


@pytest.mark.parametrize('other,patients', [([[1.0]], ['a', 'b']), ([[1.0], [2.0]], ['a'])])
def test_other_shapes_are_refused(other, patients):
  with pytest.raises(ValueError, match='equal shapes'):
    differences(judged([[1.0], [2.0]]), judged(other), patients)
