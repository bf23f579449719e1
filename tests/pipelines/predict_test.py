"""The command line of predictions: what it says, writes and answers with, as a user types it."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def start(folder, *arguments, **variables):
  return subprocess.Popen(
      [sys.executable, '-m', 'pipelines.predict', *map(os.fspath, arguments)], cwd=folder,
      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8',
      env=os.environ | {'PYTHONPATH': str(ROOT)} | variables,
      # Tests that are run in the background inherit that Ctrl-C is ignored.
      preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def run(folder, *arguments, **variables):
  process = start(folder, *arguments, **variables)
  out, error = process.communicate(timeout=300)
  return process.returncode, out.splitlines(), error


@pytest.mark.parametrize(('arguments', 'words'), [
    ([], 'no image: python -m pipelines.predict FILE_OR_FOLDER...'),
    (['--spacing_mm=0', 'x.png'], 'allowed are 0.001 to 10 mm per pixel, which is 25.4 / dpi'),
    (['--spacing_mm=-1', 'x.png'], '--spacing_mm=-1: allowed'),
    (['--spacing_mm=nan', 'x.png'], '--spacing_mm=nan'),
    (['--spacing_mm=inf', 'x.png'], '--spacing_mm=inf'),
    (['--spacing_mm=1e39', 'x.png'], '--spacing_mm=1e+39'), (['--spacing_mm=1e-46', 'x.png'], 'allowed are'),
    (['--spacing_mm=300', 'x.png'], '--spacing_mm=300: allowed are'),
    (['--spacing_mm=ten', 'x.png'], 'spacing_mm'), (['--out=', 'x.png'], '--out is empty'),
    (['--saved_model=', 'x.png'], '--saved_model is empty'), (['--nonsense', 'x.png'], 'nonsense'),
    (['--out=file', 'x.png'], '--out=file: there is a file of this name'),
    (['--saved_model=mc_dropout_isbi2015', 'file'], 'saved_models/mc_dropout_isbi2015?'),
])
def test_mistakes_are_one_line_and_come_at_once(tmp_path, arguments, words):
  (tmp_path / 'file').touch()
  status, out, error = run(tmp_path, *arguments)
  assert status == 2 and words in error
  assert error.startswith('error:') and len(error.strip().splitlines()) == 1 and not out
  assert os.listdir(tmp_path) == ['file']


@pytest.mark.slow
def test_mistakes_that_need_a_look_at_the_disk(tmp_path, xray_files):
  (tmp_path / 'x.png').write_bytes(xray_files.picture())
  for arguments, words in (
      (['missing\n.png'], r'error: no such file or folder: missing\n.png'),
      (['x.png', '--saved_model=saved_models/mine'], 'error: --saved_model=saved_models/mine: there is no '
       'SavedModel'),
      ([os.fsdecode(b'\xff.png')], r'error: no such file or folder: \xff.png')):
    status, out, error = run(tmp_path, *arguments)
    assert (status, out) == (2, []) and error.startswith(words), error
  assert os.listdir(tmp_path) == ['x.png']


@pytest.mark.slow
def test_as_a_user_types_it(tmp_path, tiny_models, xray_files):
  films = tmp_path / 'films <i>\n$x'
  films.mkdir()
  for name, data in {
      'a.png': xray_files.picture(), 'a.jpg': xray_files.picture('.jpg'),
      'b.tif': xray_files.picture('.tiff'), 'xray': xray_files.dicom(PixelSpacing=[0.3, 0.3]),
      'bad.png': b'no image', 'empty.bmp': b'', 'one.png': xray_files.picture(height=1, width=1)}.items():
    (films / name).write_bytes(data)
  (films / os.fsdecode(b'\xff.png')).write_bytes(xray_files.picture(seed=1))
  (films / 'locked.png').mkdir()
  arguments = (f'--saved_model={tiny_models}', '--spacing_mm=0.1', '--report', films)
  status, out, error = run(tmp_path, *arguments)
  assert status == 3 and 'Traceback' not in error
  assert out[0] == f'model: tiny ({tiny_models}/tiny/1)'
  assert out[-1].startswith('read 8, answered 5, refused 3, referred ')
  refused = [line.split(': ')[1].rpartition('/')[2] for line in out[-4:-1]]
  assert refused == ['bad.png', 'empty.bmp', 'one.png']
  assert out[-2].endswith('/one.png: a side of the image is below 32 pixels (see one.json)')
  assert sorted(os.listdir(tmp_path)) == sorted([films.name, 'predictions'])
  names = sorted(os.listdir(tmp_path / 'predictions'))
  assert names == sorted(
      [f'{name}.json' for name in ('a', 'a_2', 'b', 'xray', 'bad', 'empty', 'one', '_')]
      + [f'{name}.png' for name in ('a', 'a_2', 'b', 'xray', '_')]
      + ['measurements.csv', 'predictions.csv', 'report.html'])
  spacing = json.loads((tmp_path / 'predictions/xray.json').read_text('utf-8'))['image']
  assert (spacing['spacing_mm'], spacing['spacing_origin']) == (0.3, 'PixelSpacing')
  before = {name: (tmp_path / 'predictions' / name).read_bytes() for name in names if name != 'report.html'}
  assert run(tmp_path, *arguments)[0] == 3
  again = {name: (tmp_path / 'predictions' / name).read_bytes() for name in before}
  assert [name for name in before if before[name] != again[name] and name.endswith('.png')] == []
  status, out, _ = run(tmp_path, f'--saved_model={tiny_models}', '--out=good', films / 'a.png')
  assert status == 0 and ('; landmarks of 1 not checked: no spacing' in out[-1]) == ('referred 0' in out[-1])
  (films / '\u6f22.png').write_bytes(b'no image')  # a letter that not every terminal has
  status, out, _ = run(tmp_path, f'--saved_model={tiny_models}', '--out=ascii', films / '\u6f22.png',
                       PYTHONIOENCODING='ascii')
  assert status == 3 and r'\u6f22.png: the file starts with' in out[-2]
  assert run(tmp_path, f'--saved_model={tiny_models}', '--out=bad', films / 'bad.png')[0] == 3


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_whole_files(tmp_path, tiny_models, xray_files, number):
  (tmp_path / 'in').mkdir()
  for k in range(200):
    (tmp_path / f'in/{k:03d}.png').write_bytes(xray_files.picture(seed=k))
  process = start(tmp_path, f'--saved_model={tiny_models}', 'in')
  limit = time.monotonic() + 120
  while len(list(tmp_path.glob('predictions/*.json'))) < 3:
    assert process.poll() is None and time.monotonic() < limit
    time.sleep(0.05)
  process.send_signal(number)
  out, error = process.communicate(timeout=60)
  assert process.returncode == 128 + number and 'interrupted' in error and 'Traceback' not in error
  written = sorted(os.listdir(tmp_path / 'predictions'))
  assert all(not name.startswith('.') and name.endswith(('.json', '.png')) for name in written)
  for name in written:
    if name.endswith('.json'):
      document = json.loads((tmp_path / 'predictions' / name).read_text('utf-8'))
      assert document['status'] == 'ok' and name.replace('.json', '.png') in written
  assert 3 <= len(written) // 2 < 200
