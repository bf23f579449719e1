"""Thousands of damaged files: each is answered or refused, and nothing else happens.

The mutations are seeded, so that what fails once fails again; `CASES[k]` is the k-th file.
"""

import collections
import json
import os

import numpy as np
import pytest

from ceph_tf.evaluation import overlay
from ceph_tf.serving import admission, intake, prediction_json, predictions, saved_model

pytestmark = pytest.mark.slow
EACH = 170  # mutations of each of the files below
ENDS = (0, 1, 0x7F, 0x80, 0xFF)


def flipped(rng, data, _):
  """Single bits, anywhere."""
  data = bytearray(data)
  for at in rng.integers(0, len(data), rng.integers(1, 20)):
    data[at] ^= 1 << rng.integers(8)
  return bytes(data)


def header_edited(rng, data, _):
  """One to eight bytes of the first 700 become extreme."""
  data = bytearray(data)
  for at in rng.integers(0, min(len(data), 700), rng.integers(1, 4)):
    data[at:at + 2] = bytes(rng.choice(ENDS, 2).tolist())
  return bytes(data)


def front_edited(rng, data, _):
  """The same within the 40 bytes that tell sizes and kinds; of DICOM behind its preamble."""
  data, start = bytearray(data), 132 if data[128:132] == b'DICM' else 0
  at = start + rng.integers(0, 40)
  data[at:at + 4] = bytes(rng.choice(ENDS, 4).tolist())
  return bytes(data)


def truncated(rng, data, _):
  return data[:rng.integers(0, len(data))]


def spliced(rng, data, other):
  """The beginning of one file and the end of another."""
  return data[:rng.integers(0, len(data))] + other[rng.integers(0, len(other)):]


def repeated(rng, data, _):
  start, end = np.sort(rng.integers(0, len(data), 2))
  return data[:end] + data[start:end] * int(rng.integers(1, 4)) + data[end:]


MUTATIONS = (flipped, header_edited, front_edited, truncated, spliced, repeated)


def whole_files(xray_files, pydicom):
  """Name -> bytes of a small file of each kind that is read."""
  small = {'height': 48, 'width': 40}
  wide = {**small, 'dtype': np.uint16}
  gray = xray_files.pixels(**wide)
  compressed = {}
  for uid in (pydicom.uid.RLELossless, pydicom.uid.JPEG2000Lossless):
    made = xray_files.dataset(gray)
    made.compress(uid)
    compressed[f'{uid.keyword}.dcm'] = xray_files.saved(made)
  return {
      'gray.jpg': xray_files.picture('.jpg', **small),
      'colour.jpg': xray_files.picture('.jpg', channels=3, **small),
      'gray.png': xray_files.picture(**small), 'wide.png': xray_files.picture(**wide),
      'alpha.png': xray_files.picture(channels=4, **small), 'gray.bmp': xray_files.picture('.bmp', **small),
      'colour.bmp': xray_files.picture('.bmp', channels=3, **small),
      'gray.tif': xray_files.picture('.tiff', **wide),
      'plain.dcm': xray_files.dicom(gray, PixelSpacing=[0.1, 0.1], BitsStored=16),
      'jpeg.dcm': xray_files.dicom_of_jpeg(xray_files.picture('.jpg', **small), **small), **compressed}


@pytest.fixture(scope='module')
def cases(xray_files):
  """Name -> bytes of a damaged file."""
  pydicom = pytest.importorskip('pydicom', reason='needs the extra `medical`')
  rng, whole = np.random.default_rng(2024), whole_files(xray_files, pydicom)
  found, contents = {}, list(whole.values())
  for name, data in whole.items():
    for k in range(EACH):
      other = contents[rng.integers(len(contents))]
      found[f'{k:03d}-{MUTATIONS[k % len(MUTATIONS)].__name__}-{name}'] = MUTATIONS[k % len(MUTATIONS)](
          rng, data, other)
  return found


@pytest.fixture(scope='module')
def model(tiny_models):
  return saved_model.load(tiny_models / 'tiny' / '1')


def test_every_file_is_answered_or_refused_and_nothing_else_is_written(cases, model, tmp_path, monkeypatch):
  assert len(cases) >= 2000
  monkeypatch.setattr(overlay, 'DPI', 8)
  monkeypatch.setattr(predictions, 'BATCH', 32)
  (tmp_path / 'in').mkdir()
  for name, data in cases.items():
    (tmp_path / 'in' / name).write_bytes(data)
  monkeypatch.chdir(tmp_path)
  sources = intake.find([str(tmp_path / 'in' / name) for name in cases], tmp_path / 'out')
  outcomes = list(predictions.predict(sources, model, tmp_path / 'out', 0.1, report=True))
  assert [outcome.source for outcome in outcomes] == sources
  known = {'ok', prediction_json.UNREADABLE, *admission.STATUSES}
  assert {outcome.status for outcome in outcomes} <= known
  for outcome in outcomes:
    document = json.loads((tmp_path / 'out' / f'{outcome.source.name}.json').read_text('utf-8'))
    ok = outcome.status == 'ok'
    assert document['status'] == outcome.status and (len(document['landmarks']) == 19) == ok
    assert (tmp_path / 'out' / f'{outcome.source.name}.png').exists() == ok
    assert ok == (not outcome.reason) and '\n' not in outcome.reason
  counts = collections.Counter(outcome.status for outcome in outcomes)
  assert counts['ok'] > 200 and counts[prediction_json.UNREADABLE] > 200, counts  # both ways are gone
  assert sorted(os.listdir(tmp_path)) == ['in', 'out']
  assert {name: (tmp_path / 'in' / name).read_bytes() for name in os.listdir('in')} == cases
  made = {f'{s.name}.json' for s in sources} | {f'{o.source.name}.png' for o in outcomes if o.status == 'ok'}
  assert set(os.listdir('out')) == made | {'predictions.csv', 'measurements.csv', 'report.html'}


def test_the_signature_answers_or_refuses_each(cases, model):
  files = [data for name, data in cases.items() if name.endswith(('.jpg', '.png', '.bmp'))]
  assert len(files) >= 1000
  for start in range(0, len(files), 50):
    batch = files[start:start + 50]
    for answer in model.ask(batch, [0.1] * len(batch)):
      assert answer['status'].decode() in admission.STATUSES
      assert np.isfinite(answer['points_px']).all() == (answer['status'] == b'ok')
