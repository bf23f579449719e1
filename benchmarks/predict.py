"""Seconds from the bytes of a full-size X-ray to its landmarks, against the thesis's way in PyTorch.

  python -m benchmarks.predict --torch_python=/path/to/python-with-torch-and-scipy-and-cv2

One JPEG of 1935x2400 pixels, one image at a time, for at least a second. Ours are SavedModels, asked by their
`serving_default` for all that it answers; weights are as drawn, which costs the same as trained
ones. The peer is `benchmarks.torch_predict`: the network of the thesis (31 M parameters), 15 passes one
after the other, scipy. Then where the time of ours goes, and the peak memory for more and more passes.
"""

import dataclasses
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import cv2
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from benchmarks import train_step
from ceph_tf import seeds
from ceph_tf.config import DataConfig, Experiment
from ceph_tf.data.datasets import phantom
from ceph_tf.models import features, folding, unet
from ceph_tf.serving import cost
from ceph_tf.serving.predictor import Predictor
from ceph_tf.uncertainty import fitted as fitting
from ceph_tf.uncertainty import refinement
from pipelines import experiments
from pipelines.experiments import hardware

LANDMARKS, HEIGHT_PX, WIDTH_PX = 19, 2400, 1935
ROUNDS = flags.DEFINE_integer('predict_rounds', 7, 'Rounds; each asks every peer once.', lower_bound=1)
MEMORY = flags.DEFINE_string('memory_of', '', 'Internal: answer once with this SavedModel, print MiB.')
MODELS = {  # name -> model, preset, further settings
    'thesis network, 15 passes, float32': ('mc_dropout', 'thesis', ['sampler.chunk=5']),
    'thesis network, 15 passes, bfloat16':
        ('mc_dropout', 'thesis', ['sampler.chunk=5', 'train.precision=mixed_bfloat16']),
    'baseline, default': ('baseline', 'default', []),
    'mc_dropout, default, 15 passes': ('mc_dropout', 'default', []),
    'ensemble, default, 5 networks': ('ensemble', 'default', []),
    'baseline, precise': ('baseline', 'precise', []),
    'mc_dropout, precise, 15 passes': ('mc_dropout', 'precise', []),
    'plain U-Net at 640x512':  # as finely as the precise preset looks, everywhere
        ('baseline', 'default', ['input.height=640', 'input.width=512', 'model.stem_stride=1']),
}


def jpeg() -> bytes:
  """A computed X-ray of the size of those of ISBI 2015."""
  record = next(phantom.records(DataConfig(phantom_images=60, phantom_size_px=HEIGHT_PX), 0))
  image = cv2.imdecode(np.frombuffer(record.image_bytes, np.uint8), cv2.IMREAD_GRAYSCALE)
  image = cv2.resize(image, (WIDTH_PX, HEIGHT_PX))
  return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def predictor(experiment: Experiment) -> Predictor:
  """With weights as drawn, and something fitted."""
  cfg, sampler = experiment.network, experiment.sampler

  def networks(cfg):
    shape = (cfg.model, cfg.seen, cfg.heatmaps(LANDMARKS), cfg.train.precision)
    return [folding.fold(unet.build(*shape, seed=k), *shape)
            for k in range(sampler.num_samples if sampler.kind == 'members' else 1)]

  first, second = networks(cfg), None
  if experiment.refiner:
    told = experiment.refiner.of_landmarks(LANDMARKS)
    second = refinement.refiner(networks(told), told, cfg)
  width = features.width(features.encoder(first[0], cfg.model))
  rng = seeds.rng(0, 'fitted')
  some = fitting.fit(
      rng.normal(size=(150, width)), rng.normal(size=(20, 1, width)), rng.normal(size=(20, LANDMARKS, 2)),
      np.broadcast_to(np.eye(2), (20, LANDMARKS, 2, 2)), rng.gamma(2, size=(20, 1, LANDMARKS)), 0.9, 5, 0.05)
  return Predictor(first, cfg, sampler, 0, some, second)


def passes_alone(model: Predictor) -> Callable:
  """The networks of a sampler on one network image, and its crops, without reading a heatmap."""
  sampler = model.sampler

  def images(cfg, rows):
    return tf.random.stateless_normal([rows, cfg.seen.height, cfg.seen.width, cfg.model.channels], [0, 0])

  def run(networks, cfg, seen):
    if sampler.kind != 'passes':
      return [tf.reduce_max(unet.run(network, seen, unet.no_noise(cfg.model), training=False))
              for network in networks]
    rows = seen[0].shape[0]
    kept = [tf.tile(k, [sampler.chunk] + [1] * (k.shape.rank - 1)) for k in unet.features(networks[0], seen)]
    noise = [tf.repeat(kind, rows, 0) for kind in unet.draw_noise(model.seed, sampler.num_samples, cfg.model)]
    size = sampler.chunk * rows
    return [tf.reduce_max(networks[0].head([*kept, *(kind[k:k + size] for kind in noise)], training=False))
            for k in range(0, sampler.num_samples * rows, size)]

  looks = [(model.networks, model.cfg, [images(model.cfg, 1)])]
  if model.second:
    cfg = model.second.cfg
    looks.append((model.second.networks, cfg, [images(cfg, LANDMARKS), tf.range(LANDMARKS)[:, None]]))
  graph = tf.function(lambda: [run(*look) for look in looks])
  return lambda: tf.nest.map_structure(lambda value: value.numpy(), graph())


class Ours:
  """A SavedModel and its parts."""

  def __init__(self, folder: pathlib.Path, experiment: Experiment, data: bytes):
    model = predictor(experiment)
    model.export(folder)
    signatures = tf.saved_model.load(str(folder)).signatures
    files = tf.constant([data])
    self.parts = {
        'answer': functools.partial(_ask, signatures['serving_default'], image_bytes=files,
                                    spacing_mm=tf.constant([0.1])),
        'decode and resize': functools.partial(_ask, signatures['preprocess'], image_bytes=files),
        'network': passes_alone(model)}
    for part in self.parts.values():
      part()
      part()

  def seconds(self) -> dict[str, float]:
    return {name: _seconds(part) for name, part in self.parts.items()}


def _ask(signature: Callable, **inputs) -> None:
  for value in signature(**inputs).values():
    value.numpy()


def _seconds(call: Callable) -> float:
  """Of one call, where one follows the other for a second: the first wakes threads up, as the peer's first
  pass does."""
  start, calls = time.perf_counter(), 0
  while (spent := time.perf_counter() - start) < 1.0:
    call()
    calls += 1
  return spent / calls


class Torch:
  """The thesis's way, in a process that waits while the others are measured."""

  def __init__(self, image: pathlib.Path):
    cfg = experiments.resolve('mc_dropout', 'thesis', [], '', '', 0)
    spec = {'filters': cfg.model.filters, 'convs': cfg.model.convs, 'landmarks': LANDMARKS,
            'height': cfg.input.height, 'width': cfg.input.width, 'dropout_rate': cfg.model.dropout_rate,
            'passes': cfg.sampler.num_samples, 'sigma_px': cfg.heatmap.filter_sigma_px,
            'image': str(image), 'cores': train_step.CORES.value}
    script = pathlib.Path(__file__).with_name('torch_predict.py')
    self.process = subprocess.Popen([train_step.TORCH_PYTHON.value, script, json.dumps(spec)], text=True,
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    self.version = self._answer()['version']

  def seconds(self, layout: str) -> float:
    self.process.stdin.write(f'{layout}\n')
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


def measure(torch: Torch, ours: dict[str, Ours]) -> None:
  """Prints seconds and ratios; every peer in turns."""
  layouts = ('contiguous', 'channels_last')
  for layout in layouts:
    torch.seconds(layout)
  rounds = []
  for _ in range(ROUNDS.value):
    times = {(f'PyTorch, {layout}', 'answer'): torch.seconds(layout) for layout in layouts}
    for name, model in ours.items():
      time.sleep(0.5)  # threads that spin while they wait for work fall asleep
      times |= {(name, part): seconds for part, seconds in model.seconds().items()}
    rounds.append(times)

  def row(name, part):
    return [times[name, part] for times in rounds]

  peer = min((f'PyTorch, {layout}' for layout in layouts),
             key=lambda name: statistics.median(row(name, 'answer')))
  print(f'JPEG of {WIDTH_PX}x{HEIGHT_PX} px to the answer, {train_step.CORES.value} cores, one image '
        f'at a time; median (lowest..highest) of {len(rounds)} rounds')
  print(f'  {f"thesis, {peer} {torch.version}":42s} {_span(row(peer, "answer"), 1000, "ms")}')
  for name in ours:
    ratios = [theirs / mine for theirs, mine in zip(row(peer, 'answer'), row(name, 'answer'), strict=True)]
    whole, decode, network = (1000 * statistics.median(row(name, part))
                              for part in ('answer', 'decode and resize', 'network'))
    print(f'  {name:42s} {_span(row(name, "answer"), 1000, "ms")}   {_span(ratios, 1, "x")}\n'
          f'    of which decode and resize {decode:.0f}, network {network:.0f}, '
          f'measures {whole - decode - network:.0f} ms')


def _span(values: list[float], factor: float, unit: str) -> str:
  return (f'{factor * statistics.median(values):7.1f} {unit} '
          f'({factor * min(values):.1f}..{factor * max(values):.1f})')


def peak_memory(folder: pathlib.Path, image: pathlib.Path) -> None:
  """Prints the peak memory of processes that answer once, for more and more passes."""
  print('Peak memory of a process that loads the SavedModel and answers for that JPEG')
  base = experiments.resolve('mc_dropout', 'default', [], '', '', 0)
  for passes in (5, 15, 60):
    sampler = dataclasses.replace(base.sampler, num_samples=passes)
    predictor(dataclasses.replace(base, sampler=sampler)).export(folder / str(passes))
    command = [sys.executable, '-m', 'benchmarks.predict', f'--memory_of={folder / str(passes)}', image]
    found = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
    print(f'  mc_dropout, default, {passes:2d} passes, chunks of {sampler.chunk}: {found[1]} MiB, '
          f'of which TensorFlow and the loaded model {found[0]} MiB')


def answer_once(saved_model: str, image: str) -> None:
  """Prints the MiB of memory before and after (its peak) an answer."""
  signature = tf.saved_model.load(saved_model).signatures['serving_default']
  before = cost.peak_memory_mib()
  _ask(signature, image_bytes=tf.constant([pathlib.Path(image).read_bytes()]), spacing_mm=tf.constant([0.1]))
  print(int(before), int(cost.peak_memory_mib()))


def main(argv):
  if MEMORY.value:
    return answer_once(MEMORY.value, argv[1])
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments {argv[1:]}')
  train_step.require_torch()
  logging.set_verbosity(logging.WARNING)  # of each export
  os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:train_step.CORES.value])
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    image = folder / 'film.jpg'
    image.write_bytes(jpeg())
    ours = {
        name: Ours(folder / str(k), experiments.resolve(model, preset, fields, '', '', 0), image.read_bytes())
        for k, (name, (model, preset, fields)) in enumerate(MODELS.items())
        if 'train.precision=mixed_bfloat16' not in fields or hardware.precision() != 'float32'}  # emulated
    torch = Torch(image)
    measure(torch, ours)
    torch.close()
    peak_memory(folder / 'memory', image)


if __name__ == '__main__':
  app.run(main)
