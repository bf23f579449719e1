import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from ceph_tf.data import examples, records

POINTS = np.arange(38, dtype=np.float32).reshape(19, 2)


def record(i: int, split: str = 'train', **truths) -> records.Record:
  points = truths or {'senior': POINTS + i, 'junior': POINTS - i}
  return records.Record(f'{i:03d}', bytes([i]) * 5, 0.1, split, f'p{i}', points, 40, 30)


def same(first: records.Record, second: records.Record) -> bool:
  a, b = dataclasses.asdict(first), dataclasses.asdict(second)
  pairs = [(a.pop('points_px'), b.pop('points_px'))]
  spacing = np.float32([a.pop('spacing_mm'), b.pop('spacing_mm')])
  return (a == b and np.array_equal(spacing[0], spacing[1], equal_nan=True)
          and all(list(p) == list(q) and all(np.array_equal(p[k], q[k], equal_nan=True) for k in p)
                  for p, q in pairs))


def test_round_trip_keeps_everything():
  missing = POINTS.copy()
  missing[4] = np.nan
  for original in (record(1), dataclasses.replace(record(2, truth=missing), spacing_mm=np.nan)):
    assert same(original, examples.from_example(examples.to_example(original)))


def test_shards_keep_the_order_and_the_counts(tmp_path):
  written = [record(i, 'train' if i < 7 else 'test1') for i in range(9)]
  schema = examples.write(iter(written), tmp_path, 3, 'isbi2015')
  assert schema == examples.read_schema(tmp_path)
  assert schema == {'dataset': 'isbi2015', 'landmark_names': list(records.LANDMARKS), 'shards': 3,
                    'truths': ['senior', 'junior'], 'counts': {'train': 7, 'test1': 2}}
  shards = examples.paths(tmp_path, 'train')
  assert [p.name for p in shards] == [f'train-0000{i}-of-00003.tfrecord' for i in range(3)]
  assert len(list(tmp_path.iterdir())) == 7
  assert [len(list(examples.read_records([shard]))) for shard in shards] == [3, 2, 2]
  found = [*examples.read_records(shards),
           *examples.read_records(examples.paths(tmp_path, 'test1'))]
  assert all(same(a, b) for a, b in zip(written, found, strict=True))


def test_equal_records_give_equal_files(tmp_path):
  for name in ('a', 'b'):
    (tmp_path / name).mkdir()
    examples.write((record(i) for i in range(3)), tmp_path / name, 2, 'x')
  for file in (tmp_path / 'a').iterdir():
    assert file.read_bytes() == (tmp_path / 'b' / file.name).read_bytes()


@pytest.mark.parametrize('truths,asked', [
    ({'senior': POINTS + 1, 'junior': POINTS + 4}, ('senior', 'junior', 'mean')),
    ({'truth': POINTS + 2}, ('senior', 'junior', 'mean', 'truth'))])
def test_a_graph_and_numpy_agree_about_the_truth(truths, asked):
  original = record(3, **truths)
  dataset = tf.data.Dataset.from_tensors(examples.to_example(original))
  for truth in asked:
    def read(serialized, truth=truth):
      parsed = examples.parse(serialized)
      return {**parsed, 'points_px': records.truth_points(parsed['points_px'], truth)}
    parsed = next(iter(dataset.map(read)))
    assert parsed['points_px'].shape == (19, 2) and parsed['points_px'].dtype == tf.float32
    np.testing.assert_array_equal(
        parsed['points_px'], records.truth_points(original.points_px, truth))
    assert parsed['spacing_mm'].numpy() == np.float32(0.1)
    assert (parsed['height_px'].numpy(), parsed['width_px'].numpy()) == (40, 30)
    assert parsed['image_bytes'].numpy() == original.image_bytes


def test_a_truth_that_is_not_there():
  schema = {'dataset': 'isbi2015', 'truths': ['senior', 'junior']}
  examples.check_truth(schema, 'mean')
  examples.check_truth({'dataset': 'csv', 'truths': ['truth']}, 'senior')
  with pytest.raises(records.DataError, match="truth='truth'.*senior, junior, mean"):
    examples.check_truth(schema, 'truth')


def test_writing_holds_one_record_at_a_time(tmp_path):
  alive = []

  def stream():
    for i in range(4):
      alive.append(i)
      yield record(i)
      files = list(tmp_path.glob('*.tfrecord'))
      assert files and len(alive) == i + 1

  examples.write(stream(), tmp_path, 1, 'x')


def test_bad_records(tmp_path):
  with pytest.raises(records.DataError, match="'x' has no images"):
    examples.write([], tmp_path, 1, 'x')
  with pytest.raises(records.DataError, match="'001' occurs twice"):
    examples.write([record(1), record(1)], tmp_path, 1, 'x')
  with pytest.raises(records.DataError, match="'002' has the truths"):
    examples.write([record(1), record(2, truth=POINTS)], tmp_path, 1, 'x')
  assert not (tmp_path / 'schema.json').exists()


def test_an_unwritable_folder_is_an_oserror(tmp_path):
  with pytest.raises(OSError, match='cannot write examples'):
    examples.write([record(1)], tmp_path / 'nowhere', 1, 'x')


def test_an_absent_split_names_those_present(tmp_path):
  examples.write([record(1)], tmp_path, 1, 'x')
  with pytest.raises(records.DataError, match="'test1'; there are train"):
    examples.paths(tmp_path, 'test1')
