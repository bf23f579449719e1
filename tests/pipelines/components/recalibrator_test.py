"""The recalibrator on hand-made predictions of a tiny model, as a runner would call it."""

import json
import shutil

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.config import AnalyzeConfig
from ceph_tf.data import examples as tfrecords
from ceph_tf.data.records import LANDMARKS, DataError, Record
from ceph_tf.serving import saved_model
from ceph_tf.serving.recalibrated import FILMS
from ceph_tf.uncertainty import habits
from pipelines.artifacts import Anomalies, Examples, Predictions, ServableModel
from pipelines.components.recalibrator import recalibrator

RNG = seeds.rng(0, 'recalibrator')
IDS = [f'c{k:02d}' for k in range(24)]
# One head of 24 sizes.
TRUTH = (RNG.uniform(0, 300, (19, 2)) * RNG.uniform(1, 2, (24, 1, 1))).astype(np.float32)
HABIT = RNG.normal(0, 0.1, (19, 2))  # in sizes of the head
PICTURE = cv2.imencode('.png', RNG.integers(0, 255, (40, 40)).astype(np.uint8))[1].tobytes()


def artifact(kind, folder):
  folder.mkdir()
  return kind(folder)


def predictions(folder, truth=TRUTH, **changed):
  """Points that differ from the truth by the habit, and by a little noise."""
  noise = seeds.rng(0, 'noise').normal(0, 0.5, truth.shape)
  points = truth + HABIT * habits.size_px(truth).numpy()[:, None, None] + noise
  found = artifact(Predictions, folder)
  arrays = {
      'image_id': np.array(IDS), 'points_px': points, 'samples_px': points[:, None],
      'covariance_px2': np.tile(np.eye(2), (24, 19, 1, 1)), 'ood_score': np.arange(24.0),
      'measure/total_sd_px': np.full((24, 19), np.sqrt(2)), 'measure/entropy_nats': np.ones((24, 19)),
      'milliseconds_per_image': np.float32(1)} | changed
  found.write({name: np.asarray(value, np.float32) if name != 'image_id' else value
               for name, value in arrays.items() if value is not None})
  return found


@pytest.fixture
def run(tmp_path, tiny_models):
  def recalibrate(duplicates=(), patients=IDS, trained=(), cfg=None, model=None, site='', **changed):
    examples = artifact(Examples, tmp_path / 'examples')
    records = [Record(i, f'{i}{site}'.encode(), 0.5, 'calibration', patient, {'truth': truth}, 600, 600,
                      LANDMARKS) for i, patient, truth in zip(IDS, patients, TRUTH, strict=True)]
    records += [Record(i, b'png', 0.5, split, i, {'truth': TRUTH[0]}, 600, 600, LANDMARKS)
                for i, split in dict(trained).items()]
    tfrecords.write(records, examples.path, 2, 'csv')
    anomalies = artifact(Anomalies, tmp_path / 'anomalies')
    anomalies.write({'duplicates': [list(pair) for pair in duplicates]})
    servable = artifact(ServableModel, tmp_path / 'servable')
    shutil.copytree(model or tiny_models / 'tiny/1', servable.saved_model)
    (servable.saved_model / 'lineage.json').write_text('[]')
    (servable.saved_model / 'assets.extra/sampler.json').write_text('asked')
    out = artifact(ServableModel, tmp_path / 'out')
    recalibrator.function(
        servable=servable, calibration=predictions(tmp_path / 'predictions', **changed), examples=examples,
        anomalies=anomalies, recalibrated=out, cfg=cfg or AnalyzeConfig(), truth='truth')
    assert not out.missing_files() and out.calibrated
    return out.saved_model
  return recalibrate


def calibration(folder):
  return json.loads((folder / 'assets.extra/calibration.json').read_text('utf-8'))


def test_the_habit_of_the_calibration_films_is_taken_from_every_answer(run, tiny_models):
  after = saved_model.load(run())
  before, = saved_model.load(tiny_models / 'tiny/1').ask([PICTURE], [1.0])
  answer, = after.ask([PICTURE], [1.0])
  size = habits.size_px(before['points_px'][None]).numpy()
  np.testing.assert_allclose(answer['points_px'], before['points_px'] - HABIT * size, atol=0.1)
  np.testing.assert_allclose(answer['moved_px'], -HABIT * size, atol=0.1)


def test_regions_are_of_what_is_left_of_errors(run):
  """The 23rd smallest of 24 lengths of the noise, and of what a habit that 23 others show misses."""
  found = calibration(run())
  left = np.linalg.norm(seeds.rng(0, 'noise').normal(0, 0.5, TRUTH.shape), axis=-1)
  expected = np.sort(left, 0)[22] / np.sqrt(2)
  ratio = found['radius_quantiles'] / expected
  assert 1.01 < ratio.mean() < 1.1  # if the film had a say, below 1


def test_its_papers_say_where_it_comes_from(run, tiny_models):
  folder = run()
  found, before = calibration(folder), calibration(tiny_models / 'tiny/1')
  assert (found['calibration_images'], found['coverage'], found['regions']) == (24, 0.9, 'stated')
  np.testing.assert_allclose(found['habits_in_head_sizes'], HABIT, atol=0.01)
  assert found['temperatures'] == before['temperatures'] and found['thresholds'] != before['thresholds']
  extra = folder / 'assets.extra'
  assert json.loads((extra / 'landmarks.json').read_text()) == list(LANDMARKS)
  assert (extra / 'origin/lineage.json').read_text() == '[]'
  assert (extra / 'sampler.json').read_text() == 'asked'
  assert json.loads((extra / 'origin/calibration.json').read_text()) == before
  assert not (folder / 'lineage.json').exists()  # the pusher writes its own


def test_the_papers_of_a_second_site_hold_those_of_the_first(run, tmp_path):
  first = shutil.move(run(), tmp_path / 'first')
  for name in ('examples', 'anomalies', 'servable', 'out', 'predictions'):
    shutil.rmtree(tmp_path / name)
  second = run(model=first, site='another')
  assert len(calibration(first)[FILMS]) == 24 and len(calibration(second)[FILMS]) == 48
  assert json.loads((second / 'assets.extra/origin/calibration.json').read_text()) == calibration(first)
  assert (second / 'assets.extra/origin/origin/lineage.json').is_file()


def test_films_bring_a_model_to_their_site_just_once(run, tmp_path):
  first = shutil.move(run(), tmp_path / 'first')
  for name in ('examples', 'anomalies', 'servable', 'out', 'predictions'):
    shutil.rmtree(tmp_path / name)
  with pytest.raises(DataError, match=r'on 24 of the 24 calibration images \(c00, c01, c02, ...\)'):
    run(model=first)
  assert not (tmp_path / 'out/saved_model').exists()


@pytest.mark.parametrize('split', ['train', 'validation'])
def test_films_that_trained_it_or_repeat_are_left_out(run, split):
  points = TRUTH.copy()
  points[[3, 5]] += 1e4  # would be all that is seen
  found = calibration(run([('c03', 't'), ('c02', 'c05')], trained={'t': split}, points_px=points))
  assert found['calibration_images'] == 22
  assert max(found['radius_quantiles']) == 0 and np.abs(found['habits_in_head_sizes']).max() == 0


def test_films_of_one_patient_do_not_speak_for_each_other(run):
  """Twelve of one patient, off by 1000 px: seen by each other, some of it would pass for a habit."""
  patients = ['c00'] * 12 + IDS[12:]
  points = TRUTH.copy()
  points[:12] += [1000, 0]
  found = calibration(run(patients=patients, points_px=points, cfg=AnalyzeConfig(coverage=0.92, alpha=0.1)))
  np.testing.assert_allclose(found['radius_quantiles'], 1000 / np.sqrt(2), rtol=1e-4)


@pytest.mark.parametrize('patients,cfg,words', [
    (IDS, AnalyzeConfig(coverage=0.97), '24 patients: a coverage of 0.97 and an alpha of 0.05 need 33'),
    (IDS, AnalyzeConfig(alpha=0.02), '24 patients: .* an alpha of 0.02 need 49'),
    (['c00'] * 7 + IDS[7:], AnalyzeConfig(), '18 patients: .* need 19'),
    (['c00'] * 24, AnalyzeConfig(), ' 1 patients')])
def test_too_few_patients_are_refused(run, tmp_path, patients, cfg, words):
  with pytest.raises(DataError, match=words):
    run(patients=patients, cfg=cfg)
  assert not (tmp_path / 'out/saved_model').exists()


def test_too_few_truths_are_refused(run, tmp_path, monkeypatch):
  few = TRUTH.copy()
  few[8:] = np.nan
  monkeypatch.setitem(globals(), 'TRUTH', few)
  with pytest.raises(DataError, match='no landmark has a truth of 9 calibration patients'):
    run(points_px=np.nan_to_num(few))
  assert not (tmp_path / 'out/saved_model').exists()


@pytest.mark.parametrize('name', ['ood_score', 'measure/entropy_nats'])
def test_a_model_that_nothing_was_fitted_for_is_refused(run, tmp_path, name):
  with pytest.raises(DataError, match=f'answer with {name.removeprefix("measure/")}: it was trained'):
    run(**{name: None})
  assert not (tmp_path / 'out/saved_model').exists()


def test_a_missing_landmark_takes_no_part(run, monkeypatch):
  missing = TRUTH.copy()
  missing[:, 4] = np.nan
  monkeypatch.setitem(globals(), 'TRUTH', missing)
  folder = run(points_px=np.nan_to_num(missing))
  found = calibration(folder)
  assert found['radius_quantiles'][4] is None and None not in found['radius_quantiles'][:4]
  assert found['habits_in_head_sizes'][4] == [0, 0]
  answer, = saved_model.load(folder).ask([PICTURE], [1.0])
  assert np.isnan(answer['region_radius_px'][4]) and np.isfinite(answer['points_px']).all()
  assert tf.reduce_all(tf.math.is_finite(answer['region_radius_px'][5:]))
