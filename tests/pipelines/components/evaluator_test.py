"""The evaluator on TFRecords and a predictions.npz, as a runner would call it."""

import csv
import json

import cv2
import numpy as np
import pytest

from ceph_tf.config import EvaluateConfig
from ceph_tf.data import examples as tfrecords
from ceph_tf.data.records import LANDMARKS, DataError, Record
from pipelines import summary
from pipelines.artifacts import (
  Anomalies,
  Evaluation,
  Examples,
  ModelBlessing,
  Predictions,
)
from pipelines.components.evaluator import evaluator
from pipelines.dsl import Context

TRUTH = np.stack([np.linspace(10, 90, 19), np.linspace(20, 100, 19)], -1).astype(np.float32)
CONTEXT = Context('evaluator', 'run', 'key', lambda: [
    {'node': 'evaluator', 'params': {}}, {'node': 'trainer', 'params': {'train': {'epochs': 7}}}])


def make_record(image_id, split, truths=('truth',), spacing=0.5):
  image = np.tile(np.arange(100, dtype=np.uint8), (120, 1))
  png = cv2.imencode('.png', image)[1].tobytes()
  return Record(image_id, png, spacing, split, image_id, {t: TRUTH for t in truths}, 120, 100)


def artifact(kind, tmp_path):
  path = tmp_path / kind.__name__
  path.mkdir()
  return kind(path)


@pytest.fixture
def run(tmp_path):
  """Writes inputs, evaluates, and returns the outputs."""
  def evaluate(records, predicted, duplicates=(), cfg=None, truth='truth', **fitted):
    examples, anomalies = artifact(Examples, tmp_path), artifact(Anomalies, tmp_path)
    predictions = artifact(Predictions, tmp_path)
    tfrecords.write(records, examples.path, 2, 'csv')
    anomalies.write({'duplicates': [list(pair) for pair in duplicates]})
    n = len(predicted)
    points = np.stack([TRUTH + 2] * n) if n else np.zeros((0, 19, 2), np.float32)
    predictions.write({
        'image_id': np.array(predicted, str), 'points_px': points,
        'samples_px': np.repeat(points[:, None], 3, axis=1),
        'covariance_px2': np.broadcast_to(np.eye(2, dtype=np.float32), (n, 19, 2, 2)),
        'measure/spread_px': np.ones((n, 19), np.float32),
        'milliseconds_per_image': np.float32(5), **fitted})
    evaluation, blessing = artifact(Evaluation, tmp_path), artifact(ModelBlessing, tmp_path)
    evaluator.function(
        predictions, examples, anomalies, evaluation, blessing,
        cfg=cfg or EvaluateConfig(split='test', bootstrap=10, overlays=2), truth=truth,
        title='baseline, smoke', seed=0, context=CONTEXT)
    return evaluation, blessing
  return evaluate


def test_evaluator_writes_all_that_the_artifacts_promise(run):
  evaluation, blessing = run(
      [make_record('t', 'train'), make_record('a', 'test'), make_record('b', 'test')], ['a', 'b'])
  assert not evaluation.missing_files() and not blessing.missing_files()
  found = evaluation.read()
  assert found['results']['truth']['official']['mre_mm'] == pytest.approx(np.sqrt(2))
  assert list(found['results']['truth']) == ['official']
  clinical = found['clinical']['official']  # all points moved alike: no angle and no length changed
  assert clinical['truth'] == 'truth' and clinical['success_rate'] == 1
  assert clinical['measurements']['MW']['mean_error'] == pytest.approx(0, abs=1e-4)
  assert blessing.read() == {'blessed': True, 'reasons': [], 'truth': 'truth', 'split': 'test',
                             'mre_mm': pytest.approx(np.sqrt(2)), 'sdr_4mm': 1.0}
  rows = list(csv.DictReader((evaluation.path / 'per_landmark.csv').read_text('utf-8').splitlines()))
  assert [row['landmark'] for row in rows] == list(LANDMARKS)
  assert list((evaluation.path / 'logs').glob('events.*'))
  pictures = sorted(path.name for path in (evaluation.path / 'figures').iterdir())
  assert pictures == ['error_against_spread_mm.png', 'error_curve.png', 'landmarks.png',
                      'overlay_01_worst.png', 'overlay_02_most_uncertain.png']
  report = evaluation.report.read_text('utf-8')
  assert 'Clinical measurements' in report and 'APDI' in report
  assert 'baseline, smoke: test' in report and '&quot;epochs&quot;: 7' in report


def test_copies_of_training_films_are_left_out_of_the_leak_free_figures(run):
  records = [make_record('t', 'train'), *(make_record(i, 'test') for i in 'abcd')]
  evaluation, _ = run(records, list('abcd'), [('a', 't'), ('b', 'c')])
  results = evaluation.read()['results']['truth']
  assert results['official']['images'] == 4
  assert results['leak_free']['images'] == 2  # b for b and c, and d


def test_the_summary_says_what_is_left_without_the_mean_error_of_each_landmark(run):
  evaluation, _ = run([make_record(i, 'test', spacing=2.0) for i in 'ab'], list('ab'))  # both 5.7 mm off
  assert ('    without the mean error of each landmark: MRE 0.00 mm, SDR 2 mm 100.0 %'
          in summary.lines([evaluation]))


def test_of_one_patient_the_summary_knows_no_interval_and_no_random_errors(run):
  evaluation, _ = run([make_record('a', 'test')], ['a'])
  lines = list(summary.lines([evaluation]))
  assert '  against truth, official (1 images): MRE 1.41 mm, SDR 2 mm 100.0 %' in lines
  assert not any('without the mean' in line for line in lines)


def test_the_summary_says_what_a_calibrated_model_warns_of(run):
  images = [make_record('a', 'test', spacing=2.0), make_record('b', 'test', spacing=2.0)]  # 5.7 mm off
  evaluation, _ = run(images, ['a', 'b'], refer=np.array([False, True]),
                      region_radius_px=np.tile([3.0] + 18 * [1.0], (2, 1)))
  assert ('  refers 50.0 % of the images; of 38 errors above 4 mm 20 are of these or of landmarks to check'
          in summary.lines([evaluation]))
  assert '  circles hold 5.3 % of the truths, mean radius 2.21 mm' in summary.lines([evaluation])
  assert '<h2>Warnings</h2>' in evaluation.report.read_text('utf-8')


def test_the_validation_split_is_no_leak_of_itself(run):
  records = [make_record('t', 'train'), *(make_record(i, 'validation') for i in 'abc')]
  cfg = EvaluateConfig(split='validation', bootstrap=10, overlays=0)
  evaluation, _ = run(records, list('abc'), [('a', 't'), ('b', 'c')], cfg)
  assert evaluation.read()['results']['truth']['leak_free']['images'] == 1
  assert len(list((evaluation.path / 'figures').iterdir())) == 3


def test_thresholds_decide_about_the_blessing(run):
  cfg = EvaluateConfig(split='test', bootstrap=10, overlays=0, max_mre_mm=1)
  evaluation, blessing = run([make_record('a', 'test')], ['a'], cfg=cfg)
  assert blessing.read()['reasons'] == ['MRE 1.41 mm is above evaluate.max_mre_mm=1']
  assert 'not blessed' in evaluation.report.read_text('utf-8')


def test_without_spacing_there_are_figures_in_pixels_only(run):
  evaluation, blessing = run([make_record('a', 'test', spacing=np.nan)], ['a'])
  found = json.loads((evaluation.path / 'evaluation.json').read_text('utf-8'), parse_constant=pytest.fail)
  figures = found['results']['truth']['official']
  assert figures['mre_mm'] is None and figures['mre_px'] == pytest.approx(2 * np.sqrt(2))
  assert not blessing.read()['blessed']


def test_no_images_is_one_clear_error(run):
  with pytest.raises(DataError, match="split 'test'"):
    run([make_record('t', 'train')], [])


def test_predictions_of_another_split_are_refused(run):
  with pytest.raises(DataError, match="image 'x'"):
    run([make_record('a', 'test')], ['x'])
