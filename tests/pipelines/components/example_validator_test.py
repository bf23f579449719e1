"""example_validator, called as a runner calls it."""

import dataclasses

import pytest

from ceph_tf.config import ValidateConfig
from ceph_tf.data import examples as example_files
from ceph_tf.data.records import DataError
from pipelines.artifacts import Anomalies, Examples
from pipelines.components.example_validator import example_validator


@pytest.fixture
def validated(tmp_path):
  """Writes records, validates them, and returns the report."""
  def run(records, cfg=None, split='test', **trained):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'out').mkdir()
    example_files.write(records, tmp_path / 'in', 2, 'phantom')
    output = Anomalies(tmp_path / 'out')
    example_validator.function(Examples(tmp_path / 'in'), output, cfg=cfg or ValidateConfig(),
                               dataset='phantom', split=split, **trained)
    return output.read()
  return run


def leaked(records):
  test = next(r for r in records if r.split == 'test')
  return [*records, dataclasses.replace(test, image_id='copy', split='train')], test.image_id


def test_good_examples_pass(validated, phantom_records):
  report = validated(phantom_records)
  assert report['anomalies'] == report['duplicates'] == []
  assert report['counts'] == {'train': 8, 'validation': 1, 'calibration': 1, 'test': 2}
  assert report['policy'] == {'leaks': 'stop', 'points': 'stop', 'images': 'stop'}


def test_images_to_train_on_are_needed_where_something_is_trained(validated, phantom_records):
  with pytest.raises(DataError, match='wrong_count: train: no images'):
    validated([record for record in phantom_records if record.split == 'test'])


def test_images_that_test_are_enough_where_nothing_is_trained(validated, phantom_records):
  tests = [record for record in phantom_records if record.split == 'test']
  assert validated(tests, trained=False)['anomalies'] == []


def test_a_leak_stops(validated, phantom_records):
  records, original = leaked(phantom_records)
  with pytest.raises(DataError, match=f'copy: the same film as {original} of test'):
    validated(records)


def test_a_leak_passes_if_the_policy_says_so(validated, phantom_records):
  records, original = leaked(phantom_records)
  assert validated(records, ValidateConfig(leaks='warn'))['duplicates'] == [['copy', original]]


def test_a_truncated_image_stops(validated, phantom_records):
  first, *others = phantom_records
  cut = dataclasses.replace(first, image_bytes=first.image_bytes[:-100])
  with pytest.raises(DataError, match=f'{first.image_id}: the PNG image is truncated'):
    validated([cut, *others])


def test_a_truncated_image_stops_whatever_the_policy(validated, phantom_records):
  first, *others = phantom_records
  cut = dataclasses.replace(first, image_bytes=first.image_bytes[:-100])
  with pytest.raises(DataError, match='truncated.*repair or remove'):
    validated([cut, *others], ValidateConfig(images='warn'))


def test_a_split_without_images_stops_before_the_training(validated, phantom_records):
  with pytest.raises(DataError, match="evaluate.split='test1': .*'phantom'.*calibration, test, train"):
    validated(phantom_records, split='test1')
