"""The calibrator on TFRecords and predictions.npz, as a runner would call it."""

import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.config import AnalyzeConfig
from ceph_tf.data import examples as tfrecords
from ceph_tf.data.records import LANDMARKS, DataError, Record
from ceph_tf.uncertainty import fitted as fitting
from ceph_tf.uncertainty import ood, temperature
from pipelines.artifacts import Anomalies, Calibration, Examples, Predictions
from pipelines.components.calibrator import calibrator

TRUTH = np.stack([np.linspace(10, 90, 19), np.linspace(20, 100, 19)], -1).astype(np.float32)
TRAIN, BEFORE = [f'x{i}' for i in range(12)], [f'c{i}' for i in range(10)]
TRAIN_FEATURES = seeds.rng(0, 'features').normal(size=(12, 3)).astype(np.float32)
VALID = ['v', 'w', 'u']
SPLITS = dict.fromkeys(TRAIN, 'train') | dict.fromkeys(VALID, 'validation') | {'t': 'test'} | dict.fromkeys(
    BEFORE, 'calibration')


def artifact(kind, folder):
  folder.mkdir()
  return kind(folder)


def record(image_id, split):
  return Record(image_id, b'png', 0.5, split, image_id, {'truth': TRUTH}, 120, 100, LANDMARKS)


def trained(folder):
  """Features of the training images."""
  found = artifact(Predictions, folder)
  found.write({'image_id': np.array(TRAIN), 'features': TRAIN_FEATURES})
  return found


def rescanned(folder, ids):
  """Each image and two copies: image number i is off by i + 1 px, its copies lie far away; their entropies
  are i, i + 0.1, i + 0.2, their features 10 i, 10 i + 1, 10 i + 2; covariances are 4 px^2, those of copies
  more.
  """
  found = artifact(Predictions, folder)
  number, copy = np.repeat(np.arange(len(ids)), 3), np.tile(np.arange(3), len(ids))
  off = number + 1 + 100 * copy
  found.write({
      'image_id': np.repeat(ids, 3),
      'points_px': (TRUTH + off[:, None, None] * np.array([0.6, 0.8])).astype(np.float32),
      'covariance_px2': (np.eye(2) * np.ones([19, 1, 1]) * (4 + copy)[:, None, None, None]).astype('f4'),
      'measure/entropy_nats': np.repeat((number + 0.1 * copy)[:, None], 19, 1).astype(np.float32),
      'features': np.repeat((10 * number + copy)[:, None], 3, 1).astype(np.float32)})
  return found


def heatmaps(folder, ids):
  """Of half the source's scale, with room around: Gaussians of SD 2 px, of image number i 2 i px right of the
  truth's pixel.
  """
  found, (y, x) = artifact(Predictions, folder), np.mgrid[:75, :65]
  x, y = x[..., None], y[..., None]
  if not ids:
    found.write({'milliseconds_per_image': np.float32(np.nan)})  # as of an empty split
    return found
  truth = np.rint((TRUTH - 0.5) / 2)
  density = np.stack([np.exp(-((x - truth[:, 0] - 2 * i)**2 + (y - truth[:, 1])**2) / 8)
                      for i in range(len(ids))])
  density /= density.sum((1, 2), keepdims=True)
  found.write({'image_id': np.array(ids), 'density': density.astype(np.float32),
               'scale': np.full((len(ids), 2), 0.5, np.float32),
               'offset': np.full((len(ids), 2), -0.25, np.float32)})
  return found


@pytest.fixture
def run(tmp_path):
  def calibrate(duplicates=(), truth='truth', valid=VALID, **changed):
    examples = artifact(Examples, tmp_path / 'examples')
    anomalies = artifact(Anomalies, tmp_path / 'anomalies')
    tfrecords.write([record(i, split) for i, split in SPLITS.items()], examples.path, 2, 'csv')
    anomalies.write({'duplicates': [list(pair) for pair in duplicates]})
    fitted = artifact(Calibration, tmp_path / 'fitted')
    calibrator.function(
        trained(tmp_path / 'train'), heatmaps(tmp_path / 'valid', valid),
        rescanned(tmp_path / 'calibration', BEFORE), examples, anomalies, fitted,
        cfg=AnalyzeConfig(**({'bins': 2, 'alpha': 0.1} | changed)), truth=truth)
    assert not fitted.missing_files()
    return fitting.load(fitted.fitted)
  return calibrate


def test_quantiles_and_thresholds_by_hand(run):
  found = run()
  # Errors 1 .. 10 px over an SD of sqrt(4 + 4): the tenth, ceil(11 * 0.9).
  np.testing.assert_allclose(found.radius_quantiles, np.full(19, 10 / np.sqrt(8)), rtol=1e-5)
  # An ellipse of variance 4 px^2, and its floor of 0.1 px.
  np.testing.assert_allclose(found.ellipse_quantiles, np.full(19, 10 / np.sqrt(4.01)), rtol=1e-5)
  np.testing.assert_allclose(found.thresholds, np.full((19, 1), 4.5))
  assert (found.coverage, found.alpha) == (0.9, 0.1) and found.refers and found.has_regions


def test_the_density_is_that_of_the_training_images(run):
  found = run()
  np.testing.assert_allclose(found.density.mean, TRAIN_FEATURES.mean(0), atol=1e-6)


def test_the_scores_are_those_of_calibration_images_and_their_copies(run):
  found = run([('c9', 'x3')])  # is a training film, and so are its copies
  known = np.repeat([10 * i + j for i in range(9) for j in range(3)], 3).reshape(-1, 3)
  expected = np.sort(ood.score(tf.constant(known, tf.float32), found.density).numpy())
  np.testing.assert_allclose(found.ood_scores, expected, rtol=1e-5)
  np.testing.assert_allclose(found.image_uncertainties, [i + 0.1 * j for i in range(9) for j in range(3)],
                             atol=1e-6)
  assert found.images == 9


@pytest.mark.parametrize('other', ['x3', 'v'])
def test_copies_of_training_films_are_left_out(run, other):
  found = run([('c9', other), ('c1', 't')])  # a test film may look like a calibration film
  # Errors 1 .. 9: the ninth, ceil(10 * 0.9).
  np.testing.assert_allclose(found.radius_quantiles, np.full(19, 9 / np.sqrt(8)), rtol=1e-5)
  assert found.image_uncertainties[::3].tolist() == list(range(9)) and found.images == 9


def test_films_repeated_among_the_calibration_films_count_once(run):
  found = run([('c0', 'c4')])
  assert found.image_uncertainties[::3].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_too_few_films_state_no_regions_and_refer_nobody(run):
  found = run([('c9', 'x0'), ('c8', 'x1')])
  assert np.isnan(found.radius_quantiles).all() and not found.has_regions and not found.refers
  np.testing.assert_allclose(found.thresholds, np.full((19, 1), 3.5))


def most_probable(squares, believed=1.0):
  """T of Gaussians of variance 4 T in x and in y, given errors of these squares (px^2), by the prior."""
  log_t = np.linspace(-3, 3, 60001)
  nll = log_t + np.mean(squares) / (2 * 4 * np.exp(log_t))
  away = log_t - np.log(believed)
  return np.exp(log_t[(nll + away**2 / (2 * temperature.PRIOR_LOG_SD**2 * len(squares))).argmin()])


@pytest.mark.parametrize('duplicates, squares, not_one', [
    ([], [0, 4, 16], 0.005),  # 0, 2 and 4 px off along x
    ([('u', 'x3')], [0, 4], 0.05)])  # a copy of a training film has no say
def test_temperatures_are_those_of_the_validation_heatmaps(run, duplicates, squares, not_one):
  common = most_probable(19 * squares)
  expected = most_probable(squares, common)
  assert abs(expected - most_probable(squares)) > 0.01 and abs(expected - 1) > not_one
  found = run(duplicates).temperatures
  np.testing.assert_allclose(found, expected, rtol=0.002)


@pytest.mark.parametrize('duplicates, valid', [([], []), ([(i, 'x0') for i in VALID], VALID)])
def test_without_validation_images_heatmaps_stay_as_they_are(run, duplicates, valid):
  assert run(duplicates, valid=valid).temperatures.tolist() == [1] * 19


def test_nothing_but_copies_is_refused(run):
  with pytest.raises(DataError, match='all 10 calibration images'):
    run([(image, 'x0') for image in BEFORE])
