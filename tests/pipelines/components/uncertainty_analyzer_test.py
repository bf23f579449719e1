"""The analyzer on TFRecords and two predictions.npz, as a runner would call it."""

import json

import numpy as np
import pytest

from ceph_tf.config import AnalyzeConfig, DataConfig, Experiment
from ceph_tf.data import examples as tfrecords
from ceph_tf.data.records import LANDMARKS, DataError, Record
from ceph_tf.uncertainty import highest_density
from pipelines import pipeline, summary
from pipelines.artifacts import Anomalies, Examples, HeatmapScores, Predictions, UncertaintyAnalysis
from pipelines.components.uncertainty_analyzer import uncertainty_analyzer

TRUTH = np.stack([np.linspace(10, 90, 19), np.linspace(20, 100, 19)], -1).astype(np.float32)
TEST, BEFORE = [f't{i}' for i in range(6)], [f'c{i}' for i in range(10)]


def record(image_id, split, spacing=0.5):
  return Record(image_id, b'png', spacing, split, image_id, {'truth': TRUTH}, 120, 100, LANDMARKS)


def artifact(kind, folder):
  folder.mkdir()
  return kind(folder)


def predicted(folder, ids, spacing):
  """Image number i is off by i + 1 px, and its spread says so."""
  found, off = artifact(Predictions, folder), np.arange(1, len(ids) + 1, dtype=np.float32)
  points = TRUTH + off[:, None, None] * np.array([1, 0], np.float32)
  found.write({
      'image_id': np.array(ids), 'spacing_mm': np.full(len(ids), spacing),
      'points_px': points, 'samples_px': points[:, None],
      'covariance_px2': np.broadcast_to(np.eye(2, dtype=np.float32), (len(ids), 19, 2, 2)),
      'measure/spread_px': np.repeat(off[:, None], 19, 1),
      'measure/mha': np.ones((len(ids), 19), np.float32),
      'milliseconds_per_image': np.float32(5)})
  return found


def scored(folder, ids):
  """The truth is the i-th densest of the pixels of image i; all pixels are alike, of 0.1 mm2."""
  found, n = artifact(HeatmapScores, folder), len(ids)
  score = np.repeat(np.arange(n)[:, None] / n, 19, 1)
  area = np.broadcast_to(10 * highest_density.LEVELS, (n, 19, len(highest_density.LEVELS)))
  np.savez(
      found.path / 'scores.npz', image_id=np.array(ids), truth_score=score, area_mm2=area,
      temperature=np.full((n, 19), 2.0), pixel_mm2=np.full(n, 0.1),
      truth_score_before=np.ones((n, 19)), log_density_before=np.full((n, 19), np.log(0.01)),
      log_density=np.full((n, 19), np.log(0.05)))
  return found


@pytest.fixture
def run(tmp_path):
  def analyse(duplicates=(), spacing=0.5, test_ids=TEST):
    examples = artifact(Examples, tmp_path / 'examples')
    anomalies = artifact(Anomalies, tmp_path / 'anomalies')
    tfrecords.write([record('x', 'train'), *(record(i, 'test', spacing) for i in TEST),
                     *(record(i, 'calibration', spacing) for i in BEFORE)], examples.path, 2, 'csv')
    anomalies.write({'duplicates': [list(pair) for pair in duplicates]})
    analysis = artifact(UncertaintyAnalysis, tmp_path / 'analysis')
    uncertainty_analyzer.function(
        predicted(tmp_path / 'predictions', test_ids, spacing),
        predicted(tmp_path / 'before', BEFORE, spacing),
        scored(tmp_path / 'scores', test_ids), scored(tmp_path / 'scores_before', BEFORE),
        examples, anomalies, analysis, cfg=AnalyzeConfig(bootstrap=5), split='test',
        truth='truth', title='baseline, smoke', seed=0)
    return analysis
  return analyse


def test_the_artifact_holds_what_it_promises(run):
  analysis = run()
  assert not analysis.missing_files()
  found = json.loads((analysis.path / 'analysis.json').read_text('utf-8'), parse_constant=pytest.fail)
  official = found['subsets']['official']
  assert official['mre_mm'] == pytest.approx(0.5 * 3.5)  # px of spacing 0.5: lengths are mm
  assert official['best'] == 'spread_mm'
  assert found['measures']['mha'] == {'confidence': True, 'status': 'constant', 'value': 1.0}
  # Errors 0.5 .. 5 mm, ten images: the tenth, ceil(11 * 0.9).
  circle = official['regions']['kinds']['circle']
  assert circle['per_landmark'][0]['quantile'] == pytest.approx(5)
  # Scores 0, 0.1 .. 0.9, the tenth; the table's next level above it, and all six truths inside.
  densest = official['regions']['kinds']['highest_density']
  level = highest_density.LEVELS[highest_density.LEVELS >= 0.9][0]
  assert densest['per_landmark'][0]['quantile'] == pytest.approx(level)
  assert densest['coverage'] == 1 and densest['area_mean_mm2'] == pytest.approx(10 * level, rel=1e-6)
  names = sorted(path.name for path in (analysis.path / 'figures').iterdir())
  assert names == ['coverage.png', 'error_per_bin.png', 'risk_coverage.png']
  assert list((analysis.path / 'logs').glob('events.*'))
  assert 'baseline, smoke' in analysis.page.read_text('utf-8')
  lines = list(summary.lines([analysis]))
  assert any('AURC' in line and 'spread (mm)' in line for line in lines)
  assert any(line.startswith('uncertainty:') for line in lines)


def test_it_says_what_temperatures_do_to_the_test_images(run):
  analysis = run()
  found = analysis.read()['subsets']['official']['temperature']
  assert found['status'] == 'computed' and found['unit'] == 'mm2' and found['points'] == 6 * 19
  assert found['before']['nll_nats'] == pytest.approx(-np.log(0.01 / 0.1))
  assert found['after']['nll_nats'] == pytest.approx(-np.log(0.05 / 0.1))
  assert found['before']['ece'] == pytest.approx(0.5)  # in no region; the mean of 0.05 .. 0.95
  assert found['after']['ece'] < 0.15
  row = found['per_landmark'][4]
  assert (row['landmark'], row['temperature'], row['points']) == (LANDMARKS[4], 2, 6)
  assert row['nll_after_nats'] == pytest.approx(found['after']['nll_nats'])
  assert 'density per mm²' in analysis.page.read_text('utf-8')


def test_copies_of_other_splits_are_left_out(run):
  found = run([('t0', 'x'), ('t1', 'c1'), ('c2', 'x')]).read()
  assert found['subsets']['leak_free']['images'] == 4
  assert found['calibration'] == {'images': 9, 'left_out': ['c2']}


def test_without_spacing_the_page_says_so_and_the_run_goes_on(run):
  analysis = run(spacing=np.nan)
  assert not analysis.missing_files()
  assert analysis.read()['status'] == 'not_possible'
  assert 'known spacing' in analysis.page.read_text('utf-8')
  assert any('not analysed' in line for line in summary.lines([analysis]))


def test_predictions_of_other_images_are_refused(run):
  with pytest.raises(DataError, match="image 'y'"):
    run(test_ids=['y', *TEST])


def test_the_page_says_whether_regions_may_be_trusted_also_without_labels(run):
  shift = run().read()['shift']
  words = shift['words']  # errors, and so spreads, of six and ten images are alike
  assert shift['strange_ids'] == [TEST[i] for i in shift['strange_images']]
  assert 'no reason to distrust' in words or 'cannot be vouched for' in words


def test_the_graph_has_an_analyzer_where_there_is_something_to_calibrate_on():
  names = [node.name for node in pipeline.build(Experiment(), 'pushed')]
  assert names.index('calibrator') < names.index('calibrated_exporter') < names.index('bulk_inferrer')
  assert names[-8:] == [
      'heatmap_inferrer_test1', 'heatmap_inferrer_calibration', 'uncertainty_analyzer', 'stress_elastic',
      'stress_rotation', 'stress_condition', 'stress_scanner', 'stress_analyzer']
  assert {'rescan_inferrer_train', 'rescan_inferrer_calibration'} <= set(names)
  without = Experiment(data=DataConfig(calibration_images=0))
  names = [node.name for node in pipeline.build(without, 'pushed')]
  assert 'exporter' in names and 'pusher' in names
  assert not {'uncertainty_analyzer', 'calibrator', 'stress_analyzer'} & set(names)
