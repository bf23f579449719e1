"""Pushing: what is pushed, when it is not, and that nothing is ever half there."""

import concurrent.futures
import json
import os
import shutil
import stat
import time

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

from pipelines import pushed_models
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


# Of tensorflow_serving/servables/tensorflow/session_bundle_config.proto, which no package brings.
BATCHING_FIELDS = {
    **dict.fromkeys(['max_batch_size', 'batch_timeout_micros', 'max_enqueued_batches', 'num_batch_threads',
                     'max_execution_batch_size'], 'Int64Value'),
    'enable_large_batch_splitting': 'BoolValue', 'pad_variable_length_inputs': None}


def saved_model(path, content='weights'):
  (path / 'variables').mkdir(parents=True)
  (path / 'saved_model.pb').write_text('graph')
  (path / 'variables' / 'variables.index').write_text(content)
  return path


@pytest.fixture
def push(tmp_path):
  """Pushes a model with some content; returns pushed.json."""
  count = iter(range(100))

  def run(content='weights', blessed=True, infra=True, name='m', reasons=('too bad',), served_from='/models'):
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
                           served_from=served_from, context=Context('pusher', 'run', 'key', lambda: ANCESTRY))
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
  assert sorted(pushed_models.versions(tmp_path / 'models' / 'm')) == [1]


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
    seen.append((target.exists(), sorted(module.digests.tree_files(source))))
    rename(source, target)
  monkeypatch.setattr(module.os, 'rename', look)
  push()
  assert seen == [(False, ['assets.extra/tf_serving_warmup_requests', 'evaluation.json', 'experiment.json',
                           'lineage.json', 'saved_model.pb', 'variables/variables.index'])]


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
  there = pushed_models.versions(folder)
  pushed = [path for status, path in results if status == 'pushed']
  assert sorted(there) == list(range(1, len(pushed) + 1))
  assert len(set(pushed)) == len(pushed) >= 4
  for source, (_, path) in zip(sources, results, strict=True):
    assert (path / 'variables/variables.index').read_text('utf-8') == (
        source / 'variables/variables.index').read_text('utf-8')


def test_a_push_is_never_answered_from_the_cache():
  assert module.always(model_name='m', destination='d') != module.always(model_name='m', destination='d')


def test_what_is_added_makes_no_difference_but_other_extras_do(tmp_path):
  source, folder = saved_model(tmp_path / 'source'), tmp_path / 'models' / 'm'
  (source / 'assets.extra').mkdir()
  (source / 'assets.extra' / 'landmarks.json').write_text('["S"]')
  assert module.push(source, folder, {'lineage.json': 'a'})[0] == 'pushed'
  (folder / '1' / module.warmup.PATH).write_bytes(b'of an older version')
  assert module.push(source, folder, {'lineage.json': 'b'})[0] == 'unchanged'
  (source / 'assets.extra' / 'landmarks.json').write_text('["N"]')
  assert module.push(source, folder, {})[0] == 'pushed'


def configs(tmp_path):
  """The `ModelServerConfig` beside the models, by model."""
  text = (tmp_path / 'models' / 'models.config').read_text('utf-8')
  parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
  return {config.name: config for config in parsed.model_config_list.config}


def test_a_server_is_told_of_all_models_that_are_there(push, tmp_path):
  models = tmp_path / 'models'
  for folder in ('empty', 'half/1', '.hidden/1'):
    (models / folder).mkdir(parents=True)
  saved_model(models / '.hidden' / '2')
  saved_model(models / 'no_number' / 'v1')
  (models / 'README.md').write_text('x')
  saved_model(models / 'by hand "é"' / '7')
  push(name='a')
  push(name='b', served_from='/srv/x')
  found = configs(tmp_path)
  assert list(found) == ['a', 'b', 'by hand "é"']
  for name, config in found.items():
    assert config.base_path == f'/srv/x/{name}' and config.model_platform == 'tensorflow'
    assert config.model_version_policy.latest.num_versions == 1
  push(name='b')
  assert configs(tmp_path)['a'].base_path == '/models/a'


@pytest.mark.parametrize('before', [
    'model_config_list {', 'model_config_list { config { name: "gone" } }', '\0'])
def test_what_is_damaged_foreign_or_deleted_is_written_anew(push, tmp_path, before):
  push('one')
  written = {name: (tmp_path / 'models' / name) for name in ('models.config', 'batching_parameters.txt')}
  content = {name: file.read_text('utf-8') for name, file in written.items()}
  for change in (lambda file: file.write_text(before), lambda file: file.unlink()):
    for file in written.values():
      change(file)
    assert push('one')['status'] == 'unchanged'
    assert {name: file.read_text('utf-8') for name, file in written.items()} == content


def test_batching_parameters_are_what_the_server_reads(push, tmp_path):
  push()
  proto = descriptor_pb2.FileDescriptorProto(
      name='batching.proto', package='test', syntax='proto3', dependency=['google/protobuf/wrappers.proto'])
  message = proto.message_type.add(name='BatchingParameters')
  for number, (name, kind) in enumerate(BATCHING_FIELDS.items(), 1):
    field = message.field.add(name=name, number=number, label=1, type=11 if kind else 8)
    if kind:
      field.type_name = f'.google.protobuf.{kind}'
  pool = descriptor_pool.DescriptorPool()
  pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
  pool.Add(proto)
  kind = message_factory.GetMessageClass(pool.FindMessageTypeByName('test.BatchingParameters'))
  found = text_format.Parse((tmp_path / 'models/batching_parameters.txt').read_text('utf-8'), kind())
  given = {field.name for field, _ in found.ListFields()}  # false is not among them
  assert given == BATCHING_FIELDS.keys() - {'pad_variable_length_inputs'}
  assert not found.pad_variable_length_inputs and found.enable_large_batch_splitting.value
  pieces = found.max_batch_size.value / found.max_execution_batch_size.value
  assert 1 < pieces <= found.max_enqueued_batches.value  # the largest request finds room


def test_pushers_of_several_models_at_once_lose_none(push, tmp_path, monkeypatch):
  replace, slow = module._replace, [0.4]

  def hesitate(file, text):
    time.sleep(slow.pop() if slow else 0)
    replace(file, text)
  monkeypatch.setattr(module, '_replace', hesitate)
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    first = pool.submit(push, name='a')
    time.sleep(0.2)
    for one in [first, *(pool.submit(push, name=name) for name in 'bcd')]:
      assert one.result()['status'] == 'pushed'
  assert list(configs(tmp_path)) == ['a', 'b', 'c', 'd']


def test_a_reader_finds_the_old_file_or_the_new_one(push, tmp_path, monkeypatch):
  push(name='a')
  config, replace, seen = tmp_path / 'models' / 'models.config', os.replace, []

  def look(source, target):
    seen.append((target.name, list(configs(tmp_path))))
    replace(source, target)
  monkeypatch.setattr(module.os, 'replace', look)
  push(name='b')
  assert seen == [('models.config', ['a']), ('batching_parameters.txt', ['a', 'b'])]
  assert sorted(p.name for p in config.parent.iterdir()) == [
      '.lock', 'a', 'b', 'batching_parameters.txt', 'models.config']


def test_back_and_forward_by_moving_folders(push, tmp_path):
  """What a server with the policy `latest` takes is the highest number."""
  folder = tmp_path / 'models' / 'm'
  push('one')
  push('two')
  (folder / '2').rename(folder / '2.off')
  assert max(pushed_models.versions(folder)) == 1 and push('one')['status'] == 'unchanged'
  assert configs(tmp_path)['m'].model_version_policy.latest.num_versions == 1
  (folder / '2.off').rename(folder / '2')
  assert max(pushed_models.versions(folder)) == 2 and push('two')['status'] == 'unchanged'
