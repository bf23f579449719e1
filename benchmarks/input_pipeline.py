"""Images per second of the training input, against scipy; and who waits for it.

  python -m benchmarks.input_pipeline

Part 1: elastic + affine deformation and target heatmaps, 128x128, 19 landmarks, the
settings of the thesis preset: the chain of `ceph_tf.data.input.training` on all cores
allowed, against `benchmarks.scipy_input` as in the thesis in one and in two processes,
and against the leanest that scipy can do, in turns.
Part 2: training with a preset; the share of an epoch that it waited for its batches.
"""

import concurrent.futures
import math
import multiprocessing
import os
import pathlib
import statistics
import tempfile
import time

import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import scipy_input
from ceph_tf import geometry, seeds
from ceph_tf.config import Experiment, NetworkConfig
from ceph_tf.data import input as data_input
from ceph_tf.models import heatmaps, train
from ceph_tf.overrides import override
from pipelines.experiments import presets

LANDMARKS = 19
CORES = flags.DEFINE_integer('cores', 2, 'Cores that everything together may use.', lower_bound=1)
ROUNDS = flags.DEFINE_integer('rounds', 7, 'Rounds; each measures every peer once.', lower_bound=1)
SECONDS = flags.DEFINE_float('seconds', 3.0, 'Seconds for each peer in each round.', lower_bound=0.1)
TRAIN = flags.DEFINE_bool('train', True, 'Also measure how long training waits for its input.')
PRESET = flags.DEFINE_enum('preset', 'default', sorted(presets.PRESETS), 'What part 2 trains.')
EPOCHS = flags.DEFINE_integer('epochs', 5, 'Epochs of part 2, first and last not counted.', lower_bound=3)
STEPS = flags.DEFINE_integer('steps', 10, 'Steps in each epoch of part 2.', lower_bound=1)


def examples(cfg: NetworkConfig, count: int) -> tf.data.Dataset:
  """Made-up examples as `data.input.encoded` yields them."""
  rng, size = seeds.rng(0, 'benchmark'), np.array([cfg.input.width, cfg.input.height])
  return tf.data.Dataset.from_tensor_slices({
      'image': rng.normal(size=(count, cfg.input.height, cfg.input.width, 1)).astype(np.float32),
      'points_px': rng.uniform(0.2 * size, 0.8 * size, (count, LANDMARKS, 2)).astype(np.float32),
      'frame': geometry.Frame(np.ones((count, 2), np.float32), np.zeros((count, 2), np.float32)),
      'spacing_mm': np.full(count, 0.5, np.float32),
      'image_id': [f'{i}' for i in range(count)],
  })


def training_input(cfg: NetworkConfig, count: int = 64) -> tf.data.Dataset:
  """Batches of (images, target heatmaps), as the network of the thesis preset is fed."""
  size_hw = (cfg.input.height, cfg.input.width)

  def render(step, batch):
    found = heatmaps.render(batch['points_px'], size_hw, cfg.heatmap.target_sigma_px)
    return batch['image'], cfg.heatmap.amplitude * found

  batches = data_input.training(
      examples(cfg, count).cache(), count, cfg.augment, cfg.crop, cfg.train.batch_size, seed=0, first_step=0)
  return batches.map(render, num_parallel_calls=2).prefetch(2)


def chain_speed(batches, seconds: float) -> float:
  """Images per second taken from the chain, buffers emptied first."""
  for _ in range(20):
    next(batches)
  count, start = 0, time.perf_counter()
  while time.perf_counter() - start < seconds:
    count += next(batches)[0].shape[0]
  speed = count / (time.perf_counter() - start)
  time.sleep(0.5)  # the buffers fill up again, and then its threads leave the cores to the next
  return speed


def compare(cfg: NetworkConfig) -> None:
  """Part 1: prints images per second of every peer and the ratios."""
  settings = scipy_input.Settings(
      cfg.augment.rotate_deg, cfg.augment.scale, cfg.augment.shift, cfg.augment.elastic_px,
      # A cubic B-spline is as wide as a Gaussian of this deviation.
      smooth_px=cfg.augment.elastic_grid_px / math.sqrt(3),
      sigma_px=cfg.heatmap.target_sigma_px, amplitude=cfg.heatmap.amplitude)
  example = next(iter(examples(cfg, 1).as_numpy_iterator()))
  image, points = example['image'][..., 0], example['points_px']
  batches = iter(training_input(cfg))
  with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context('spawn')) as pool:

    def scipy_speed(make, processes, seconds):
      started = [pool.submit(scipy_input.images_in, seconds, make, seed, image, points, settings)
                 for seed in range(processes)]
      return sum(process.result() for process in started)

    peers = {
        'ceph_tf': lambda: chain_speed(batches, SECONDS.value),
        'scipy': lambda: scipy_speed(scipy_input.by_images, 1, SECONDS.value),
        'scipy, 2 processes': lambda: scipy_speed(scipy_input.by_images, 2, SECONDS.value),
        'scipy, points moved': lambda: scipy_speed(scipy_input.by_points, 1, SECONDS.value),
    }
    scipy_speed(scipy_input.by_points, 2, 0.5)  # starts both processes
    rounds = [{name: measure() for name, measure in peers.items()} for _ in range(ROUNDS.value)]
  print(f'Training input, {cfg.input.height}x{cfg.input.width}, {LANDMARKS} landmarks, elastic + affine + '
        f'heatmaps, {CORES.value} cores; median (lowest..highest) of {ROUNDS.value} rounds')
  for name in peers:
    speeds = [speed[name] for speed in rounds]
    ratios = [speed['ceph_tf'] / speed[name] for speed in rounds]
    print(f'  {name:20s} {statistics.median(speeds):8.1f} images/s ({min(speeds):.1f}..{max(speeds):.1f})   '
          f'ceph_tf is {statistics.median(ratios):5.1f}x ({min(ratios):.1f}..{max(ratios):.1f})')


def measure_waiting(cfg: NetworkConfig) -> None:
  """Part 2: prints the share of an epoch that training waited for its batches."""
  count = STEPS.value * cfg.train.batch_size
  with tempfile.TemporaryDirectory() as folder:
    history = train.fit(examples(cfg, count), examples(cfg, 1), LANDMARKS, cfg, 0, pathlib.Path(folder),
                        lambda report, model: None)
  counted = history[1:-1]  # the first epoch traces the step, the last one validates
  step = statistics.median(report.seconds for report in counted) / STEPS.value
  waiting = [100 * report.waiting for report in counted]
  print(f'Training, preset {PRESET.value}, {cfg.input.height}x{cfg.input.width}, batch '
        f'{cfg.train.batch_size}: {step:.3f} s per step, of which waiting for input '
        f'{statistics.median(waiting):.2f} % ({min(waiting):.2f}..{max(waiting):.2f})')


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments {argv[1:]}')
  os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES.value])
  compare(override(Experiment(), presets.PRESETS['thesis']).network)
  if TRAIN.value:
    measure_waiting(override(Experiment(), [
        *presets.PRESETS[PRESET.value], f'train.epochs={EPOCHS.value}', 'train.stop_epochs=0',
        f'train.validate_epochs={EPOCHS.value}']).network)


if __name__ == '__main__':
  app.run(main)
