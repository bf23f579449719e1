"""Selective prediction: areas and referrals by hand, identities, ties and intervals."""

import itertools

import numpy as np
import pytest

from ceph_tf import seeds
from ceph_tf.evaluation import metrics, selective
from ceph_tf.uncertainty import ranking

NAN = np.nan


def figures(u, error, **kwargs):
  patients = [str(i) for i in range(len(error))]
  return selective.evaluate(u, error, patients, seeds.rng(0), resamples=3, **kwargs)['figures']


def column(*values):
  return np.array(values, float)[:, None]


def test_curve_and_areas_by_hand():
  u, error = column(0.3, 0.1, 0.2, 0.4), column(3, 1, 2, 6)
  kept, risk, generalised = selective.risk_coverage(u, error)
  np.testing.assert_allclose(kept, [0.25, 0.5, 0.75, 1])
  np.testing.assert_allclose(risk, [1, 1.5, 2, 3])
  np.testing.assert_allclose(generalised, [0.25, 0.75, 1.5, 3])
  found = figures(u, error)
  assert found['aurc_mm'] == pytest.approx((1 + 1.5 + 2 + 3) / 4)
  assert found['augrc_mm'] == pytest.approx((0.125 + 0.5 + 1.125 + 2.25) / 4)


def test_areas_with_ties_are_the_mean_over_all_orders():
  u, error = np.array([1, 2, 2, 2, 3]), np.array([2.0, 1, 5, 3, 4])
  orders = [[0, *middle, 4] for middle in itertools.permutations([1, 2, 3])]
  each = [figures(column(*range(5)), error[order][:, None]) for order in orders]
  found = figures(u[:, None], error[:, None])
  for key in ('aurc_mm', 'augrc_mm'):
    assert found[key] == pytest.approx(np.mean([row[key] for row in each]))


def test_augrc_of_failures_is_the_formula_of_traub_et_al():
  rng = seeds.rng(0, 'augrc')
  u = np.round(rng.gamma(2, size=(50, 1)), 1)
  failed = (rng.uniform(size=(50, 1)) < 0.3) * 1.0
  wrong = failed.mean()
  auroc = ranking.separation(u[:, 0], failed[:, 0] > 0)['auroc']
  want = (1 - auroc) * wrong * (1 - wrong) + wrong**2 / 2
  assert figures(u, failed)['augrc_mm'] == pytest.approx(want)


def test_a_constant_uncertainty_refers_nobody_and_ranks_by_chance():
  error = column(1, 2, 3, 10)
  found = figures(np.full((4, 1), 7.0), error)
  assert found['aurc_mm'] == pytest.approx(4) and found['augrc_mm'] == pytest.approx(2)
  assert found['auroc_4mm'] == 0.5 and found['aupr_4mm'] == 0.25
  assert found['refer_30pct_referred'] == 0 and found['refer_30pct_mre_mm'] == 4


def test_referral_by_hand():
  error = column(1, 2.2, 1.5, 9, 3.5, 0.5, 0.5, 2, 8, 0.8)
  u = column(1, 2, 3, 10, 5, 6, 7, 8, 9, 4)
  found = figures(u, error)
  assert found['refer_0pct_mre_mm'] == pytest.approx(2.9) and found['refer_0pct_worst_mm'] == 9
  assert found['refer_5pct_referred'] == 0  # of ten points 5 % is none
  assert found['refer_10pct_mre_mm'] == pytest.approx(20 / 9) and found['refer_10pct_worst_mm'] == 8
  assert found['refer_30pct_referred'] == pytest.approx(0.3)
  assert found['refer_30pct_mre_mm'] == pytest.approx(10 / 7)
  assert found['refer_30pct_sdr_2mm'] == pytest.approx(5 / 7)
  assert found['refer_20pct_sdr_2mm'] == pytest.approx(6 / 8)  # exactly 2 mm is detected


def test_equal_uncertainties_are_kept_together():
  found = figures(column(1, 2, 2, 2), column(1, 2, 3, 4))
  assert found['refer_30pct_referred'] == 0 and found['refer_30pct_worst_mm'] == 4
  found = figures(column(1, 1, 1, 2), column(1, 2, 3, 4))
  assert found['refer_30pct_referred'] == 0.25 and found['refer_30pct_worst_mm'] == 3


def test_no_referral_is_the_summary_of_all_points():
  rng = seeds.rng(0, 'summary')
  error = rng.gamma(2, size=(20, 3))
  error[3, 1] = NAN
  found, want = figures(rng.uniform(size=(20, 3)), error), metrics.summarize(error)
  for key in ('mre_mm', 'sdr_2mm', 'sdr_2.5mm', 'sdr_3mm', 'sdr_4mm'):
    assert found[f'refer_0pct_{key}'] == pytest.approx(want[key])


def test_images_are_referred_whole():
  error = np.array([[1, 1], [2, NAN], [5, 1]])
  u = np.array([1, 2, 3])
  kept, risk, _ = selective.risk_coverage(u, error)
  np.testing.assert_allclose(risk, [1, 1.5, 2])
  found = selective.evaluate(u, error, ['a', 'b', 'c'], seeds.rng(0), resamples=2)
  assert (found['units'], found['points']) == (3, 5)
  assert found['gross_units'] == {'2mm': 1, '4mm': 1}  # the third, for its worst point
  assert found['figures']['auroc_4mm'] == 1
  assert found['figures']['refer_0pct_mre_mm'] == 2  # over the five points


def test_gross_errors_agree_with_ranking():
  rng = seeds.rng(0, 'gross')
  u, error = np.round(rng.gamma(2, size=(30, 4)), 1), rng.gamma(2, size=(30, 4))
  found = figures(u, error)
  for t in (2, 4):
    want = ranking.separation(u.ravel(), error.ravel() > t)
    assert found[f'auroc_{t}mm'] == pytest.approx(want['auroc'])
    assert found[f'aupr_{t}mm'] == pytest.approx(want['aupr'])
    assert found[f'fpr95_{t}mm'] == want['fpr_at_95_tpr']


def test_figures_of_repeated_patients_are_those_of_copied_images():
  """The weighted sums of the bootstrap against images really copied."""
  rng = seeds.rng(0, 'copies')
  u, error = np.round(rng.gamma(2, size=(8, 3)), 1), rng.gamma(2, size=(8, 3))
  error[0, 0] = 50  # of a patient who is not drawn
  times = np.array([0, 2, 1, 3, 0, 1, 1, 0])
  rows = np.repeat(np.arange(8), times)
  units = selective._units(u, error, [str(i) for i in range(8)])
  weighted = selective._figures(units, times[units.patient].astype(float), selective.GROSS_MM)
  for key, value in figures(u[rows], error[rows]).items():
    assert weighted[key] == pytest.approx(value, nan_ok=True), key


def test_intervals_hold_the_figures_and_draw_whole_patients():
  rng = seeds.rng(0, 'intervals')
  u = rng.gamma(2, size=(40, 3))
  error = u * rng.gamma(2, size=(40, 3))
  found = selective.evaluate(u, error, [str(i) for i in range(40)], seeds.rng(1), 200)
  for key in ('aurc_mm', 'augrc_mm', 'auroc_2mm', 'refer_10pct_mre_mm'):
    low, high = found['intervals'][key]
    assert low < found['figures'][key] < high
  two = selective.evaluate(u, error, ['a', 'b'] * 20, seeds.rng(1), 200)
  assert two['patients'] == 2
  both = figures(u, error)['aurc_mm']
  twice = [np.repeat(np.arange(i, 40, 2), 2) for i in (0, 1)]
  only = sorted(figures(u[rows], error[rows])['aurc_mm'] for rows in twice)
  assert two['intervals']['aurc_mm'] == pytest.approx(only)  # drawn: aa, ab, bb
  assert only[0] < both < only[1]
  again = selective.evaluate(u, error, ['a', 'b'] * 20, seeds.rng(1), 200)
  assert again['intervals'] == two['intervals']


def test_one_patient_has_figures_without_intervals():
  found = selective.evaluate(column(1, 2), column(1, 3), ['a', 'a'], seeds.rng(0), 5)
  assert found['figures']['aurc_mm'] == 1.5
  assert np.isnan(found['intervals']['aurc_mm']).all()


def test_missing_truths_and_uncertainties_are_left_out():
  found = figures(column(1, 2, NAN, 4), column(1, NAN, 9, 3))
  assert found['aurc_mm'] == pytest.approx((1 + 2) / 2)
  assert found['refer_0pct_worst_mm'] == 3


def test_only_good_points_have_no_auroc():
  found = selective.evaluate(column(1, 2), column(1, 1), ['a', 'b'], seeds.rng(0), 5)
  assert np.isnan(found['figures']['auroc_2mm']) and np.isnan(found['intervals']['auroc_2mm'][0])
  assert found['gross_units'] == {'2mm': 0, '4mm': 0}


@pytest.mark.parametrize(('u', 'error', 'patients', 'message'), [
    (column(1, 2), column(NAN, NAN), ['a', 'b'], 'judged on labelled images only'),
    (column(NAN, 2), column(1, NAN), ['a', 'b'], 'no unit has both'),
    (np.ones((2, 3)), np.ones((2, 2)), ['a', 'b'], r'uncertainty \(2, 3\) and error \(2, 2\)'),
    (np.ones(2), np.ones(2), ['a', 'b'], 'must be'),
    (column(1, 2), column(1, 2), ['a'], '1 patient ids for 2 images'),
])
def test_bad_input_is_an_error(u, error, patients, message):
  with pytest.raises(ValueError, match=message):
    selective.evaluate(u, error, patients, seeds.rng(0), 2)
