"""Documents: by hand, strict, and checked."""

import copy
import json
import math
import pathlib

import numpy as np
import pytest

from ceph_tf.data.records import LANDMARKS
from ceph_tf.evaluation import clinical
from ceph_tf.serving import intake, prediction_json, prediction_schema
from ceph_tf.serving.saved_model import Model

SOURCE = intake.Source(pathlib.Path('films/x.png'), 'x')
CALIBRATION = {'coverage': 0.9, 'regions': 'stated', 'refer': 'p <= 0.05', 'thresholds': [[1, 2, 3, 4]] * 19}
MODEL = Model('mc', 3, 'ab' * 32, LANDMARKS, CALIBRATION, None)
BARE = Model('mc', None, None, LANDMARKS, {}, None)
RNG = np.random.default_rng(0)
POINTS = RNG.uniform(100, 900, (19, 2)).astype(np.float32)


def answer(**changes):
  eye = np.broadcast_to(np.eye(2, dtype=np.float32), (19, 2, 2))
  return {
      'status': b'ok', 'points_px': POINTS, 'points_mm': POINTS * np.nan, 'samples_px': POINTS[None],
      'covariance_px2': 4 * eye, 'spread_px': np.arange(19, dtype=np.float32),
      'spread_mm': np.full(19, np.nan, np.float32), 'region_radius_px': np.full(19, 5, np.float32),
      'region_radius_mm': np.full(19, np.nan, np.float32), 'region_ellipse_px2': 9 * eye,
      'bin': np.arange(19, dtype=np.int32) % 5 + 1, 'ood_score': np.float32(7),
      'ood_p_value': np.float32(0.25), 'uncertainty_p_value': np.float32(1),
      'refer': np.bool_(False)} | changes


def document(spacing_mm=0.5, model=MODEL, **changes):
  film = intake.Film(b'', spacing_mm, 'PixelSpacing')
  return prediction_json.answered(SOURCE, film, (1000, 900), answer(**changes), model)


def test_a_landmark_with_a_region_above_4_mm_is_to_be_checked():
  radii = np.full(19, 5, np.float32)
  radii[:3] = 8, 8.1, np.nan  # of half a millimetre
  checks = [landmark['check'] for landmark in document(region_radius_px=radii)['landmarks']]
  assert checks == [False, True, None] + 16 * [False]
  unknown = document(spacing_mm=np.nan, region_radius_px=radii)['landmarks']
  assert {landmark['check'] for landmark in unknown} == {None}


def test_what_the_model_says_is_in_the_document():
  found = document()
  assert found['schema'] == {'name': 'ceph_tf.prediction', 'version': 1}
  assert (found['file'], found['name'], found['status'], found['reason']) == ('films/x.png', 'x', 'ok', None)
  assert found['image'] == {'width_px': 900, 'height_px': 1000, 'spacing_mm': 0.5,
                            'spacing_origin': 'PixelSpacing'}
  assert found['referral'] == {
      'refer': False, 'reason': None, 'ood_score': 7, 'ood_p_value': 0.25, 'uncertainty_p_value': 1}
  assert found['model'] == {'name': 'mc', 'version': 3, 'lineage_sha256': 'ab' * 32, 'coverage': 0.9,
                            'bins': 5, 'regions': 'stated', 'refer': 'p <= 0.05'}
  assert [landmark['name'] for landmark in found['landmarks']] == list(LANDMARKS)
  third = found['landmarks'][2]
  assert third['point_px'] == POINTS[2].tolist() and third['point_mm'] == (0.5 * POINTS[2]).tolist()
  assert third['measures'] == {'spread_px': 2, 'spread_mm': None} and third['bin'] == 3
  assert third['covariance_px2'] == [[4, 0], [0, 4]]
  ellipse = third['region'].pop('ellipse')
  assert third['region'] == {'coverage': 0.9, 'radius_px': 5, 'radius_mm': 2.5}
  assert (ellipse['semi_axes_px'], ellipse['semi_axes_mm']) == ([3, 3], [1.5, 1.5])
  assert ellipse['matrix_px2'] == [[9, 0], [0, 9]]


@pytest.mark.parametrize('angle', [0, 30, 89, 90, -45, -89.5])
def test_ellipse(angle):
  turn = math.radians(angle)
  axis = np.array([math.cos(turn), math.sin(turn)])
  across = np.array([-axis[1], axis[0]])
  matrix = 25 * np.outer(axis, axis) + 4 * np.outer(across, across)
  (long, short), found = prediction_json.ellipse(matrix)
  assert (long, short) == (pytest.approx(5), pytest.approx(2))
  assert -90 < found <= 90 and math.remainder(found - angle, 180) == pytest.approx(0, abs=1e-6)


def test_unknown_lengths_are_null():
  found = document(math.nan)
  text = prediction_json.text(found)
  assert 'NaN' not in text and json.loads(text)['image']['spacing_mm'] is None
  assert found['landmarks'][0]['point_mm'] is None
  assert found['landmarks'][0]['region']['radius_mm'] is None
  assert found['landmarks'][0]['region']['ellipse']['semi_axes_mm'] is None
  assert found['measurements']['MW']['value'] is None
  assert found['measurements']['MW']['finding'] == 'unknown: no spacing'
  assert found['measurements']['SNA']['value'] is not None


def test_a_model_without_calibration():
  missing = ('region_radius_px', 'region_radius_mm', 'region_ellipse_px2', 'bin', 'ood_score', 'ood_p_value',
             'uncertainty_p_value', 'refer')
  bare = {name: value for name, value in answer().items() if name not in missing}
  film = intake.Film(b'', 0.5, '')
  found = prediction_json.answered(SOURCE, film, (9, 9), bare, BARE)
  prediction_json.text(found)
  assert found['referral'] == dict.fromkeys(found['referral'])
  assert found['landmarks'][0]['region'] is None and found['landmarks'][0]['bin'] is None
  assert found['model']['regions'] == 'absent: nothing was calibrated'


def test_nothing_is_decided_about_a_referred_image():
  sharp = {'covariance_px2': np.broadcast_to(1e-6 * np.eye(2, dtype=np.float32), (19, 2, 2))}
  findings = {refer: document(refer=np.bool_(refer), **sharp)['measurements'] for refer in (False, True)}
  assert all(found['decided'] for found in findings[False].values())
  assert not any(found['decided'] for found in findings[True].values())
  assert {found['finding'] for found in findings[True].values()} == {'cannot be decided'}
  assert [f['value'] for f in findings[True].values()] == [f['value'] for f in findings[False].values()]


def test_a_landmark_without_region():
  matrices = answer()['region_ellipse_px2'].copy()
  matrices[4] = np.nan
  regions = [landmark['region'] for landmark in document(region_ellipse_px2=matrices)['landmarks']]
  assert [k for k, region in enumerate(regions) if region is None] == [4]


def test_measurements_are_those_of_the_module_and_depend_on_the_image_alone():
  one, other = document()['measurements'], document()['measurements']
  assert one == other and list(one) == list(clinical.MEASUREMENTS)
  for name, value in clinical.values(POINTS, 0.5).items():
    assert one[name]['value'] == pytest.approx(float(value))
    assert one[name]['low'] < one[name]['high'] and one[name]['sd'] > 0
    assert sum(one[name]['class_probabilities'].values()) == pytest.approx(1)


@pytest.mark.parametrize(('name', 'class_', 'decided', 'words'), [
    ('SNA', 1, True, 'normal'), ('SNA', 2, True, 'above the norm'), ('SNA', 3, True, 'below the norm'),
    ('SNB', 2, True, 'below the norm'), ('SNB', 3, True, 'above the norm'), ('MW', 2, True, 'edge to edge'),
    ('MW', 4, True, 'above the norm'), ('SNA', 2, False, 'cannot be decided'),
    ('SNA', None, False, 'unknown'), ('MW', None, False, 'unknown: no spacing')])
def test_findings(name, class_, decided, words):
  assert prediction_json.finding(clinical.MEASUREMENTS[name], class_, decided) == words


def test_other_landmarks_have_no_measurements():
  model = Model('m', 1, None, tuple(f'p{k}' for k in range(19)), CALIBRATION, None)
  found = document(model=model)
  assert found['measurements'] == {} and found['landmarks'][3]['name'] == 'p3'
  prediction_json.text(found)


def test_a_refused_image():
  found = prediction_json.refused(SOURCE, 'damaged', 'it is cut off', MODEL)
  prediction_json.text(found)
  assert (found['image'], found['referral'], found['landmarks']) == (None, None, [])


def test_every_status_of_the_model_has_words():
  from ceph_tf.serving import admission
  assert set(prediction_json.REASONS) == set(admission.STATUSES) - {'ok'}


def put(path, value):
  def change(found):
    *way, last = path
    for step in way:
      found = found[step]
    found[last] = value
  return change


@pytest.mark.parametrize(('change', 'words'), [
    (put(['landmarks', 2, 'point_px'], [1.0]), r'document.landmarks\[2\].point_px has 1 items; allowed is 2'),
    (put(['landmarks', 2, 'point_px', 0], math.nan), r'\[0\]=nan: allowed is a finite number or null'),
    (put(['landmarks', 0, 'point_px'], None), r'point_px=None: allowed is list'),
    (put(['landmarks', 0, 'bin'], True), 'bin=True: allowed is int'),
    (put(['referral', 'refer'], 1), 'refer=1: allowed is bool'),
    (put(['image', 'width_px'], '3'), "width_px='3': allowed is int"),
    (put(['more'], 1), r"document: missing \[\], unexpected \['more'\]"),
    (lambda found: found.pop('file'), r"missing \['file'\]"),
    (put(['schema', 'version'], 2), 'allowed is ceph_tf.prediction, version 1'),
    (put(['status'], 'damaged'), "status='damaged', but image is there"),
    (put(['landmarks'], []), "status='ok', but landmarks is missing"),
    (put(['reason'], 'why'), "status='ok', but reason='why'"),
    (put(['measurements', 'SNA', 'class_probabilities', '1'], math.inf), 'SNA.class_probabilities.1=inf'),
])
def test_what_is_not_of_the_schema_is_named(change, words):
  found = copy.deepcopy(document())
  prediction_schema.validate(found)
  change(found)
  with pytest.raises(ValueError, match=words):
    prediction_json.text(found)
