"""Two models on the same films, by hand, and what a run says about it."""

import numpy as np
import pytest

from ceph_tf.data import examples as tfrecords
from ceph_tf.data.records import LANDMARKS, Record
from pipelines import artifacts, summary
from pipelines.components.improvement_analyzer import improvement_analyzer

TRUTH = np.stack([np.linspace(10, 90, 19), np.linspace(20, 100, 19)], -1).astype(np.float32)
IDS = [f't{k}' for k in range(6)]


def artifact(kind, folder):
  folder.mkdir()
  return kind(folder)


@pytest.fixture
def compare(tmp_path):
  def run(spacing_mm=0.5):
    """Points are 10 px off before, and after by 2 px, sella by 8 and nasion by 1."""
    examples = artifact(artifacts.Examples, tmp_path / 'examples')
    tfrecords.write([Record(i, b'png', spacing_mm, 'test', i, {'truth': TRUTH}, 200, 200, LANDMARKS)
                     for i in IDS], examples.path, 1, 'csv')
    answers = []
    for name, off in (('before', np.full(19, 10.0)), ('after', np.array([8.0, 1.0] + [2.0] * 17))):
      points = np.tile(TRUTH, (6, 1, 1))
      points[..., 1] += off
      answers.append(artifact(artifacts.Predictions, tmp_path / name))
      answers[-1].write({
          'image_id': np.array(IDS), 'points_px': points, 'samples_px': points[:, None],
          'covariance_px2': np.tile(np.eye(2), (6, 19, 1, 1)), 'measure/entropy_nats': np.ones((6, 19)),
          'spacing_mm': np.full(6, spacing_mm), 'milliseconds_per_image': np.float32(1)})
    made = artifact(artifacts.Improvement, tmp_path / 'improvement')
    improvement_analyzer.function(*answers, examples, made, split='test', truth='mean', resamples=50, seed=0)
    return made
  return run


def test_differences_and_ways_by_hand(compare):
  found = compare().read()
  assert (found['split'], found['truth'], found['images']) == ('test', 'truth', 6)
  # 5 mm each before; after 4 mm, 0.5 mm, and 17 of 1 mm.
  mre, sdr = found['difference']['mre_mm'], found['difference']['sdr_2mm']
  assert mre['value'] == pytest.approx(21.5 / 19 - 5)
  assert mre['interval'] == pytest.approx([mre['value']] * 2)
  assert sdr['value'] == pytest.approx(18 / 19)
  assert found['difference']['nll_nats'] == {'value': None, 'interval': [None, None]}
  np.testing.assert_allclose(found['moved_mm']['sella'], [0, -1], atol=1e-5)
  np.testing.assert_allclose(found['moved_mm']['nasion'], [0, -4.5], atol=1e-5)


def test_a_run_says_it_in_two_lines(compare):
  made = compare()
  first, second = summary.lines([made])
  assert first == ('Difference on 6 images of test, against truth: MRE -3.87 mm [-3.87, -3.87], '
                   'SDR 2 mm +94.7 % [+94.7, +94.7], AURC -3.87 mm [-3.87, -3.87]')
  assert second.startswith('  moved the farthest: nasion 4.50 mm, ') and second.count('4.00 mm') == 2


def test_a_landmark_that_stays_where_it_was_is_not_named(compare):
  found = {**compare().read(), 'moved_mm': {'sella': [0.3, 0.4], 'nasion': [0.003, 0.0]}}
  assert list(summary.improvement(found))[1] == '  moved the farthest: sella 0.50 mm'
  found['moved_mm'] = {'sella': [0.0, 0.0], 'nasion': [0.003, 0.0]}
  assert list(summary.improvement(found))[1] == '  moved the farthest: no landmark was moved'


def test_without_a_spacing_no_millimetre_is_known(compare):
  made = compare(np.nan)
  assert set(map(tuple, made.read()['moved_mm'].values())) == {(None, None)}
  assert list(summary.lines([made])) == [
      'Difference on 6 images of test, against truth: unknown (no spacing is known)']
