"""What runs, what is taken from the store, and what is left after a failure."""

import errno
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import pytest

from ceph_tf.config import ConfigError
from pipelines.artifacts import Artifact, JsonArtifact
from pipelines.dsl import ComponentError, Context, In, Out, component
from pipelines.runners import RUNNERS
from pipelines.store import Slot, StoreError

ROOT = pathlib.Path(__file__).resolve().parents[3]


class Number(JsonArtifact):
  files = ('number.json',)
  undigested = ('logs',)


CALLS: list[str] = []
FAILURE: list[BaseException] = []
OUTSIDE = ['a']


@component(external=lambda start: OUTSIDE[0])
def source(out: Out[Number], *, start: int):
  CALLS.append('source')
  out.write({'value': start})


@component
def parity(number: In[Number], out: Out[Number], *, context: Context):
  CALLS.append(context.node)
  (out.path / 'logs').mkdir()
  (out.path / 'logs' / context.run).write_text('differs at every run')
  out.write({'value': number.read()['value'] % 2})


@component
def total(parts: In[list[Number]], out: Out[Number], *, times: int):
  CALLS.append('total')
  out.write({'value': times * sum(part.read()['value'] for part in parts)})


@component
def fails(number: In[Number], out: Out[Number]):
  out.write({'value': 0})
  raise FAILURE[0]


@component(resumable=True)
def patient(out: Out[Number]):
  steps = out.path / 'steps'
  done = int(steps.read_text('utf-8')) if steps.exists() else 0
  CALLS.append(f'from {done}')
  steps.write_text(str(done + 1))
  if done < 2:
    raise ComponentError('tired')
  out.write({'value': done})


@component
def lazy(out: Out[Number], other: Out[Artifact]):
  out.write({'value': 1})


@component
def misnamed(out: Out[Number]):
  (out.path / 'nubmer.json').write_text('{}')


@pytest.fixture(autouse=True)
def clean():
  CALLS.clear()
  FAILURE.clear()
  OUTSIDE[0] = 'a'


def graph(start=3, times=1):
  first = source(start=start)
  halves = [parity(number=first['out'], name=f'parity_{i}') for i in range(2)]
  return [total(parts=[half['out'] for half in halves], times=times)]


def run(nodes, work_dir, **options):
  """Runs and returns the results, the calls it took and the lines it said."""
  CALLS.clear()
  said = []
  results = RUNNERS['local'](nodes, work_dir, say=said.append, **options)
  return results, list(CALLS), said


def files_of(folder):
  return sorted(path.name for path in folder.rglob('*'))


def test_a_second_run_computes_nothing(tmp_path):
  results, calls, _ = run(graph(), tmp_path)
  # The parities have one key between them: the second is taken from the store at once.
  assert calls == ['source', 'parity_0', 'total']
  assert results['total'].outputs['out'].read() == {'value': 2}
  assert results['parity_1'].cached and not results['parity_0'].cached
  results, calls, said = run(graph(), tmp_path)
  assert calls == []
  assert all(result.cached for result in results.values())
  assert said[0] == '[1/4] source: cached'
  assert files_of(tmp_path / 'temp') == []


def test_a_parameter_reruns_its_node_and_what_comes_after(tmp_path):
  run(graph(), tmp_path)
  assert run(graph(times=2), tmp_path)[1] == ['total']
  assert run(graph(start=4), tmp_path)[1] == ['source', 'parity_0', 'total']


def test_equal_content_upstream_is_cached_downstream_whatever_made_it(tmp_path):
  run(graph(start=3), tmp_path)
  assert run(graph(start=5), tmp_path)[1] == ['source', 'parity_0']  # both are odd


def test_outside_data_count(tmp_path):
  run(graph(), tmp_path)
  OUTSIDE[0] = 'b'
  assert run(graph(), tmp_path)[1] == ['source']


def test_code_counts(tmp_path, monkeypatch):
  run(graph(), tmp_path)
  monkeypatch.setattr('pipelines.digests.source_digest', lambda *_: 'other code')
  assert run(graph(), tmp_path)[1] == ['source', 'parity_0', 'total']


def test_libraries_count(tmp_path, monkeypatch):
  run(graph(), tmp_path)
  monkeypatch.setattr('pipelines.digests.libraries', lambda: {'keras': '99'})
  assert run(graph(), tmp_path)[1] == ['source', 'parity_0', 'total']


def test_from_reruns_a_component_and_what_comes_after(tmp_path):
  run(graph(), tmp_path)
  assert run(graph(), tmp_path, from_node='parity')[1] == ['parity_0', 'total']
  assert run(graph(), tmp_path, from_node='total')[1] == ['total']
  with pytest.raises(ConfigError, match="--from='pariti': allowed is .*did you mean 'parity'"):
    run(graph(), tmp_path, from_node='pariti')


@pytest.mark.parametrize('damage', [
    lambda path: path.unlink(),
    lambda path: path.write_text('{"value"'),
    lambda path: path.with_name('another').write_text(''),
    lambda path: (path.parents[1] / 'execution.json').write_text('{}'),
    lambda path: (path.parents[1] / 'execution.json').unlink(),
])
def test_a_damaged_artifact_is_reported_and_made_again(tmp_path, damage):
  results, _, _ = run(graph(), tmp_path)
  damage(results['total'].outputs['out'].path / 'number.json')
  results, calls, said = run(graph(), tmp_path)
  assert calls == ['total']
  assert any(line.startswith('[4/4] total: damaged, so it runs again: /') for line in said)
  assert results['total'].outputs['out'].read() == {'value': 2}
  assert files_of(results['total'].outputs['out'].path) == ['number.json']


def test_logs_may_be_deleted(tmp_path):
  results, _, _ = run(graph(), tmp_path)
  for path in (results['parity_0'].outputs['out'].path / 'logs').iterdir():
    path.unlink()
  assert run(graph(), tmp_path)[1] == []


def test_a_failure_names_the_node_and_leaves_nothing(tmp_path):
  node = fails(number=source(start=1)['out'], name='unlucky')
  FAILURE[:] = [ComponentError('13 films in two splits')]
  with pytest.raises(ComponentError, match='13 films') as caught:
    run([node], tmp_path)
  assert caught.value.__notes__ == ['in node unlucky']
  assert files_of(tmp_path / 'temp') == []
  assert [path.name for path in (tmp_path / 'store').iterdir()] == ['source']


@pytest.mark.parametrize('error', [
    OSError(errno.ENOSPC, 'No space left on device', '/data/x'),
    RuntimeError('UNKNOWN: write failed: No space left on device'),
])
def test_a_full_disk_is_one_clear_message(tmp_path, error):
  FAILURE[:] = [error]
  with pytest.raises(StoreError, match=r'no room to write: .*No space left .*--work_dir than /'):
    run([fails(number=source(start=1)['out'])], tmp_path)
  assert run(graph(), tmp_path)[1]


def test_a_resumable_component_finds_what_it_wrote(tmp_path):
  for done in range(2):
    with pytest.raises(ComponentError, match='tired'):
      run([patient()], tmp_path)
    assert CALLS == [f'from {done}']
    assert not (tmp_path / 'store' / 'patient').exists()
  results, calls, _ = run([patient()], tmp_path)
  assert calls == ['from 2'] and results['patient'].outputs['out'].read() == {'value': 2}
  assert files_of(tmp_path / 'resume') == []


def test_an_output_that_was_not_written_is_refused(tmp_path):
  with pytest.raises(ComponentError,
                     match=r"component lazy left its output 'other' \(Artifact\) without any file"):
    run([lazy()], tmp_path)
  assert not (tmp_path / 'store' / 'lazy').exists()


def test_an_output_without_a_file_of_its_type_is_refused(tmp_path):
  with pytest.raises(ComponentError, match=r"output 'out' \(Number\) without number.json"):
    run([misnamed()], tmp_path)


def test_a_work_dir_that_is_a_file_is_one_clear_message(tmp_path):
  (tmp_path / 'file').touch()
  with pytest.raises(StoreError, match='cannot use work dir /.*/file/runs: .*Not a directory'):
    run(graph(), tmp_path / 'file' / 'runs')


SCRIPT = '''
import os, pathlib, resource, signal, sys, time
from pipelines.artifacts import JsonArtifact
from pipelines.dsl import In, Out, component
from pipelines.runners import local

class Number(JsonArtifact):
  files = ('number.json',)

here, mode = pathlib.Path(sys.argv[1]), sys.argv[2]

def log(word):
  with (here / 'log').open('a') as file:
    file.write(word + ' ')

@component
def first(out: Out[Number]):
  log('first')
  (out.path / 'half').write_text('half')
  if mode == 'kill_first':
    os.kill(os.getpid(), signal.SIGKILL)
  (out.path / 'half').unlink()
  time.sleep(0.5 if mode == 'slow' else 0)
  out.write({'value': 1})

@component(resumable=True)
def second(number: In[Number], out: Out[Number]):
  log('resumed' if (out.path / 'checkpoint').exists() else 'second')
  (out.path / 'checkpoint').write_text('1')
  if mode == 'kill_second':
    os.kill(os.getpid(), signal.SIGKILL)
  if mode == 'big':
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    out.write({'value': 'x' * 1000})
  (out.path / 'checkpoint').unlink()
  out.write({'value': 2})

if mode.startswith('replace'):  # killed before the n-th rename
  replace, left = os.replace, [int(mode[-1])]
  def deadly(*names):
    left[0] -= 1
    if left[0] == 0:
      os.kill(os.getpid(), signal.SIGKILL)
    replace(*names)
  os.replace = deadly

node = second(number=first()['out'])
results = local.run(
    [node], here / 'runs', from_node='first' if 'again' in mode else '')
print(results['second'].outputs['out'].read())
'''


@pytest.fixture
def script(tmp_path):
  """Starts the script above; returns the process."""
  path = tmp_path / 'script.py'
  path.write_text(textwrap.dedent(SCRIPT))

  def start(mode):
    return subprocess.Popen(
        [sys.executable, str(path), str(tmp_path), mode], encoding='utf-8', stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | {'PYTHONPATH': str(ROOT)})
  return start


def finish(process, returncode=0):
  out, err = process.communicate(timeout=60)
  assert process.returncode == returncode, out + err
  return out + err


def log(tmp_path):
  return (tmp_path / 'log').read_text('utf-8').split()


def test_a_killed_run_leaves_no_half_artifact_and_goes_on(tmp_path, script):
  finish(script('kill_first'), -signal.SIGKILL)
  assert files_of(tmp_path / 'runs' / 'store') == []
  finish(script('kill_second'), -signal.SIGKILL)
  assert [path.name for path in (tmp_path / 'runs' / 'store').iterdir()] == ['first']
  assert "{'value': 2}" in finish(script('normal'))
  assert log(tmp_path) == ['first', 'first', 'second', 'resumed']
  assert files_of(tmp_path / 'runs' / 'temp') == files_of(tmp_path / 'runs' / 'resume') == []
  assert [p for p in (tmp_path / 'runs').rglob('*') if p.name in ('half', 'checkpoint')] == []


@pytest.mark.parametrize('mode', ['replace_1', 'replace_2'])
def test_a_kill_before_a_new_artifact_moves(tmp_path, script, mode):
  finish(script(mode), -signal.SIGKILL)
  assert "{'value': 2}" in finish(script('normal'))


@pytest.mark.parametrize('mode', ['replace_again_1', 'replace_again_2', 'replace_again_3'])
def test_a_kill_while_an_artifact_is_replaced_loses_nothing(tmp_path, script, mode):
  finish(script('normal'))
  finish(script(mode), -signal.SIGKILL)
  (tmp_path / 'log').unlink()
  assert "{'value': 2}" in finish(script('normal'))
  assert not (tmp_path / 'log').exists()  # the old one or the new one is there
  assert files_of(tmp_path / 'runs' / 'temp') == []


def test_two_runs_at_once_compute_everything_once(tmp_path, script):
  said = [finish(process) for process in [script('slow') for _ in range(3)]]
  assert all("{'value': 2}" in text for text in said)
  assert sorted(log(tmp_path)) == ['first', 'second']
  assert any('waiting for another run' in text for text in said)


def test_what_another_run_made_while_the_lock_changed_hands_is_taken(tmp_path, monkeypatch):
  lock = Slot.lock

  def with_another_run_in_between(slot, exclusive, **options):
    if exclusive:
      monkeypatch.setattr(Slot, 'lock', lock)
      fcntl.flock(slot._lock, fcntl.LOCK_UN)
      RUNNERS['local']([source(start=1)], tmp_path, say=lambda line: None)
    return lock(slot, exclusive, **options)

  monkeypatch.setattr(Slot, 'lock', with_another_run_in_between)
  CALLS.clear()
  results = RUNNERS['local']([source(start=1)], tmp_path, say=lambda line: None)
  assert CALLS == ['source'] and results['source'].cached


def test_a_limit_on_file_size_is_one_clear_message(tmp_path, script):
  assert 'no room to write: [Errno 27] File too large' in finish(script('big'), 1)
  assert "{'value': 2}" in finish(script('normal'))


def test_every_folder_in_the_store_tells_how_it_was_made(tmp_path):
  results, _, _ = run(graph(), tmp_path, config='{"seed": 1}')
  path = results['total'].outputs['out'].path.parent / 'execution.json'
  record = json.loads(path.read_text('utf-8'))
  assert record['params'] == {'times': 1}
  assert [one['type'] for one in record['inputs']['parts']] == ['Number', 'Number']
  assert record['outputs']['out']['files'] == {'number.json': path.with_name('out').joinpath(
      'number.json').stat().st_size}
