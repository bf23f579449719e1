"""The content of stress.json on predictions small enough to check by hand."""

import json

import numpy as np
import pytest

from ceph_tf import seeds
from ceph_tf.evaluation import evaluate, stress

LANDMARKS = 2
OFFSETS = np.arange(4.0)  # of four X-rays
LEVELS = np.array([0, 0.02, 0.04])
RNG = seeds.rng(0, 'stress test')


def make(value, level=0.0, condition='', spacing=0.5, error_px=None):
  """Predictions whose spread (px) and OOD score are `value` [N], and whose MHA is 20 - `value`."""
  value = np.asarray(value, float)
  n = len(value)
  error = np.broadcast_to(np.nan if error_px is None else error_px, n)
  points = np.zeros((n, LANDMARKS, 2))
  truth = points + error[:, None, None] * np.array([0.6, 0.8])
  measure = np.repeat(value[:, None], LANDMARKS, 1)
  return {
      'image_id': np.array([f'x{i}' for i in range(n)]), 'series': np.repeat('made', n),
      'level': np.array(np.broadcast_to(level, n), float),
      'condition': np.array(np.broadcast_to(condition, n)), 'truth_px': truth,
      'spacing_mm': np.full(n, spacing, float), 'points_px': points, 'samples_px': points[:, None],
      'measure/spread_px': measure, 'measure/mha': 20 - measure, 'measure/e_mha': 0 * measure + 0.7,
      'ood_score': value}


def elastic(levels=LEVELS):
  """A level of 0.02 adds 2 px to the spread of every X-ray, and 4 px to its error."""
  level = np.tile(levels, len(OFFSETS))  # copies of one X-ray follow each other
  return make(np.repeat(OFFSETS, len(levels)) + 100 * level, level, error_px=200 * level)


def rotation(error_px=None):
  angle = np.arange(-45.0, 46, 5)
  return make(1 + np.abs(angle) / 10, angle, error_px=error_px)


def conditions(copies=1):
  kinds = np.repeat(['clean', 'upside_down', 'noise'], 2 * copies)
  value = np.repeat([1.0, 3, 2, 4, 9, 10], copies) + np.tile(np.arange(copies) / 1000, 6)
  return make(value, condition=kinds)


def scans():
  """Two clean films and two in a frame, which are 8 px off instead of 2, one of them referred."""
  found = make([1.0, 2.0, 1.5, 9.0], condition=['clean', 'clean', 'frame', 'frame'], error_px=[2, 2, 8, 8])
  return found | {'refer': np.array([False, False, False, True]),
                  'region_radius_px': np.array([[3, 1], [3, 3], [9, 9], [9, 7.0]])}


def run(**changed):
  given = {
      'elastic_predictions': elastic(), 'rotation_predictions': rotation(),
      'condition_predictions': conditions(), 'scanner_predictions': scans(),
      'calibration': make(RNG.uniform(0, 3, 30)),
      'title': 'a model', 'truth': 'senior', 'stated': 0.9, 'rng': seeds.rng(0, 'permutations')}
  return stress.stress(**(given | changed))


def test_measures_rise_with_the_distortion_and_confidences_are_turned_round():
  found = stress.elastic(elastic())
  assert found['levels'] == LEVELS.tolist() and found['images'] == 4
  spread, mha = found['measures']['spread_mm'], found['measures']['mha']
  assert spread['mean'] == pytest.approx([0.75, 1.75, 2.75])  # 1.5, 3.5, 5.5 px of 0.5 mm
  assert mha['mean'] == pytest.approx([18.5, 16.5, 14.5])  # as it is, not turned round
  assert (spread['pearson'], spread['spearman']) == (pytest.approx(1), pytest.approx(1))
  assert (mha['pearson'], mha['spearman']) == (pytest.approx(-1), pytest.approx(-1))
  # 0..3 against 2..5: of 16 pairs 13 are larger and 2 equal.
  assert spread['auroc'] == [0.5, 0.875, 1] and mha['auroc'] == [0.5, 0.875, 1]
  assert found['measures']['ood_score']['auroc'] == [0.5, 0.875, 1]
  assert found['error_mm'] == pytest.approx([0, 2, 4])


def test_a_constant_measure_is_left_out_everywhere():
  found = run()
  assert set(found['elastic']['measures']) == {'spread_mm', 'mha', 'ood_score'}
  assert set(found['rotation']['measures']) == {'spread_mm', 'mha', 'ood_score'}
  assert all('e_mha' not in row['scores'] for row in found['separation'].values())


def test_lengths_stay_pixels_where_a_spacing_is_unknown():
  predictions = make([1, 2, 3])
  predictions['spacing_mm'] = np.array([0.5, 0.1, 2])
  assert stress.measures_of(predictions)['spread_mm'].tolist() == pytest.approx([0.5, 0.2, 6])
  predictions['spacing_mm'][1] = np.nan
  found = stress.measures_of(predictions)
  assert 'spread_mm' not in found and found['spread_px'].tolist() == [1, 2, 3]


def test_films_without_spacing_are_compared_by_what_needs_none():
  unknown = conditions()
  unknown['spacing_mm'] = np.where(unknown['condition'] == 'noise', 0.5, np.nan)
  found = run(condition_predictions=unknown)['separation']
  assert set(found['noise']['scores']) == {'mha', 'ood_score'}  # px there, mm here
  assert set(found['upside down']['scores']) == {'spread_px', 'mha', 'ood_score'}


def test_rotation_correlates_with_the_absolute_angle():
  found = stress.rotation(rotation(error_px=3))
  assert found['measures']['spread_mm']['pearson'] == pytest.approx(1)
  assert found['measures']['mha']['spearman'] == pytest.approx(-1)
  assert found['measures']['spread_mm']['value'][0] == pytest.approx(2.75)
  assert found['levels'][0] == -45 and found['source'] == 'x0'
  assert found['error_mm'] == pytest.approx([1.5] * 19)


def test_without_truth_there_is_no_error():
  assert stress.rotation(rotation())['error_mm'] is None


def test_a_model_without_an_ood_score_is_judged_by_its_other_measures():
  uncalibrated = {name: value for name, value in rotation().items() if name != 'ood_score'}
  assert set(stress.rotation(uncalibrated)['measures']) == {'spread_mm', 'mha'}
  unknown = elastic()
  unknown['truth_px'] = unknown['truth_px'] * np.nan
  found = evaluate.plain(stress.elastic(unknown))
  assert found['error_mm'] == [None] * 3 and found['measures']['spread_mm']['pearson'] is not None


def test_one_missing_truth_leaves_the_other_errors():
  predictions = elastic()
  predictions['truth_px'][2] = np.nan
  assert stress.elastic(predictions)['error_mm'] == pytest.approx([0, 2, 4])


def test_separation_of_conditions_by_hand():
  found = run()['separation']
  # Clean 1 and 3 against 2 and 4: three of four pairs are in order.
  assert found['upside down']['films'] == 2
  for score in ('spread_mm', 'mha', 'ood_score'):
    figures = found['upside down']['scores'][score]
    assert figures['auroc'] == 0.75
    assert figures['aupr'] == pytest.approx((1 + 2 / 3) / 2) and figures['fpr_at_95_tpr'] == 0.5
    assert found['noise']['scores'][score] == {'auroc': 1, 'aupr': 1, 'fpr_at_95_tpr': 0}


def test_errors_and_alarms_on_other_scanners_by_hand():
  found = run()['scanner']
  assert list(found) == ['clean', 'frame']
  # Half a millimetre a pixel; of four circles three hold the truth, in both.
  assert found['clean'] == {'films': 2, 'mre_mm': pytest.approx(1), 'sdr_2mm': 1, 'coverage': 0.75,
                            'referred': 0, 'ood_auroc': 0.5}
  assert found['frame'] == {'films': 2, 'mre_mm': pytest.approx(4), 'sdr_2mm': 0, 'coverage': 0.75,
                            'referred': 0.5, 'ood_auroc': 0.75}


def test_a_landmark_that_a_scanner_cut_off_counts_nowhere():
  predictions = scans()
  predictions['truth_px'][3, 1] = np.nan
  found = stress.scanner(predictions)['frame']
  assert found['coverage'] == 1 and found['mre_mm'] == pytest.approx(4)


def test_without_regions_policy_or_truth_there_are_no_such_figures():
  predictions = make([1.0, 2.0], condition=['clean', 'frame'])
  found = evaluate.plain(stress.scanner(predictions))['frame']
  assert found == {'films': 1, 'mre_mm': None, 'sdr_2mm': None, 'coverage': None, 'referred': None,
                   'ood_auroc': 1}


def test_referred_shares_are_those_of_the_changed_films():
  changed = conditions()
  changed['refer'] = np.array([True, False, True, False, True, True])  # clean, upside down, noise
  found = run(condition_predictions=changed)['separation']
  assert found['upside down']['referred'] == 0.5 and found['noise']['referred'] == 1
  assert evaluate.plain(found)['elastic, 4 % of the height']['referred'] is None  # there is no policy


def test_changes_are_named_and_of_the_right_films():
  pairs = stress.changed_films(elastic(np.arange(9) / 200), rotation(), conditions())
  assert list(pairs) == [
      'elastic, 1 % of the height', 'elastic, 2 % of the height', 'elastic, 3 % of the height',
      'elastic, 4 % of the height', 'rotation, 10 to 20 degrees', 'rotation, 20 to 30 degrees',
      'rotation, 30 to 45 degrees', 'upside down', 'noise']
  before, after = pairs['elastic, 4 % of the height']
  assert before['ood_score'].tolist() == [0, 1, 2, 3] and after['ood_score'].tolist() == [4, 5, 6, 7]
  before, after = pairs['rotation, 30 to 45 degrees']  # upright: -5, 0, 5; beyond 30: 35, 40, 45
  assert before['ood_score'].tolist() == [1.5, 1, 1.5]
  assert sorted(after['ood_score']) == [4.5, 4.5, 5, 5, 5.5, 5.5]


def test_each_angle_beyond_ten_degrees_is_in_one_band():
  pairs = stress.changed_films(elastic(), rotation(), conditions())
  turned = [after for name, (_, after) in pairs.items() if name.startswith('rotation')]
  assert [sorted(set(np.abs(after['level']))) for after in turned] == [[15, 20], [25, 30], [35, 40, 45]]


def test_three_magnitudes_never_call_unchanged_films_changed():
  pairs = stress.changed_films(elastic(), rotation(), conditions())
  assert [name for name in pairs if name.startswith('elastic')] == [
      'elastic, 2 % of the height', 'elastic, 4 % of the height']


def test_a_shifted_set_should_not_be_trusted_and_the_same_films_may():
  calibration = make(np.tile([1.0, 3.0], 10) + np.arange(20) / 1000)
  found = run(calibration=calibration, condition_predictions=conditions(copies=10))['shift']
  assert found['noise']['verdict'] == 'shifted'
  assert 'should not be trusted' in found['noise']['words'] and '90 %' in found['noise']['words']
  scores = stress.scores_of(calibration)
  same = stress.shifts({'same': scores}, scores, seeds.rng(0, 'same'), 0.8)['same']
  assert same['verdict'] == 'no_shift_seen' and '80 %' in same['words']
  assert {row['measure'] for row in same['measures']} == {'spread_mm', '1/mha', 'ood_score'}


def test_pixels_of_images_of_another_size_say_nothing_about_a_shift():
  calibration = make(np.tile([1.0, 3.0], 10), spacing=np.nan)
  scores = stress.scores_of(calibration)
  assert 'spread_px' in scores
  found = stress.shifts({'same': scores}, stress.scores_of(calibration), seeds.rng(0, 'same'), 0.9)['same']
  assert {row['measure'] for row in found['measures']} == {'1/mha', 'ood_score'}
  mixed = run(calibration=make(np.tile([1.0, 3.0], 10)), condition_predictions=conditions() | {
      'spacing_mm': np.full(6, np.nan)})['shift']  # mm on one side only
  assert {row['measure'] for row in mixed['noise']['measures']} == {'1/mha', 'ood_score'}
  assert run(calibration=make([1.0]))['shift'] == {}  # one image is no set


def test_two_magnitudes_are_too_few_for_a_correlation():
  with pytest.raises(ValueError, match='2 magnitudes'):
    stress.elastic(make([1, 2, 3, 4], level=[0, 0, 0.04, 0.04]))


def test_the_result_is_json():
  found = evaluate.plain(run())
  again = json.loads(json.dumps(found, allow_nan=False))
  assert again == found and again['schema_version'] == stress.SCHEMA_VERSION
  assert (again['title'], again['truth']) == ('a model', 'senior')
  published = {(row['measure'], row['model']): (row['elastic'], row['rotation'])
               for row in again['published']}
  assert published[('mha', 'one network')] == (-0.95, -0.91)
