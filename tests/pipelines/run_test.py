"""The command line, in processes of its own: what it says and with which status it ends."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from pipelines import digests

# Stands in for the experiments and the graph, which have tests of their own.
SCRIPT = '''
import dataclasses, sys, time, types
from ceph_tf.config import Experiment, one_of
from ceph_tf.overrides import override
from pipelines import run
from pipelines.artifacts import Artifact
from pipelines.dsl import Context, In, Out, component

class Page(Artifact):
  files = ('page.html',)
  def shown(self):
    return 'page', str(self.path / 'page.html')

@component
def writer(out: Out[Page], *, seed: int, title: str, context: Context):
  if title in ('slow', 'changed', 'swallowed'):
    print('sleeping', flush=True)
    try:
      time.sleep(60)
    except KeyboardInterrupt:
      if title == 'changed':
        raise RuntimeError('not the way Python says it') from None
      if title == 'slow':
        raise
  if title == 'bug':
    raise RuntimeError('a bug')
  if title == 'diverges':
    raise FloatingPointError('training loss nan')
  if title == 'unreadable':
    open('/nowhere/at all')
  (out.path / 'page.html').write_text(title)

@component
def reader(page: In[Page], out: Out[Page]):
  (out.path / 'page.html').write_text('read')

def resolve_all(models, preset, overrides, dataset, data_dir, seed):
  model, = models
  one_of('--model', model, ('slow', 'changed', 'swallowed', 'bug', 'mc_dropout', 'unreadable', 'diverges'))
  return [override(dataclasses.replace(Experiment(preset=model), seed=seed), overrides)]

def build(experiment, push_dir):
  page = writer(seed=experiment.seed, title=experiment.preset)
  return [reader(page=page['out'])]

import pipelines
for name, function in (('experiments', resolve_all), ('pipeline', build)):
  module = types.ModuleType(f'pipelines.{name}')
  setattr(module, function.__name__, function)
  sys.modules[module.__name__] = module
  setattr(pipelines, name, module)
pipelines.experiments.ALL = 'all'
run.cli()
'''


@pytest.fixture
def start(tmp_path):
  """Starts the command line with arguments; the work dir is `runs` in `tmp_path`."""
  (tmp_path / 'script.py').write_text(textwrap.dedent(SCRIPT))

  def process(*arguments):
    return subprocess.Popen(
        [sys.executable, 'script.py', *arguments], cwd=tmp_path, encoding='utf-8',
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {'PYTHONPATH': str(digests.ROOT), 'PYTHONUNBUFFERED': ''},
        # Tests that are run in the background inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
  return process


@pytest.fixture
def call(start):
  """Runs the command line to its end; returns status, stdout, stderr."""
  def finish(*arguments):
    process = start(*arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err
  return finish


def test_a_run_ends_with_where_its_results_are(call, tmp_path):
  status, out, err = call()
  assert (status, err) == (0, '')
  lines = out.splitlines()
  assert lines[0] == '[1/2] writer: running'
  assert lines[-2].startswith(f'page:             {tmp_path}/runs/store/writer/')
  assert call()[1].splitlines()[:2] == ['[1/2] writer: cached', '[2/2] reader: cached']


def test_flags_reach_the_experiment(call):
  assert call('--seed=3')[0] == 0
  assert '[1/2] writer: running' in call('--seed=4')[1]
  assert '[1/2] writer: cached' in call('--set', 'seed=4', '--set', 'train.epochs=2')[1]
  assert '[2/2] reader: running' in call('--from=reader', '--seed=3')[1]


@pytest.mark.parametrize('arguments, message', [
    (['--model=mc_dropuot'], "--model='mc_dropuot': allowed is bug, changed, diverges, mc_dropout, "
                             "slow, swallowed, unreadable; did you mean 'mc_dropout'?"),
    (['--set', 'train.epoch=2'], "unknown field 'train.epoch'; nearest: train.epochs"),
    (['--set', 'train.epochs=two'], "train.epochs='two': expected int"),
    (['--runner=cloud'], "--runner='cloud': allowed is local"),
    (['--from=tariner'], "--from='tariner': allowed is reader, writer"),
    (['--modle=x'], "Unknown command line flag 'modle'. Did you mean: model"),
    (['--seed=x'], 'flag --seed=x: invalid literal'),
    (['mc_dropout'], "unexpected argument 'mc_dropout'"),
    (['--data_dir='], '--data_dir is empty'), (['--lineage', ''], '--lineage is empty'),
    (['--saved_model='], '--saved_model is empty'),
    (['--saved_model=nothing'], '--saved_model=nothing: there is no SavedModel'),
    (['--saved_model=runs', '--preset=smoke'], '--preset: --saved_model trains nothing;'),
    (['--saved_model=runs', '--model=bug'], '--model: --saved_model trains'),
    (['--saved_model=runs', '--push_dir=x'], '--push_dir: --saved_model pushes nothing without'),
    (['--push_dir=script.py/x'], '--push_dir=script.py/x: nothing can be written to '),
    (['--recalibrate'], '--recalibrate: --saved_model says which model'),
    (['--saved_model=runs', '--recalibrate', '--preset=smoke'], '--preset: --saved_model trains'),
    (['--saved_model=nothing', '--recalibrate', '--push_dir=x'], '--saved_model=nothing: there is no'),
    (['--work_dir='], '--work_dir is empty'), (['--model=diverges'], 'training loss nan'),
    (['--lineage=nothing'], 'nothing: there is no such file or folder'),
    (['--work_dir=script.py/x'], 'cannot use work dir /'),
    (['--model=unreadable'], "No such file or directory: '/nowhere/at all' (in node writer)"),
])
def test_a_mistake_of_the_user_is_one_line(call, arguments, message):
  status, _, err = call(*arguments)
  assert status == 2
  assert err.startswith('error: ') and message in err and err.count('\n') == 1


def test_a_mistake_of_ours_shows_its_traceback(call):
  status, _, err = call('--model=bug')
  assert status == 1
  assert 'Traceback' in err and 'RuntimeError: a bug\nin node writer' in err


@pytest.mark.parametrize('model', ['slow', 'changed', 'swallowed'])
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(start, call, tmp_path, model, number):
  process = start(f'--model={model}')
  while process.stdout.readline() != 'sleeping\n':
    assert process.poll() is None
  process.send_signal(number)
  _, err = process.communicate(timeout=60)
  assert process.returncode == 128 + number
  assert err == '\ninterrupted; what is finished is kept, and the same command goes on from there\n'
  assert list((tmp_path / 'runs' / 'temp').iterdir()) == []
  assert call()[0] == 0


@pytest.mark.parametrize('flags', [['--seed=5'], ['--lineage=runs']])
def test_a_reader_that_has_enough_is_no_error(start, call, tmp_path, flags):
  call('--seed=7')
  place, = (tmp_path / 'runs/store/writer').iterdir()
  process = start(*(flag.replace('=runs', f'={place}') for flag in flags))
  process.stdout.close()
  assert process.stderr.read() == ''
  assert process.wait(timeout=60) == 128 + signal.SIGPIPE


def test_lineage_is_printed(call, tmp_path):
  call('--seed=7')
  place, = (tmp_path / 'runs' / 'store' / 'reader').iterdir()
  status, out, _ = call(f'--lineage={place}')
  assert status == 0
  assert 'made by reader' in out and 'made by writer' in out and '    seed: 7\n' in out


def test_errors_and_lineage_do_not_wait_for_tensorflow():
  code = "import sys, pipelines.run; sys.exit('tensorflow' in sys.modules)"
  assert subprocess.run([sys.executable, '-c', code], cwd=digests.ROOT).returncode == 0


@pytest.mark.parametrize('module', ['pipelines.run', 'pipelines.predict'])
def test_help_is_no_failure(module):
  done = subprocess.run([sys.executable, '-m', module, '--help'], cwd=digests.ROOT, capture_output=True,
                        text=True)
  assert done.returncode == 0
  assert '--' in done.stdout and not done.stderr
