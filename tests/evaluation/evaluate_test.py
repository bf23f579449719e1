"""The content of evaluation.json on data small enough to work out by hand."""

import json

import numpy as np
import pytest

from ceph_tf.config import EvaluateConfig
from ceph_tf.data.records import DataError, Record
from ceph_tf.evaluation import evaluate

NAMES = ('sella', 'nasion')
SENIOR = np.array([[10, 10], [20, 20]], np.float32)


def record(image_id='a', split='test1', spacing=0.5, junior=True, **changes):
  points = {'senior': SENIOR, 'junior': SENIOR + np.array([4, 0], np.float32)}
  values = {
      'image_id': image_id, 'image_bytes': b'', 'spacing_mm': spacing, 'split': split,
      'patient_id': image_id, 'points_px': points if junior else {'truth': SENIOR},
      'height_px': 60, 'width_px': 40, 'landmark_names': NAMES} | changes
  return Record(**values)


def predictions(ids, offset_px=(0, 6)):
  n = len(ids)
  points = np.broadcast_to(SENIOR + np.array(offset_px, np.float32), (n, 2, 2)).copy()
  return {
      'image_id': np.array(ids, str), 'points_px': points, 'samples_px': points[:, None],
      'covariance_px2': np.broadcast_to(np.eye(2, dtype=np.float32), (n, 2, 2, 2)),
      'measure/mha': np.full((n, 2), 0.5, np.float32),
      'measure/spread_px': np.full((n, 2), 3.0, np.float32),
      'milliseconds_per_image': np.float32(12),
  }


def run(rows, arrays=None, leak_free=None, truth='mean', cfg=None):
  cfg = cfg or EvaluateConfig(bootstrap=20)
  arrays = arrays or predictions([r.image_id for r in rows])
  cases = evaluate.align(arrays, rows)
  ids = {r.image_id for r in rows} if leak_free is None else leak_free
  return evaluate.evaluate(cases, ids, cfg, truth, 'a model', 0)


def test_every_truth_is_measured():
  found = run([record('a'), record('b')])
  assert set(found['results']) == {'senior', 'junior', 'mean'}
  mre = {truth: subsets['official']['mre_mm'] for truth, subsets in found['results'].items()}
  assert mre['senior'] == pytest.approx(3)  # 6 px
  assert mre['junior'] == pytest.approx(np.hypot(6, 4) / 2)
  assert mre['mean'] == pytest.approx(np.hypot(6, 2) / 2)
  assert found['results']['senior']['official']['mre_px'] == pytest.approx(6)
  assert found['between_doctors']['official']['mre_mm'] == pytest.approx(2)
  assert found['spacing_mm'] == {'min': 0.5, 'max': 0.5}
  assert (found['split'], found['truth'], found['images']) == ('test1', 'mean', 2)


def test_systematic_errors_are_told_from_random_ones():
  arrays = predictions(['a', 'b'])
  arrays['points_px'][1, 0, 1] += 4
  figures = run([record('a'), record('b')], arrays)['results']['mean']['official']
  sella, nasion = figures['per_landmark']
  # The mean truth lies 2 px to the right of the senior's.
  assert (sella['systematic_x_mm'], sella['systematic_y_mm']) == pytest.approx((-1, 4))
  assert (nasion['systematic_x_mm'], nasion['systematic_y_mm']) == pytest.approx((-1, 3))
  assert figures['random']['points'] == 4
  assert figures['random']['mre_mm'] == pytest.approx((2 + 2 + 0 + 0) / 4)


def test_leak_free_figures_leave_the_copies_out():
  rows, arrays = [record('a'), record('b')], predictions(['a', 'b'])
  arrays['points_px'][1] += 100
  results = run(rows, arrays, leak_free={'a'})['results']['senior']
  assert results['leak_free']['images'] == 1
  assert results['leak_free']['mre_mm'] == pytest.approx(3)
  assert results['official']['mre_mm'] > 30


def test_without_copies_and_doctors_there_is_one_row():
  found = run([record('a', junior=False), record('b', junior=False)], truth='senior')
  assert list(found['results']) == ['truth'] == [found['truth']]
  assert list(found['results']['truth']) == ['official']
  assert found['between_doctors'] is None


def test_predictions_in_another_order_find_their_images():
  rows = [record('a', spacing=1.0), record('b', spacing=2.0)]
  cases = evaluate.align(predictions(['b', 'a']), rows)
  np.testing.assert_array_equal(cases.spacing_mm, [2, 1])
  np.testing.assert_array_equal(cases.measures['spread_mm'], [[6, 6], [3, 3]])
  assert set(cases.measures) == {'mha', 'spread_mm'}


def test_unknown_spacing_leaves_pixel_figures_and_is_counted():
  found = run([record('a'), record('b', spacing=np.nan)])
  figures = found['results']['senior']['official']
  assert found['images_without_spacing'] == 1
  assert figures['points'] == 2
  assert figures['mre_mm'] == pytest.approx(3)
  assert figures['mre_px'] == pytest.approx(6)
  none = run([record('a', spacing=np.nan)])
  assert none['spacing_mm'] is None
  assert np.isnan(none['results']['senior']['official']['mre_mm'])
  assert none['results']['senior']['official']['mre_px'] == pytest.approx(6)


def test_warnings_are_counted_in_mm_in_each_subset_against_the_truth():
  rows, arrays = [record('a'), record('b', spacing=1.0)], predictions(['b', 'a'])
  assert run(rows, arrays)['alarms'] is None  # the model has no policy
  arrays |= {'refer': np.array([False, True]), 'region_radius_px': np.array([[5.0, 3.0], [9, 9]])}
  found = run(rows, arrays, leak_free={'b'}, truth='senior')['alarms']  # b is 6 mm off, a 3 mm
  assert found['official'] == {'referred': 0.5, 'referred_ids': ['a'], 'checked': 0.5, 'gross': 2,
                               'gross_referred': 0, 'gross_checked': 1}
  assert found['leak_free']['referred_ids'] == [] and found['leak_free']['gross'] == 2
  del arrays['region_radius_px']
  assert run(rows, arrays, truth='senior')['alarms']['official']['gross_checked'] == 0


def test_circles_are_counted_whatever_is_known_of_the_spacing():
  rows, arrays = [record('a', spacing=np.nan), record('b', spacing=0.5)], predictions(['a', 'b'])
  assert run(rows, arrays)['circles'] is None
  arrays['region_radius_px'] = np.array([[6.1, 5], [7, np.nan]])  # points are 6 px off the senior's
  found = run(rows, arrays, leak_free={'b'}, truth='senior')['circles']
  assert found['official'] == pytest.approx({'points': 3, 'coverage': 2 / 3, 'mean_radius_mm': 3.5})
  assert found['leak_free'] == {'points': 1, 'coverage': 1, 'mean_radius_mm': 3.5}
  none = run(rows[:1], predictions(['a']) | {'region_radius_px': np.full((1, 2), np.nan)})['circles']
  assert none['official']['points'] == 0 and np.isnan(none['official']['coverage'])


def test_missing_landmarks_are_counted_and_take_no_part():
  points = {'senior': SENIOR.copy(), 'junior': SENIOR.copy()}
  points['senior'][0] = np.nan
  found = run([record('a', points_px=points), record('b')])['results']
  assert found['senior']['official']['missing_truth'] == 1
  assert found['senior']['official']['points'] == 3
  assert found['mean']['official']['missing_truth'] == 1
  assert found['junior']['official']['missing_truth'] == 0
  assert found['senior']['official']['per_landmark'][0]['points'] == 1


def test_nothing_known_at_all_is_no_crash_and_no_blessing():
  nothing = {'truth': np.full((2, 2), np.nan, np.float32)}
  found = run([record('a', points_px=nothing)])
  verdict = evaluate.bless(found, EvaluateConfig())
  assert not verdict['blessed']
  assert 'no landmark' in verdict['reasons'][0]
  json.loads(json.dumps(evaluate.plain(found), allow_nan=False))


@pytest.mark.parametrize('ids, rows, message', [
    ([], ['a'], 'holds no image'),
    (['a', 'b'], ['a'], "image 'b'.*not among the examples"),
    (['a'], ['a', 'b'], "1 images of test1 have no prediction, first 'b'"),
    (['a', 'a'], ['a'], "'a' was predicted more than once"),
])
def test_predictions_that_do_not_fit_the_examples(ids, rows, message):
  with pytest.raises(DataError, match=message):
    evaluate.align(predictions(ids), [record(i) for i in rows])


def test_an_unknown_truth_names_the_known_ones():
  with pytest.raises(DataError, match="truth='truth': allowed is senior, junior, mean"):
    run([record('a')], truth='truth')


def test_blessing_names_what_is_not_good_enough():
  found = run([record('a'), record('b')], truth='senior')  # 3 mm everywhere
  assert evaluate.bless(found, EvaluateConfig(max_mre_mm=3.1, min_sdr_4mm=1.0))['blessed']
  verdict = evaluate.bless(found, EvaluateConfig(max_mre_mm=2.9))
  assert not verdict['blessed']
  assert verdict['reasons'] == ['MRE 3.00 mm is above evaluate.max_mre_mm=2.9']
  far = run([record('a')], predictions(['a'], (0, 20)), truth='senior')
  verdict = evaluate.bless(far, EvaluateConfig(max_mre_mm=99, min_sdr_4mm=0.5))
  assert verdict['reasons'] == ['SDR(4 mm) 0.000 is below evaluate.min_sdr_4mm=0.5']


def test_the_same_seed_gives_the_same_file_and_another_other_intervals():
  rows = [record(str(i)) for i in range(6)]
  arrays = predictions([r.image_id for r in rows])
  arrays['points_px'] += np.random.default_rng(0).normal(size=(6, 2, 2)).astype(np.float32)
  cases = evaluate.align(arrays, rows)
  one, two, other = (
      evaluate.evaluate(cases, {'1'}, EvaluateConfig(bootstrap=20), 'mean', 'x', seed)
      for seed in (1, 1, 2))
  assert json.dumps(evaluate.plain(one)) == json.dumps(evaluate.plain(two))
  intervals = [e['results']['mean']['official']['intervals'] for e in (one, other)]
  assert intervals[0] != intervals[1]


def test_plain_leaves_nothing_json_cannot_hold():
  assert evaluate.plain({'a': (1, float('nan')), 'b': [float('inf'), 'x', None]}) == {
      'a': [1, None], 'b': [None, 'x', None]}
