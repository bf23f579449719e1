"""Records on disk: sharded TFRecords of `tf.train.Example` and a `schema.json`.

Files `<split>-00000-of-00002.tfrecord`; record i of a split is in shard i modulo
the number of shards, and readers restore that order. Features of an example:

    image_id      bytes       unique within the dataset
    patient_id    bytes
    split         bytes       one of records.SPLITS
    image_bytes   bytes       a JPEG, PNG or BMP file
    spacing_mm    float       millimetres per source pixel, NaN where unknown
    height_px     int64       size of the source image
    width_px      int64
    points/<truth>  float [L * 2]  x1 y1 x2 y2 ..., source pixels, NaN where missing;
                              truths are senior and junior, or truth

`schema.json`: `dataset`, `landmark_names` [L], `truths`, `counts` (split -> number
of examples), `shards`. Equal records give equal files.
"""

import contextlib
import json
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from ceph_tf.data.records import LANDMARKS, DataError, Record

TRUTHS = ('senior', 'junior', 'truth')
_BYTES = ('image_id', 'patient_id', 'split', 'image_bytes')
_INTEGERS = ('height_px', 'width_px')


def to_example(record: Record) -> bytes:
  """One record as a serialized `tf.train.Example` of the schema above."""
  features = {
      name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
      for name, value in (
          ('image_id', record.image_id.encode()), ('patient_id', record.patient_id.encode()),
          ('split', record.split.encode()), ('image_bytes', record.image_bytes))}
  features |= {
      name: tf.train.Feature(int64_list=tf.train.Int64List(value=[getattr(record, name)]))
      for name in _INTEGERS}
  floats = {'spacing_mm': [record.spacing_mm]}
  floats |= {f'points/{truth}': np.ravel(points) for truth, points in record.points_px.items()}
  features |= {name: tf.train.Feature(float_list=tf.train.FloatList(value=value))
               for name, value in floats.items()}
  example = tf.train.Example(features=tf.train.Features(feature=features))
  return example.SerializeToString(deterministic=True)


def from_example(serialized: bytes, landmark_names: tuple[str, ...] = LANDMARKS) -> Record:
  """The inverse of `to_example`."""
  features = tf.train.Example.FromString(serialized).features.feature
  values = {name: features[name].bytes_list.value[0] for name in _BYTES}
  return Record(
      image_id=values['image_id'].decode(), image_bytes=values['image_bytes'],
      spacing_mm=features['spacing_mm'].float_list.value[0], split=values['split'].decode(),
      patient_id=values['patient_id'].decode(),
      points_px={name.removeprefix('points/'):
                 np.array(features[name].float_list.value, np.float32).reshape(-1, 2)
                 for name in sorted(features, key=_truth_order) if name.startswith('points/')},
      height_px=features['height_px'].int64_list.value[0],
      width_px=features['width_px'].int64_list.value[0], landmark_names=landmark_names)


def _truth_order(name: str) -> tuple[int, str]:
  truth = name.removeprefix('points/')
  return (TRUTHS.index(truth) if truth in TRUTHS else len(TRUTHS), truth)


def parse(serialized: tf.Tensor, landmarks: int = len(LANDMARKS)) -> dict:
  """One serialized example to tensors, in a graph.

  Args:
    serialized: string scalar.
    landmarks: L.

  Returns:
    A dict: `image_id`, `patient_id`, `split`, `image_bytes` string scalars,
    `spacing_mm` float32 scalar, `height_px`, `width_px` int64 scalars, and
    `points_px`, a dict of float32 [L, 2] for `records.truth_points`. A graph has
    the same keys for every dataset: 'truth' stands in for a doctor whom the
    example lacks, and where there are only doctors 'truth' is all NaN.
  """
  features = {name: tf.io.FixedLenFeature([], tf.string) for name in _BYTES}
  features |= {name: tf.io.FixedLenFeature([], tf.int64) for name in _INTEGERS}
  features['spacing_mm'] = tf.io.FixedLenFeature([], tf.float32)
  missing = np.full((landmarks, 2), np.nan, np.float32)
  for truth in TRUTHS:
    features[f'points/{truth}'] = tf.io.FixedLenFeature([landmarks, 2], tf.float32, missing)
  parsed = tf.io.parse_single_example(serialized, features)
  points = {truth: parsed.pop(f'points/{truth}') for truth in TRUTHS}
  only = points['truth']
  parsed['points_px'] = {
      truth: tf.where(tf.reduce_all(tf.math.is_nan(value)), only, value)
      for truth, value in points.items()}
  return parsed


def check_truth(schema: dict, truth: str) -> None:
  """Raises `DataError` unless the examples have this truth; graphs cannot tell."""
  truths = schema['truths']
  if truths != ['truth'] and truth not in (*truths, 'mean'):
    raise DataError(f'truth={truth!r}: allowed for {schema["dataset"]} is '
                    f'{", ".join([*truths, "mean"])}')


def paths(folder: pathlib.Path, split: str) -> list[pathlib.Path]:
  """The shards of a split, in order. `DataError` when the split has no examples."""
  counts = read_schema(folder)['counts']
  if not counts.get(split):
    raise DataError(f'{folder}: no examples of split {split!r}; there are {", ".join(counts)}')
  return sorted(pathlib.Path(folder).glob(f'{split}-*-of-*.tfrecord'))


def read_schema(folder: pathlib.Path) -> dict:
  """`schema.json` of a folder of examples."""
  return json.loads((pathlib.Path(folder) / 'schema.json').read_text('utf-8'))


def read_records(shards: Iterable[pathlib.Path]) -> Iterator[Record]:
  """Yields the records of the shards of one split, in the order they were written."""
  shards = [pathlib.Path(path) for path in shards]
  options = tf.data.Options()
  options.autotune.enabled = False  # nothing to tune; freeing four tuned iterators took 20 s
  readers = [tf.data.TFRecordDataset(str(path)).with_options(options).as_numpy_iterator() for path in shards]
  names = tuple(read_schema(shards[0].parent)['landmark_names']) if shards else ()
  while readers:
    alive = []
    for reader in readers:
      with contextlib.suppress(StopIteration):
        yield from_example(next(reader), names)
        alive.append(reader)
    readers = alive


def write(records: Iterable[Record], folder: pathlib.Path, shards: int, dataset: str) -> dict:
  """Writes records and `schema.json`, holding one record at a time.

  Args:
    records: at least one; all with the same truths and landmark names.
    folder: exists.
    shards: files per split.
    dataset: name for the schema.

  Returns:
    The schema.

  Raises:
    DataError: no records, an image id twice, or records that do not belong together.
    OSError: the folder cannot be written, for example because the disk is full.
  """
  folder, writers, counts, seen, first = pathlib.Path(folder), {}, {}, set(), None
  try:
    with contextlib.ExitStack() as stack:
      for record in records:
        first = first or (tuple(record.points_px), record.landmark_names)
        _check_belongs(record, seen, first)
        seen.add(record.image_id)
        if record.split not in writers:
          files = [folder / f'{record.split}-{i:05d}-of-{shards:05d}.tfrecord'
                   for i in range(shards)]
          writers[record.split] = [
              stack.enter_context(tf.io.TFRecordWriter(str(file))) for file in files]
        number = counts.get(record.split, 0)
        writers[record.split][number % shards].write(to_example(record))
        counts[record.split] = number + 1
  except tf.errors.OpError as error:
    raise OSError(f'{folder}: cannot write examples: {error.message}') from error
  if first is None:
    raise DataError(f'dataset {dataset!r} has no images')
  schema = {'dataset': dataset, 'landmark_names': list(first[1]), 'truths': list(first[0]),
            'counts': counts, 'shards': shards}
  (folder / 'schema.json').write_text(json.dumps(schema, indent=2, sort_keys=True) + '\n', 'utf-8')
  return schema


def _check_belongs(record: Record, seen: set[str], first: tuple) -> None:
  if record.image_id in seen:
    raise DataError(f'image id {record.image_id!r} occurs twice; every image needs its own')
  if (tuple(record.points_px), record.landmark_names) != first:
    raise DataError(f'image {record.image_id!r} has the truths {tuple(record.points_px)} and '
                    f'{len(record.landmark_names)} landmarks, the first image had {first[0]} and '
                    f'{len(first[1])}; allowed is the same for all')
