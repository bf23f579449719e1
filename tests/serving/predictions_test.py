"""The loop, with a model that answers at once: outputs, refusals, batches, interruption."""

import csv
import importlib.util
import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from ceph_tf.data.records import LANDMARKS
from ceph_tf.evaluation import overlay
from ceph_tf.serving import intake, predictions
from ceph_tf.serving.saved_model import Model

SPEC = importlib.util.spec_from_file_location(
    'xray_files', pathlib.Path(__file__).parents[1] / 'xray_files.py')
files = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(files)
CALIBRATION = {'coverage': 0.9, 'regions': 'stated', 'refer': 'p <= 0.05', 'thresholds': [[1, 2, 3, 4]] * 19}
POINTS = np.random.default_rng(0).uniform(5, 60, (19, 2)).astype(np.float32)


class Instant(Model):
  """Answers without a network, refers dark images, fails as it is told."""

  def ask(self, image_bytes, spacing_mm):
    self.loaded['asked'].append(len(image_bytes))
    return [self._one(data) for data in image_bytes]

  def _one(self, data):
    if data in self.loaded.get('fails', ()):
      raise self.loaded.get('error') or tf.errors.ResourceExhaustedError(None, None, 'no memory\nleft')
    eye = np.broadcast_to(np.eye(2, dtype=np.float32), (19, 2, 2))
    status = self.loaded.get('status', {}).get(data, b'ok')
    points = POINTS * (np.nan if data in self.loaded.get('lost', ()) else 1)
    return {'status': status, 'points_px': points, 'covariance_px2': eye,
            'total_sd_px': np.ones(19, np.float32),
            'region_radius_px': self.loaded.get('radius', np.ones(19, np.float32)),
            'region_ellipse_px2': eye, 'bin': np.ones(19, np.int32), 'ood_score': np.float32(1),
            'ood_p_value': np.float32(0.5),
            'uncertainty_p_value': np.float32(0.5), 'refer': np.bool_(data in self.loaded.get('refers', ()))}


def model(**behaviour):
  return Instant('m', 1, None, LANDMARKS, CALIBRATION, {'asked': [], **behaviour})


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
  """Pictures that are made quickly."""
  monkeypatch.setattr(overlay, 'DPI', 25)


PICTURES = [files.picture(seed=k) for k in range(6)]


@pytest.fixture
def sources(tmp_path):
  folder = tmp_path / 'in'
  folder.mkdir()
  for k, data in enumerate(PICTURES):
    (folder / f'{k}.png').write_bytes(data)
  return intake.find([str(folder)], tmp_path / 'out')


@pytest.fixture
def out(tmp_path):
  return tmp_path / 'out'


def rows(path):
  with open(path, newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def test_images_with_landmarks_to_check_are_told_apart(sources, out):
  outcomes = list(predictions.predict(sources, model(), out, 4.5))  # regions of one pixel
  assert all(outcome.check and not outcome.refer for outcome in outcomes)
  assert {row['check'] for row in rows(out / 'predictions.csv')} == {'true'}
  unknown = list(predictions.predict(sources, model(), out))
  assert {outcome.check for outcome in unknown} == {None}


def test_a_landmark_without_a_region_is_not_taken_for_checked(sources, out):
  bare = model(radius=np.array([np.nan] + 18 * [1.0], np.float32))
  assert {outcome.check for outcome in predictions.predict(sources, bare, out, 0.5)} == {None}
  assert {row['check'] for row in rows(out / 'predictions.csv')} == {'', 'false'}
  large = predictions.predict(sources, bare, out, 4.5)  # the regions of all others
  assert all(outcome.check for outcome in large)


def test_every_image_has_a_document_and_a_picture_and_rows(sources, out):
  outcomes = list(predictions.predict(sources, model(refers=PICTURES[2:3]), out, 0.5, report=True))
  assert [(o.source.name, o.status, o.reason, o.refer) for o in outcomes] == [
      (str(k), 'ok', '', k == 2) for k in range(6)]
  assert sorted(os.listdir(out)) == sorted(
      [f'{k}.{suffix}' for k in range(6) for suffix in ('json', 'png')]
      + ['predictions.csv', 'measurements.csv', 'report.html'])
  found = rows(out / 'predictions.csv')
  assert len(found) == 6 * 19
  first = found[0]
  assert (first['name'], first['landmark'], first['refer'], first['bin']) == ('0', 'sella', 'false', '1')
  assert first['file'] == str(sources[0].path)
  assert first['check'] == 'false' and not any(outcome.check for outcome in outcomes)
  document = json.loads((out / '0.json').read_text('utf-8'))
  x, y = document['landmarks'][0]['point_px']
  assert float(first['x_px']) == pytest.approx(x, rel=1e-6)
  assert float(first['y_mm']) == pytest.approx(y / 2, rel=1e-6)
  measured = rows(out / 'measurements.csv')
  assert len(measured) == 6 * 11
  assert float(measured[0]['value']) == pytest.approx(document['measurements']['SNA']['value'], rel=1e-6)
  assert {row['refer'] for row in found if row['name'] == '2'} == {'true'}


def test_batches_are_small_and_sources_are_taken_as_they_are_needed(sources, out):
  taken = []
  lazy = (taken.append(source) or source for source in sources)
  asked = model()
  first = next(predictions.predict(lazy, asked, out))
  assert first.source == sources[0] and len(taken) == predictions.BATCH < len(sources)
  list(predictions.predict(sources, again := model(), out))
  assert again.loaded['asked'] == [4, 2]


def test_unreadable_and_refused_images_have_their_reason_and_the_others_their_answer(sources, out):
  sources[1].path.write_bytes(b'no image')
  sources[3].path.unlink()
  refused = model(status={PICTURES[2]: b'blank', PICTURES[5]: b'something new'})
  outcomes = list(predictions.predict(sources, refused, out, report=True))
  assert [o.status for o in outcomes] == ['ok', 'unreadable', 'blank', 'unreadable', 'ok', 'something new']
  assert [o.reason for o in outcomes][1:4] == [
      "the file starts with b'no image'; allowed is a JPEG, PNG, BMP or TIFF image, or DICOM, with DICM at "
      'byte 128',
      'the image has no contrast', 'the file cannot be read: No such file or directory']
  document = json.loads((out / '2.json').read_text('utf-8'))
  assert (document['status'], document['landmarks']) == ('blank', [])
  assert sorted(p.stem for p in out.glob('*.png')) == ['0', '4']
  assert {row['name'] for row in rows(out / 'predictions.csv')} == {'0', '4'}
  assert 'the image has no contrast' in (out / 'report.html').read_text('utf-8')


def test_a_picture_of_an_earlier_run_does_not_survive_a_refusal(sources, out):
  list(predictions.predict(sources, model(), out))
  assert (out / '2.png').exists()
  list(predictions.predict(sources, model(status={PICTURES[2]: b'blank'}), out))
  assert not (out / '2.png').exists()


def test_a_refusal_does_not_remove_a_picture_of_somebody_else(sources, out):
  out.mkdir()
  (out / '2.png').write_bytes(b'mine')
  list(predictions.predict(sources, model(status={PICTURES[2]: b'blank'}), out))
  assert (out / '2.png').read_bytes() == b'mine' and (out / '2.json').exists()


def test_what_fails_in_a_batch_is_asked_again_alone(sources, out):
  failing = model(fails=PICTURES[1:2], lost=PICTURES[4:5])
  outcomes = list(predictions.predict(sources, failing, out))
  assert [o.status for o in outcomes] == ['ok', 'failed', 'ok', 'ok', 'failed', 'ok']
  assert outcomes[1].reason == 'the model failed: no memory left'
  assert failing.loaded['asked'] == [4, 1, 1, 1, 1, 2]


def test_an_error_that_quotes_the_image_cannot_be_read_and_is_one_of_the_model_all_the_same(sources, out):
  error = UnicodeDecodeError('utf-8', b'\x89PNG', 0, 1, 'invalid start byte')
  outcomes = list(predictions.predict(sources, model(fails=PICTURES[1:2], error=error), out))
  assert [o.status for o in outcomes] == ['ok', 'failed', 'ok', 'ok', 'ok', 'ok']


@pytest.mark.parametrize('error', [KeyboardInterrupt, OSError])
def test_whoever_stops_leaves_whole_files_and_no_others(sources, out, error):
  list(predictions.predict(sources[:1], model(), out, report=True))
  table = (out / 'predictions.csv').read_text('utf-8')
  running = predictions.predict(sources, model(), out, report=True)
  next(running)
  next(running)
  with pytest.raises(error):
    running.throw(error())
  assert sorted(os.listdir(out)) == ['0.json', '0.png', '1.json', '1.png', 'measurements.csv',
                                     'predictions.csv', 'report.html']
  assert (out / 'predictions.csv').read_text('utf-8') == table


def test_outputs_of_an_earlier_run_are_replaced(sources, out):
  list(predictions.predict(sources[:1], model(), out, 0.5))
  list(predictions.predict(sources[:1], model(), out, 0.25))
  assert json.loads((out / '0.json').read_text('utf-8'))['image']['spacing_mm'] == 0.25
  assert len(rows(out / 'predictions.csv')) == 19


def test_no_spreadsheet_takes_a_name_for_a_formula(tmp_path, out, monkeypatch):
  monkeypatch.chdir(tmp_path)
  pathlib.Path('=1+1.png').write_bytes(PICTURES[0])
  list(predictions.predict(intake.find(['=1+1.png'], out), model(), out))
  assert {(row['name'], row['file']) for row in rows(out / 'predictions.csv')} == {('_1+1', './=1+1.png')}
