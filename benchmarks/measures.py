"""Milliseconds per image of each measure of uncertainty, beside a forward pass of the network.

  python -m benchmarks.measures

The default networks with weights as drawn, 19 landmarks, a batch of random images, for one network
(baseline), 15 dropout passes and an ensemble of 5: `forward pass` is one network alone, `samples` are
all of the sampler's passes and their reduction to `Samples`; each measure takes given `Samples`;
`OOD` is an encoder pass and the distance of its features. Each is a `tf.function` of its own, and all
are measured in turns. The last column is the time over that of one forward pass in the same round.
"""

import functools
import statistics
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import app, flags

from ceph_tf import seeds
from ceph_tf.models import features, folding, unet
from ceph_tf.uncertainty import measures, ood, samplers
from pipelines import experiments

LANDMARKS = 19
BATCH = flags.DEFINE_integer('batch', 4, 'Images at once.', lower_bound=1)
ROUNDS = flags.DEFINE_integer('rounds', 7, 'Rounds; each measures everything once.', lower_bound=1)
REPEATS = flags.DEFINE_integer('repeats', 50, 'Calls of a measure in a round.', lower_bound=1)


def compiled(function: Callable, *arguments) -> Callable:
  """The function as a graph, traced and run once; takes nothing and waits for the answer."""
  graph = tf.function(function)

  def call():
    return [value.numpy() for value in tf.nest.flatten(graph(*arguments))]

  call()
  return call


def contestants(model: str) -> dict[str, tuple[Callable, int]]:
  """Name -> (what to call, how often in a round) for a model of `pipelines.experiments`."""
  experiment = experiments.resolve(model, 'default', [], '', '', 0)
  cfg, sampler = experiment.network, experiment.sampler
  shape = (cfg.model, cfg.input, LANDMARKS, cfg.train.precision)
  networks = [folding.fold(unet.build(*shape, seed=k), *shape)  # as exported
              for k in range(sampler.num_samples if sampler.kind == 'members' else 1)]
  size = (cfg.input.height, cfg.input.width)
  images = tf.random.stateless_normal([BATCH.value, *size, 1], seeds.tensor(0, 'images'))
  draw = functools.partial(samplers.draw, networks, cfg=cfg, sampler=sampler, seed=seeds.tensor(0, 'masks'))

  def forward(batch):
    return unet.run(networks[0], [batch], unet.no_noise(cfg.model), training=False)

  encoder = features.encoder(networks[0], cfg.model)
  width = features.width(encoder)
  density = ood.fit(seeds.rng(0, 'features').normal(size=(150, width)))

  def strangeness(batch):
    return ood.score(features.encode(encoder, batch, cfg.model)[0], density)

  samples = tf.function(draw)(images)
  found = {'forward pass': (compiled(forward, images), 1), 'samples': (compiled(draw, images), 1)}
  found |= {name: (compiled(measure, samples), REPEATS.value)
            for name, measure in measures.MEASURES.items()}
  return found | {'OOD': (compiled(strangeness, images), 1)}


def milliseconds(call: Callable, repeats: int) -> float:
  """Per image."""
  start = time.perf_counter()
  for _ in range(repeats):
    call()
  return 1000 * (time.perf_counter() - start) / repeats / BATCH.value


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments {argv[1:]}')
  models = {model: contestants(model) for model in experiments.COMPARED}
  rounds = [{(model, name): milliseconds(*one) for model, group in models.items()
             for name, one in group.items()} for _ in range(ROUNDS.value)]
  print(f'Milliseconds per image, batch {BATCH.value}, {LANDMARKS} landmarks; '
        f'median (lowest..highest) of {ROUNDS.value} rounds')
  for model, group in models.items():
    print(f'{model}:')
    for name in group:
      times = [times[model, name] for times in rounds]
      ratio = np.median([times[model, name] / times[model, 'forward pass'] for times in rounds])
      print(f'  {name:24s} {statistics.median(times):9.3f} ms ({min(times):.3f}..{max(times):.3f})'
            f'   {ratio:9.4f} forward passes')


if __name__ == '__main__':
  app.run(main)
