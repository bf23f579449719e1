"""What lineage knows, and how it tells it."""

import dataclasses
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap

import pytest

from pipelines import ancestry, digests
from pipelines.artifacts import JsonArtifact
from pipelines.dsl import ComponentError, Context, In, Out, component
from pipelines.execution import Stored
from pipelines.lineage import Lineage
from pipelines.runners import local
from pipelines.store import StoreError


class Number(JsonArtifact):
  files = ('number.json',)


@component(external=lambda start: 'feedbead' * 8)
def source(out: Out[Number], *, start: int):
  out.write({'value': start})


@component
def double(number: In[Number], out: Out[Number]):
  out.write({'value': 2 * number.read()['value']})


@component
def publish(parts: In[list[Number]], out: Out[Number], *, place: str, context: Context):
  (out.path / 'lineage.json').write_text(json.dumps(context.lineage()))
  out.write({'value': 0})


DICE = [1]


@component
def dice(out: Out[Number]):
  out.write({'value': DICE[0]})


@component
def stops(number: In[Number], out: Out[Number]):
  raise ComponentError('no')


def quiet(line):
  pass


def make(work_dir, start=3):
  """Runs source -> double -> publish(double, source)."""
  first = source(start=start, name='origin')
  second = double(number=first['out'])
  last = publish(parts=[second['out'], first['out']], place='here')
  return local.run([last], work_dir, say=quiet)


def rows(work_dir, query):
  with sqlite3.connect(work_dir / 'lineage.sqlite') as db:
    return db.execute(query).fetchall()


def expected_tree(folder, results, run, libraries):
  """The text `ancestry` owes, but for times, code digests and the git commit."""
  keys = {name: result.execution.key for name, result in results.items()}
  digest = {name: result.outputs['out'].digest[:12] for name, result in results.items()}
  return textwrap.dedent(f'''\
      {folder}
        made by publish, key {keys['publish']}, in run {run}
          code
          {libraries}
          place: "here"
          from parts: Number {digest['double']} in double/{keys['double']}/out
            made by double, key {keys['double']}, in run {run}
              code
              from number: Number {digest['origin']} in source/{keys['origin']}/out
                made by origin, key {keys['origin']}, in run {run}
                  code
                  start: 3
                  external data feedbeadfeed
          from parts: Number {digest['origin']} in source/{keys['origin']}/out
            made by origin, key {keys['origin']} (see above)''')


def without_times(text):
  lines = []
  for line in text.splitlines():
    if ', in run ' in line:
      line = ', '.join(line.split(', ')[:3])
    lines.append(line.split('code ')[0] + 'code' if '  code ' in line else line)
  return '\n'.join(lines)


def test_the_tree_of_an_artifact_in_the_store(tmp_path):
  results = make(tmp_path)
  out = results['publish'].outputs['out'].path
  libraries = ', '.join(f'{name} {version}' for name, version in digests.libraries().items())
  run, = rows(tmp_path, 'SELECT id FROM runs')[0]
  (out / 'lineage.json').unlink()
  text = ancestry.text(out / 'number.json')
  assert without_times(text) == expected_tree(out.parent, results, run, libraries)


def test_a_published_copy_tells_the_same_without_the_store(tmp_path):
  results = make(tmp_path / 'runs')
  out = results['publish'].outputs['out'].path
  pushed = tmp_path / 'pushed' / '1'
  pushed.mkdir(parents=True)
  (out / 'lineage.json').rename(pushed / 'lineage.json')
  in_store = ancestry.text(out.parent).splitlines()[2:]
  (tmp_path / 'runs').rename(tmp_path / 'gone')
  assert ancestry.text(pushed).splitlines()[2:] == in_store


def test_of_a_folder_of_versions_the_newest_is_told(tmp_path):
  out = make(tmp_path / 'runs')['publish'].outputs['out'].path
  model = tmp_path / 'pushed/model'
  for version in ('2', '10', 'notes'):
    (model / version).mkdir(parents=True)
  (out / 'lineage.json').rename(model / '10/lineage.json')
  assert ancestry.text(model) == ancestry.text(model / '10')
  (model / '11').mkdir()  # without lineage
  assert ancestry.text(model) == ancestry.text(model / '10')


def test_a_store_may_be_moved(tmp_path):
  make(tmp_path / 'runs')
  (tmp_path / 'runs').rename(tmp_path / 'moved')
  results = make(tmp_path / 'moved')
  assert all(result.cached for result in results.values())
  out = results['double'].outputs['out'].path
  assert 'made by origin' in ancestry.text(out)


def test_the_run_that_made_it_is_told_not_the_last_that_used_it(tmp_path):
  first = make(tmp_path)['double'].execution.run
  results = make(tmp_path)
  assert f'in run {first}' in ancestry.text(results['double'].outputs['out'].path)
  assert rows(tmp_path, 'SELECT count(*) FROM runs') == [(2,)]
  assert rows(tmp_path, 'SELECT count(*) FROM uses WHERE cached') == [(3,)]


def test_who_made_what_was_used_is_told_not_who_replaced_it_since(tmp_path):
  graph = [double(number=dice()['out'])]
  DICE[0] = 1
  old = local.run(graph, tmp_path, say=quiet)
  DICE[0] = 2
  new = local.run(graph, tmp_path, from_node='dice', say=quiet)
  runs = [results['dice'].execution.run for results in (old, new)]
  for results, run, other in zip((old, new), runs, runs[::-1], strict=True):
    text = ancestry.text(results['double'].outputs['out'].path)
    assert f'made by dice, key {results["dice"].execution.key}, in run {run}' in text
    assert other not in text


@pytest.mark.parametrize('place, message', [
    ('none', 'there is no such file or folder'), ('', 'it lies neither in <work_dir>/store')])
def test_a_path_without_lineage_is_one_clear_message(tmp_path, place, message):
  with pytest.raises(StoreError, match=message):
    ancestry.text(tmp_path / place)


def test_an_unknown_ancestor_is_said_to_be_unknown(tmp_path):
  results = make(tmp_path)
  with sqlite3.connect(tmp_path / 'lineage.sqlite') as db:
    db.execute("DELETE FROM executions WHERE node = 'origin'")
  assert 'made by an execution this store does not know' in ancestry.text(
      results['double'].outputs['out'].path)


def test_a_lost_database_is_filled_again_from_the_store(tmp_path):
  make(tmp_path)
  for path in tmp_path.glob('lineage.sqlite*'):
    path.unlink()
  results = make(tmp_path)
  assert all(result.cached for result in results.values())
  assert 'made by origin' in ancestry.text(results['double'].outputs['out'].path)


def test_status_of_runs_and_executions(tmp_path):
  with pytest.raises(ComponentError):
    local.run([stops(number=source(start=1)['out'])], tmp_path, say=quiet)
  assert rows(tmp_path, 'SELECT status FROM runs') == [('failed',)]
  assert rows(tmp_path, 'SELECT node, status FROM executions ORDER BY node') == [
      ('source', 'done'), ('stops', 'failed')]
  assert rows(tmp_path, 'SELECT count(*) FROM artifacts') == [(1,)]


def test_a_killed_run_is_known_as_killed_and_a_living_one_is_not(tmp_path):
  (tmp_path / 'locks').mkdir()
  alive = Lineage(tmp_path)
  living = alive.begin_run('{}')
  code = ('import os, pathlib, sys; from pipelines.lineage import Lineage; '
          'print(Lineage(pathlib.Path(sys.argv[1])).begin_run("{}"), flush=True); '
          f'os.kill(os.getpid(), {signal.SIGKILL.value})')
  killed = subprocess.run(
      [sys.executable, '-c', code, str(tmp_path)], encoding='utf-8', capture_output=True,
      env=os.environ | {'PYTHONPATH': str(digests.ROOT)}).stdout.strip()
  last = Lineage(tmp_path)
  last.end_run(last.begin_run('{}'), 'done')
  status = dict(rows(tmp_path, 'SELECT id, status FROM runs'))
  assert (status[living], status[killed]) == ('running', 'killed')
  alive.end_run(living, 'done')
  assert [path.name for path in (tmp_path / 'locks').iterdir()] == ['lineage']


def test_a_transaction_that_fails_leaves_nothing(tmp_path):
  results = make(tmp_path)
  book = Lineage(tmp_path)
  before = rows(tmp_path, 'SELECT count(*) FROM executions')
  outputs = {'out': Stored('Number', 'path', ['not what sqlite takes'])}
  broken = dataclasses.replace(results['origin'].execution, id='x', outputs=outputs)
  with pytest.raises(StoreError, match='cannot use .*lineage.sqlite'):
    book.record(broken, 'done')
  assert rows(tmp_path, 'SELECT count(*) FROM executions') == before


def test_a_database_that_is_none_is_one_clear_message(tmp_path):
  (tmp_path / 'lineage.sqlite').write_text('this is no database' * 100)
  with pytest.raises(StoreError, match='cannot use .*lineage.sqlite: file is not a database'):
    make(tmp_path)


def test_without_its_database_a_store_is_still_a_cache(tmp_path):
  make(tmp_path)
  (tmp_path / 'lineage.sqlite').unlink()
  assert all(result.cached for result in make(tmp_path).values())


def test_a_database_of_another_version_is_refused(tmp_path):
  make(tmp_path)
  with sqlite3.connect(tmp_path / 'lineage.sqlite') as db:
    db.execute('PRAGMA user_version = 99')
  with pytest.raises(StoreError, match='has version 99, this code writes 1'):
    make(tmp_path)


@pytest.mark.parametrize('name', ['execution.json', 'lineage.json'])
@pytest.mark.parametrize('content', [b'{}', b'[]', b'[1]', b'{"a": 1}', b'', b'null', b'\xff\xfe'])
def test_a_file_that_is_no_record_is_one_clear_message(tmp_path, name, content):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(StoreError, match=f'{name} is damaged, or no record'):
    ancestry.text(tmp_path)


def test_an_execution_outside_of_a_work_dir_is_told_alone(tmp_path):
  execution = make(tmp_path / 'runs')['origin'].execution
  place, = (tmp_path / 'runs/store/source').glob(execution.key)
  moved = (tmp_path / 'a/b/c/moved')
  shutil.copytree(place, moved)
  assert f'key {execution.key}' in ancestry.text(moved)
  assert not list((tmp_path / 'a').rglob('*.sqlite'))
