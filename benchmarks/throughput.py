"""Images per second, busy cores and memory of `bulk_inferrer` over many X-rays.

  python -m benchmarks.throughput --images=5000

Computed X-rays go through the component as a pipeline calls it, with a SavedModel of the default
preset whose weights are as drawn. Memory is that of the process when a tenth, a half and all of the
images are done: it should not grow but by the answers themselves. Cores that others of the same machine
took away are told apart from idle ones.
"""

import dataclasses
import itertools
import os
import pathlib
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator

from absl import app, flags, logging

from benchmarks import predict, train_step
from ceph_tf.config import DataConfig
from ceph_tf.data import examples as tfrecords
from ceph_tf.data.datasets import phantom
from ceph_tf.data.records import Record
from pipelines import artifacts, experiments
from pipelines.components.bulk_inferrer import bulk_inferrer
from pipelines.dsl import Context

IMAGES = flags.DEFINE_integer('images', 5000, 'How many X-rays.', lower_bound=10)
DISTINCT = flags.DEFINE_integer('distinct', 100, 'How many of them differ.', lower_bound=1)
HEIGHT_PX = flags.DEFINE_integer('height_px', 480, 'Height of each.', lower_bound=160)
MODEL = flags.DEFINE_string('throughput_model', 'mc_dropout', 'A model of the default preset.')


def new(kind: type, folder: pathlib.Path):
  folder.mkdir()
  return kind(folder)


def records() -> Iterator[Record]:
  """As many test X-rays as asked for: `--distinct` computed ones again and again, which decode no faster."""
  cfg = DataConfig(validation_images=1, calibration_images=1, phantom_images=24,
                   phantom_test_images=min(DISTINCT.value, IMAGES.value), phantom_size_px=HEIGHT_PX.value)
  made = list(phantom.records(cfg, 0))
  yield from (record for record in made if record.split != 'test')
  test = [record for record in made if record.split == 'test']
  for k, record in zip(range(IMAGES.value), itertools.cycle(test), strict=False):
    yield dataclasses.replace(record, image_id=f'{record.image_id}_{k}')


def memory_mib() -> int:
  return int(pathlib.Path('/proc/self/status').read_text().split('VmRSS:')[1].split()[0]) // 1024


def taken_seconds() -> float:
  """Core seconds since the start of this machine that its host gave to others."""
  ticks = pathlib.Path('/proc/stat').read_text().split()[8]
  return int(ticks) / os.sysconf('SC_CLK_TCK')


class Watch:
  """Memory of this process, once a second."""

  def __init__(self):
    self.seen, self._done = [], threading.Event()
    self._thread = threading.Thread(target=self._look, daemon=True)

  def _look(self):
    while not self._done.wait(1):
      self.seen.append(memory_mib())

  def __enter__(self):
    self._thread.start()
    return self

  def __exit__(self, *_):
    self._done.set()
    self._thread.join()


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments {argv[1:]}')
  logging.set_verbosity(logging.WARNING)
  os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:train_step.CORES.value])
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    examples = new(artifacts.Examples, folder / 'examples')
    tfrecords.write(records(), examples.path, 4, 'phantom')
    servable = new(artifacts.ServableModel, folder / 'servable')
    predict.predictor(experiments.resolve(MODEL.value, 'default', [], '', '', 0)).export(servable.saved_model)
    blessing = new(artifacts.InfraBlessing, folder / 'blessing')
    blessing.write({'blessed': True, 'reasons': []})
    predictions = new(artifacts.Predictions, folder / 'predictions')
    context = Context(node='bulk_inferrer', run='benchmark', key='0', lineage=lambda: [])
    wall, busy, taken = time.monotonic(), time.process_time(), taken_seconds()
    with Watch() as watch:
      bulk_inferrer.function(servable=servable, examples=examples, blessing=blessing, predictions=predictions,
                             split='test', context=context)
    wall, busy, taken = time.monotonic() - wall, time.process_time() - busy, taken_seconds() - taken
    assert len(predictions.read()['image_id']) == IMAGES.value
  tenth = max(1, len(watch.seen) // 10)
  parts = [watch.seen[:tenth], watch.seen[len(watch.seen) // 2 - tenth:][:tenth], watch.seen[-tenth:]]
  memory = ' / '.join(f'{statistics.median(part):.0f}' for part in parts)
  cores = (f'{busy / wall:.2f} of {train_step.CORES.value} cores busy, {taken / wall:.2f} taken by '
           'other machines')
  print(f'{MODEL.value}: {IMAGES.value / wall:.1f} images/s, {cores}; memory {memory} MiB in the first, '
        f'middle and last tenth of the time, at most {max(watch.seen)}')


if __name__ == '__main__':
  app.run(main)
