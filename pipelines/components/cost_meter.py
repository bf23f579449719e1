"""cost_meter: time and memory of several SavedModels, each in turns with the others."""

import itertools
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np
from tqdm import tqdm

from ceph_tf.data import examples as example_files
from pipelines.artifacts import Costs, Examples, ServableModel
from pipelines.dsl import ComponentError, Context, In, Out, component

_IMAGES = 8
_ROUNDS = 3
_TIMEOUT_S = 600


@component
def cost_meter(servables: In[list[ServableModel]], examples: In[Examples], costs: Out[Costs], *,
               split: str, context: Context):
  """Writes `costs.json`: a list in the order of `servables`, of what one image at a time costs.

  Every round asks every model once, in a fresh process: a noisy minute of the machine hits all of them.

  Args:
    servables: what is asked.
    examples: whose first images.
    costs: per model `milliseconds_per_image` (median over rounds and images), `milliseconds_range` (lowest
      and highest median of a round), `peak_memory_mib` (median over rounds, of the whole process).
    split: of the examples.
    context: names the progress bar.

  Raises:
    ComponentError: a process failed.
  """
  records = itertools.islice(example_files.read_records(examples.shards(split)), _IMAGES)
  found = [[] for _ in servables]
  with tempfile.TemporaryDirectory() as folder, tqdm(
      total=_ROUNDS * len(servables), desc=context.node, unit='model', file=sys.stderr,
      dynamic_ncols=True) as bar:
    images = pathlib.Path(folder) / 'images.npz'
    np.savez(images, **{f'{k:06d}': np.frombuffer(record.image_bytes, np.uint8)
                        for k, record in enumerate(records)})
    for _ in range(_ROUNDS):
      for rounds, servable in zip(found, servables, strict=True):
        rounds.append(_ask(servable.saved_model, images))
        bar.update()
  costs.write({'split': split, 'models': [summary(rounds) for rounds in found]})


def summary(rounds: list[dict]) -> dict:
  """Of what `ceph_tf.serving.cost.measure` found in each round."""
  medians = [statistics.median(one['milliseconds']) for one in rounds]
  return {'milliseconds_per_image': statistics.median(x for one in rounds for x in one['milliseconds']),
          'milliseconds_range': [min(medians), max(medians)],
          'peak_memory_mib': statistics.median(one['peak_memory_mib'] for one in rounds)}


def _ask(saved_model: pathlib.Path, images: pathlib.Path) -> dict:
  cost = images.with_name('cost.json')
  command = [sys.executable, '-m', 'ceph_tf.serving.cost', str(saved_model), str(images), str(cost)]
  try:
    done = subprocess.run(command, capture_output=True, encoding='utf-8', errors='replace',
                          timeout=_TIMEOUT_S, check=False)
  except subprocess.TimeoutExpired:
    raise ComponentError(f'{saved_model} did not answer {_IMAGES} images in {_TIMEOUT_S} s') from None
  if done.returncode:
    last = (done.stderr.strip().splitlines() or ['(it said nothing)'])[-1]
    raise ComponentError(f'a fresh process with {saved_model} failed ({done.returncode}): {last}')
  return json.loads(cost.read_text('utf-8'))
