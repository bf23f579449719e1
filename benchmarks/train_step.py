"""Seconds per training step of the thesis's U-Net on the CPU, against PyTorch.

  python -m benchmarks.train_step --torch_python=/path/to/python-with-torch

31 M parameters, batch 8, 128x128, heatmap MSE, Adam: forward, backward and update, as
`ceph_tf.models.train` does them, in float32 and mixed bfloat16, in turns with the same
network in PyTorch float32 (`benchmarks.torch_unet`) in both memory layouts.
"""

import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import tensorflow as tf
from absl import app, flags

from ceph_tf import seeds
from ceph_tf.config import Experiment
from ceph_tf.models import train
from ceph_tf.overrides import override
from pipelines.experiments import presets

LANDMARKS = 19
CORES = flags.DEFINE_integer('cores', 2, 'Cores that each of the peers may use.', lower_bound=1)
ROUNDS = flags.DEFINE_integer('rounds', 7, 'Rounds; each measures every peer once.', lower_bound=1)
STEPS = flags.DEFINE_integer('steps', 2, 'Steps of each peer in each round.', lower_bound=1)
TORCH_PYTHON = flags.DEFINE_string('torch_python', sys.executable, 'A Python that has torch.')


class OurTraining:
  """The training step of `ceph_tf.models.train` on one batch of made-up images."""

  def __init__(self, precision: str):
    cfg = override(Experiment(), [*presets.PRESETS['thesis'], f'train.precision={precision}']).network
    self.cfg, self.state = cfg, train.State(cfg, LANDMARKS, num_images=150, seed=0)
    size, batch = (cfg.input.height, cfg.input.width), cfg.train.batch_size
    self.images = tf.random.stateless_normal([batch, *size, 1], seeds.tensor(0, 'images'))
    self.points = tf.random.stateless_uniform([batch, LANDMARKS, 2], seeds.tensor(0, 'points'),
                                              0.2 * size[0], 0.8 * size[0])
    self.parameters = sum(w.shape.num_elements() for w in self.state.network.model.trainable_weights)

  def steps(self, count: int) -> list[float]:
    """Seconds of each of `count` times forward, backward, Adam."""
    seconds = []
    for _ in range(count):
      start = time.perf_counter()
      loss = self.state.train_step(tf.constant(0, tf.int64), {'image': self.images, 'points_px': self.points},
                                   tf.constant(self.cfg.train.learning_rate))
      loss.numpy()
      seconds.append(time.perf_counter() - start)
    return seconds


class TorchTraining:
  """The same with PyTorch, in a process that waits while the others are measured."""

  def __init__(self, ours: OurTraining):
    cfg = ours.cfg
    spec = {'filters': cfg.model.filters, 'convs': cfg.model.convs, 'landmarks': LANDMARKS,
            'height': cfg.input.height, 'width': cfg.input.width, 'batch_size': cfg.train.batch_size,
            'learning_rate': cfg.train.learning_rate, 'cores': CORES.value}
    script = pathlib.Path(__file__).with_name('torch_unet.py')
    self.process = subprocess.Popen([TORCH_PYTHON.value, script, json.dumps(spec)], text=True,
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    hello = self._answer()
    self.version = hello['version']
    if hello['parameters'] != ours.parameters:
      raise ValueError(f'{hello["parameters"]} parameters in PyTorch, {ours.parameters} in TensorFlow')

  def steps(self, layout: str, count: int) -> list[float]:
    self.process.stdin.write(f'{layout} {count}\n')
    self.process.stdin.flush()
    return self._answer()

  def _answer(self):
    line = self.process.stdout.readline()
    if not line:
      raise RuntimeError(f'the PyTorch process ended with code {self.process.wait()}')
    return json.loads(line)

  def close(self):
    self.process.stdin.close()
    self.process.wait()


def require_torch() -> None:
  """Ends the program with advice unless `--torch_python` can import torch."""
  try:
    found = subprocess.run([TORCH_PYTHON.value, '-c', 'import torch'], capture_output=True).returncode == 0
  except OSError as error:
    raise SystemExit(f'--torch_python={TORCH_PYTHON.value}: {error.strerror}') from None
  if not found:
    raise SystemExit(f'--torch_python={TORCH_PYTHON.value} has no torch: pip install torch==2.13.0, best in '
                     'an environment of its own, and name the Python of that one')


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments {argv[1:]}')
  require_torch()
  os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES.value])
  ours = {precision: OurTraining(precision) for precision in ('float32', 'mixed_bfloat16')}
  torch = TorchTraining(ours['float32'])
  peers = {f'ceph_tf {precision}': training.steps for precision, training in ours.items()}
  peers |= {f'PyTorch {torch.version} float32, {layout}': functools.partial(torch.steps, layout)
            for layout in ('contiguous', 'channels_last')}
  for measure in peers.values():
    measure(2)  # tracing, allocation
  rounds = []
  for _ in range(ROUNDS.value):
    rounds.append({})
    for name, measure in peers.items():
      rounds[-1][name] = statistics.median(measure(STEPS.value))
      time.sleep(0.5)  # threads that spin while they wait for work fall asleep
  torch.close()
  report(ours['float32'], rounds)


def report(ours: OurTraining, rounds: list[dict[str, float]]) -> None:
  """Prints the seconds per step of each peer, and the ratios of PyTorch's faster layout to ours."""
  cfg = ours.cfg
  print(f'Training step, {ours.parameters / 1e6:.1f} M parameters, {cfg.input.height}x{cfg.input.width}, '
        f'batch {cfg.train.batch_size}, {CORES.value} cores; '
        f'median (lowest..highest) of {len(rounds)} rounds')
  for name in rounds[0]:
    seconds = [times[name] for times in rounds]
    print(f'  {name:42s} {statistics.median(seconds):7.3f} s ({min(seconds):.3f}..{max(seconds):.3f})')
  peers = [name for name in rounds[0] if name.startswith('PyTorch')]
  fastest = min(peers, key=lambda name: statistics.median(times[name] for times in rounds))
  for name in rounds[0]:
    if name not in peers:
      ratios = [times[fastest] / times[name] for times in rounds]
      print(f'  {fastest} / {name}: {statistics.median(ratios):.2f}x ({min(ratios):.2f}..{max(ratios):.2f})')


if __name__ == '__main__':
  app.run(main)
