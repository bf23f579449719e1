"""Pushing: what is pushed, when it is not, and that nothing is ever half there."""

import concurrent.futures
import json
import os
import shutil
import stat

import pytest

from pipelines.artifacts import (
  Evaluation,
  InfraBlessing,
  ModelBlessing,
  PushedModel,
  ServableModel,
)
from pipelines.components import pusher as module
from pipelines.dsl import ComponentError, Context

ANCESTRY = [{'node': 'pusher', 'params': {'name': 'm'}}, {'node': 'trainer', 'params': {'seed': 3}}]


def saved_model(path, content='weights'):
  (path / 'variables').mkdir(parents=True)
  (path / 'saved_model.pb').write_text('graph')
  (path / 'variables' / 'variables.index').write_text(content)
  return path


@pytest.fixture
def push(tmp_path):
  """Pushes a model with some content; returns pushed.json."""
  count = iter(range(100))

  def run(content='weights', blessed=True, infra=True, name='m', reasons=('too bad',)):
    folder = tmp_path / f'push{next(count)}'
    kinds = (ServableModel, ModelBlessing, InfraBlessing, Evaluation, PushedModel)
    made = [kind(folder / kind.__name__) for kind in kinds]
    for one in made:
      one.path.mkdir(parents=True)
    saved_model(made[0].saved_model, content)
    made[1].write({'blessed': blessed, 'reasons': [] if blessed else list(reasons)})
    made[2].write({'blessed': infra})
    made[3].write({'title': 'x'})
    module.pusher.function(*made, model_name=name, destination=str(tmp_path / 'models'),
                           context=Context('pusher', 'run', 'key', lambda: ANCESTRY))
    return made[4].read()
  return run


def test_versions_count_up_and_hold_model_lineage_and_figures(push, tmp_path):
  first, second = push('one'), push('two')
  assert [first['status'], first['version'], second['version']] == ['pushed', 1, 2]
  folder = tmp_path / 'models' / 'm' / '2'
  assert second['path'] == str(folder)
  assert (folder / 'saved_model.pb').read_text('utf-8') == 'graph'
  assert (folder / 'variables' / 'variables.index').read_text('utf-8') == 'two'
  assert json.loads((folder / 'lineage.json').read_text('utf-8')) == ANCESTRY
  assert json.loads((folder / 'experiment.json').read_text('utf-8')) == {
      'trainer': {'seed': 3}, 'pusher': {'name': 'm'}}
  assert json.loads((folder / 'evaluation.json').read_text('utf-8')) == {'title': 'x'}


def test_the_same_model_again_gives_no_new_version(push, tmp_path):
  push('one')
  again = push('one')
  assert (again['status'], again['version']) == ('unchanged', 1)
  assert again['reasons'] == ['version 1 already holds the same model']
  assert sorted(module.versions(tmp_path / 'models' / 'm')) == [1]


def test_an_older_model_is_pushed_again_so_that_it_is_served_again(push):
  assert [push(content)['version'] for content in ('one', 'two', 'one')] == [1, 2, 3]


def test_a_deleted_or_damaged_version_is_replaced(push, tmp_path):
  push('one')
  (tmp_path / 'models/m/1/variables/variables.index').write_text('damaged')
  assert push('one')['version'] == 2
  shutil.rmtree(tmp_path / 'models')
  assert push('one')['version'] == 1


def test_the_next_version_follows_the_highest_whatever_its_name(push, tmp_path):
  for name in ('007', '3', 'backup', '9x'):
    (tmp_path / 'models' / 'm' / name).mkdir(parents=True)
  assert push()['version'] == 8


@pytest.mark.parametrize('blessed, infra, reasons', [
    (False, True, ['model: too bad']), (True, False, ['infra: not blessed']),
    (False, False, ['model: too bad', 'infra: not blessed'])])
def test_what_is_not_blessed_is_not_pushed(push, tmp_path, blessed, infra, reasons):
  found = push(blessed=blessed, infra=infra)
  assert (found['status'], found['version'], found['path']) == ('refused', None, None)
  assert found['reasons'] == reasons
  assert not (tmp_path / 'models').exists()


@pytest.mark.parametrize('name', ['', '..', 'a/b', '/tmp', '.hidden'])
def test_a_name_that_is_no_folder_name_is_an_error(push, name):
  with pytest.raises(ComponentError, match='plain folder name'):
    push(name=name)


def test_a_failed_copy_leaves_nothing(push, tmp_path, monkeypatch):
  def fail(source, target):
    target.mkdir()
    (target / 'saved_model.pb').write_text('half')
    raise OSError(28, 'No space left on device')
  monkeypatch.setattr(module.shutil, 'copytree', fail)
  with pytest.raises(OSError, match='No space left'):
    push()
  assert [p.name for p in (tmp_path / 'models' / 'm').iterdir()] == ['.lock']


def test_what_a_killed_pusher_left_is_cleared(push, tmp_path):
  saved_model(tmp_path / 'models' / 'm' / '.pushing-abc')
  assert push()['version'] == 1
  assert sorted(p.name for p in (tmp_path / 'models' / 'm').iterdir()) == ['.lock', '1']


def test_a_version_is_complete_from_the_moment_it_exists(push, tmp_path, monkeypatch):
  rename, seen = os.rename, []

  def look(source, target):
    seen.append((target.exists(), sorted(p.name for p in source.iterdir())))
    rename(source, target)
  monkeypatch.setattr(module.os, 'rename', look)
  push()
  assert seen == [(False, ['evaluation.json', 'experiment.json', 'lineage.json',
                           'saved_model.pb', 'variables'])]


def test_a_copy_of_read_only_files_can_be_deleted(tmp_path):
  source = saved_model(tmp_path / 'source')
  (source / 'variables').chmod(0o555)
  _, folder = module.push(source, tmp_path / 'models' / 'm', {})
  (source / 'variables').chmod(0o755)
  assert (folder / 'variables').stat().st_mode & stat.S_IWUSR


def test_pushers_at_once_never_collide(tmp_path):
  folder = tmp_path / 'models' / 'm'
  sources = [saved_model(tmp_path / str(i), f'weights {i % 4}') for i in range(8)]
  with concurrent.futures.ThreadPoolExecutor(8) as pool:  # flock tells open files, not processes
    results = list(pool.map(lambda source: module.push(source, folder, {}), sources))
  there = module.versions(folder)
  pushed = [path for status, path in results if status == 'pushed']
  assert sorted(there) == list(range(1, len(pushed) + 1))
  assert len(set(pushed)) == len(pushed) >= 4
  for source, (_, path) in zip(sources, results, strict=True):
    assert (path / 'variables/variables.index').read_text('utf-8') == (
        source / 'variables/variables.index').read_text('utf-8')


def test_a_push_is_never_answered_from_the_cache():
  assert module.always(model_name='m', destination='d') != module.always(model_name='m', destination='d')
