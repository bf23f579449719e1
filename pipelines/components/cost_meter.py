"""cost_meter: time and memory of several SavedModels, each in turns with the others."""

import itertools
import json
import pathlib
import statistics
import subprocess
import sys

from tqdm import tqdm

from ceph_tf.data import examples as example_files
from pipelines import fresh_process
from pipelines.artifacts import Costs, Examples, ServableModel
from pipelines.dsl import ComponentError, Context, In, Out, component

_IMAGES = 8
_ROUNDS = 3


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
  image_bytes = [record.image_bytes for record in records]
  found = [[] for _ in servables]
  with tqdm(total=_ROUNDS * len(servables), desc=context.node, unit='model', file=sys.stderr,
            dynamic_ncols=True) as bar:
    for _ in range(_ROUNDS):
      for rounds, servable in zip(found, servables, strict=True):
        rounds.append(_ask(servable.saved_model, image_bytes))
        bar.update()
  costs.write({'split': split, 'models': [summary(rounds) for rounds in found]})


def summary(rounds: list[dict]) -> dict:
  """Of what `ceph_tf.serving.cost.measure` found in each round."""
  medians = [statistics.median(one['milliseconds']) for one in rounds]
  return {'milliseconds_per_image': statistics.median(x for one in rounds for x in one['milliseconds']),
          'milliseconds_range': [min(medians), max(medians)],
          'peak_memory_mib': statistics.median(one['peak_memory_mib'] for one in rounds)}


def _ask(saved_model: pathlib.Path, image_bytes: list[bytes]) -> dict:
  try:
    return fresh_process.ask('ceph_tf.serving.cost', saved_model, image_bytes,
                             lambda cost: json.loads(cost.read_text('utf-8')))
  except subprocess.SubprocessError as error:
    raise ComponentError(f'{saved_model}: {error}') from None
