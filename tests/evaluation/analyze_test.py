"""The content of analysis.json, its pictures and page, on cases small enough to check by hand."""

import dataclasses
import json

import numpy as np
import pytest

from ceph_tf import seeds
from ceph_tf.config import AnalyzeConfig, ConfigError
from ceph_tf.data.records import DataError
from ceph_tf.evaluation import analyze, analyze_pictures, analyze_report, calibrated, evaluate

NAN = np.nan
CFG = AnalyzeConfig(bootstrap=10, bins=2)


def make(error_mm, measures=None, prefix='t', spacing=0.5):
  """Cases with the given errors [N, L]: predictions lie to the right of a truth at zero."""
  error = np.array(error_mm, float)
  n, landmarks = error.shape
  points = np.stack([error / 0.5, np.zeros_like(error)], -1)
  ids = tuple(f'{prefix}{i}' for i in range(n))
  return evaluate.Cases(
      image_id=ids, patient_id=ids, split='test', spacing_mm=np.full(n, spacing),
      points_px=points, samples_px=points[:, None],
      covariance_px2=np.broadcast_to(4 * np.eye(2), (n, landmarks, 2, 2)).copy(),
      measures={k: np.array(v, float) for k, v in (measures or {'spread_mm': error}).items()},
      truths_px={'truth': np.zeros((n, landmarks, 2))},
      landmark_names=('sella', 'nasion')[:landmarks], milliseconds_per_image=NAN)


def run(cases, calibration, leak_free=None, unseen=None, cfg=CFG):
  return analyze.analyze(cases, calibration, leak_free or cases.image_id,
                         unseen or calibration.image_id, cfg, 'truth', 'a model', 0)


RNG = seeds.rng(0, 'analyze test')
ERROR, BEFORE = RNG.exponential(size=(30, 2)), RNG.exponential(size=(19, 2))


def test_a_perfect_measure_is_best_and_a_confidence_counts_reversed():
  cases = make(ERROR, {'spread_mm': ERROR, 'mha': 1 / (1 + ERROR), 'ere_mm': 1 / (1 + ERROR)})
  found = run(cases, make(BEFORE, {'spread_mm': BEFORE, 'mha': 1 / (1 + BEFORE),
                                   'ere_mm': 1 / (1 + BEFORE)}))['subsets']['official']
  aurc = {k: v['selective']['figures']['aurc_mm'] for k, v in found['measures'].items()}
  assert aurc['spread_mm'] == pytest.approx(found['perfect_aurc_mm'])
  assert aurc['mha'] == pytest.approx(aurc['spread_mm']) and aurc['ere_mm'] > found['mre_mm']
  assert found['best'] in ('spread_mm', 'mha')
  pooled = {k: v['correlations']['spearman_pooled']['value'] for k, v in found['measures'].items()}
  assert pooled == {'spread_mm': pytest.approx(1), 'mha': pytest.approx(-1),
                    'ere_mm': pytest.approx(-1)}
  assert found['measures']['mha']['bins']['bins'] == found['measures']['spread_mm']['bins']['bins']


def test_circles_by_hand():
  # 19 errors 0.1 .. 1.9, coverage 0.9: the 18th smallest, 1.8.
  before = np.arange(1, 20)[:, None] / 10
  cases = make([[1.0], [1.79], [1.81], [0.2]])
  regions = run(cases, make(before))['subsets']['official']['regions']
  circle = regions['kinds']['circle']
  assert circle['per_landmark'][0]['quantile'] == pytest.approx(1.8)
  assert circle['coverage'] == 0.75
  assert circle['area_mean_mm2'] == pytest.approx(np.pi * 1.8**2)
  # The spread is the error itself: every score is 1, and every circle touches its truth.
  scaled = regions['kinds']['circle_spread_mm']
  assert scaled['coverage'] == 1 and scaled['adaptivity']['within'] == pytest.approx(1)
  assert scaled['area_mean_mm2'] == pytest.approx(np.pi * np.mean([1, 1.79**2, 1.81**2, 0.04]))
  # Covariance 4 px^2 is 1 mm^2, so an ellipse is that circle, but for its floor of 0.01 mm.
  assert regions['kinds']['ellipse']['area_mean_mm2'] == pytest.approx(np.pi * 1.8**2, rel=1e-3)
  assert regions['smallest'] == 'circle_spread_mm'


def test_bins_by_hand():
  table = calibrated.bins(np.array([[1.0], [2], [3], [4]]), np.array([[1.0], [1], [3], [3]]),
                          np.array([[1.0], [2], [3], [9]]), np.array([[0.5], [3], [1], [8]]),
                          2, ('sella',))
  # Threshold 2.5; its bound is half way between the errors 1 and 3 at u = 2 and 3.
  assert table['per_landmark'] == [
      {'landmark': 'sella', 'calibrated': 4, 'thresholds': [2.5], 'bounds_mm': [2.0]}]
  assert [row['mean_error_mm'] for row in table['bins']] == [1.75, 4.5]
  assert [row['points'] for row in table['bins']] == [2, 2]
  assert [row['bound_accuracy'] for row in table['bins']] == [0.5, 0.5]
  # Errors 0.5 and 1 are the lower half: one of each bin's two agrees, of three.
  assert [row['jaccard'] for row in table['bins']] == [pytest.approx(1 / 3)] * 2


def test_a_constant_measure_is_called_constant_and_missing_missing():
  measures = {'spread_mm': 0 * ERROR, 'mutual_information_nats': 1e-8 * ERROR,
              'ere_mm': ERROR * NAN, 'total_sd_mm': ERROR}
  before = {name: value[:19] for name, value in measures.items()}
  found = run(make(ERROR, measures), make(BEFORE, before))
  states = {name: facts['status'] for name, facts in found['measures'].items()}
  assert states == {'spread_mm': 'constant', 'mutual_information_nats': 'constant',
                    'ere_mm': 'missing', 'total_sd_mm': 'used'}
  assert found['measures']['spread_mm']['value'] == 0
  assert list(found['subsets']['official']['measures']) == ['total_sd_mm']
  page = analyze_report.render(found, [], 'today')
  assert 'constant (0)' in page and 'nan' not in page


def test_nothing_but_constants_still_has_plain_regions():
  found = run(make(ERROR, {'spread_mm': 0 * ERROR}), make(BEFORE, {'spread_mm': 0 * BEFORE}))
  official = found['subsets']['official']
  assert official['best'] is None and not official['measures']
  assert set(official['regions']['kinds']) == {'circle', 'ellipse'}
  assert analyze_pictures.charts(make(ERROR, {'spread_mm': 0 * ERROR}), found) == []
  page = analyze_report.render(found, [], 'today')
  assert 'No measure varies' in page and 'heatmaps of this model are not tempered' in page


def test_too_few_calibration_images_are_told_in_words():
  found = run(make(ERROR), make(BEFORE[:8]))
  regions = found['subsets']['official']['regions']
  assert regions['status'] == 'not_possible'
  assert 'needs at least 9 calibration patients' in regions['words']
  assert 'there are 8' in analyze_report.render(found, [], 'today')
  missing = BEFORE.copy()
  missing[:11, 1] = NAN
  regions = run(make(ERROR), make(missing))['subsets']['official']['regions']
  assert regions['left_out'] == ['nasion']
  assert [r['landmark'] for r in regions['kinds']['circle']['per_landmark']] == ['sella']


def test_copies_are_left_out_on_both_sides():
  found = run(make(ERROR), make(BEFORE, prefix='c'), leak_free=['t0', 't1', 't2', 't3'],
              unseen=[f'c{i}' for i in range(18)])
  assert found['subsets']['leak_free']['images'] == 4
  assert found['subsets']['official']['images'] == 30
  assert found['calibration'] == {'images': 18, 'left_out': ['c18']}
  assert found['subsets']['official']['regions']['calibration_patients'] == 18


@pytest.mark.parametrize('change,words', [
    ({'truths_px': {'truth': np.full((30, 2, 2), NAN)}}, 'need labelled images'),
    ({'spacing_mm': np.full(30, NAN)}, 'known spacing'),
    ({'points_px': np.full((30, 2, 2), NAN)}, 'a prediction, a truth and a spacing'),
])
def test_what_cannot_be_analysed_is_refused(change, words):
  with pytest.raises(DataError, match=words):
    run(dataclasses.replace(make(ERROR), **change), make(BEFORE))


def test_calibration_images_of_another_kind_are_refused():
  with pytest.raises(DataError, match='landmarks of the calibration'):
    run(make(ERROR), make(BEFORE[:, :1]))
  with pytest.raises(DataError, match='measures of the calibration'):
    run(make(ERROR), make(BEFORE, {'ere_mm': BEFORE}))


def test_one_image_and_missing_landmarks():
  error = ERROR[:1].copy()
  found = run(make(error), make(BEFORE))
  text = json.dumps(evaluate.plain(found), allow_nan=False)
  row = json.loads(text)['subsets']['official']['measures']['spread_mm']
  assert row['correlations']['pearson_pooled'] == {'value': None, 'interval': [None, None]}
  error = ERROR.copy()
  error[:, 1] = NAN
  found = run(make(error), make(BEFORE))
  assert found['subsets']['official']['points'] == 30
  assert found['subsets']['official']['regions']['left_out'] == ['nasion']


def test_pictures_and_page():
  cases = make(ERROR, {'spread_mm': ERROR, 'mha': 1 / (1 + ERROR)})
  found = run(cases, make(BEFORE, {'spread_mm': BEFORE, 'mha': 1 / (1 + BEFORE)}))
  pictures = analyze_pictures.charts(cases, found)
  assert [p.name for p in pictures] == ['risk_coverage', 'error_per_bin', 'coverage']
  assert all(p.png.startswith(b'\x89PNG') for p in pictures)
  page = analyze_report.render(found | {'title': '<b>'}, pictures, 'today')
  assert page.count('data:image/png;base64') == 3 and 'http' not in page
  assert '&lt;b&gt;' in page and '-0.13 (one network)' in page and '0.31 (ensemble)' in page


def test_the_same_seed_gives_the_same_analysis():
  one, two = (json.dumps(evaluate.plain(run(make(ERROR), make(BEFORE)))) for _ in range(2))
  assert one == two


@pytest.mark.parametrize('field', [
    {'coverage': 1.0}, {'coverage': 0.0}, {'bins': 1}, {'bootstrap': 0}, {'gross_mm': ()},
    {'gross_mm': (4.0, 2.0)}, {'gross_mm': (0.0, 4.0)}])
def test_configuration_is_checked(field):
  with pytest.raises(ConfigError, match=f'analyze.{next(iter(field))}='):
    AnalyzeConfig(**field)
