"""bulk_inferrer: the SavedModel, and nothing else, predicts every image of a split."""

import itertools
import sys
import time

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ceph_tf.data import examples as example_files
from ceph_tf.uncertainty.measures import MEASURES
from pipelines.artifacts import Examples, InfraBlessing, Predictions, ServableModel
from pipelines.dsl import ComponentError, In, Out, component

_BATCH = 4


@component
def bulk_inferrer(servable: In[ServableModel], examples: In[Examples], blessing: In[InfraBlessing],
                  predictions: Out[Predictions], *, split: str):
  """Writes `predictions.npz`; see `artifacts.Predictions` for its arrays.

  Raises:
    ComponentError: infra_validator did not bless the model.
  """
  verdict = blessing.read()
  if not verdict['blessed']:
    raise ComponentError(f'the SavedModel is not fit to serve: {"; ".join(verdict["reasons"])}')
  serve = tf.saved_model.load(str(servable.saved_model)).signatures['serving_default']
  counts = example_files.read_schema(examples.path)['counts']
  columns = {name: [] for name in ('image_id', 'spacing_mm', 'height_px', 'width_px')}
  answers: list[dict[str, np.ndarray]] = []
  seconds = []
  records = example_files.read_records(examples.shards(split))
  with tqdm(total=counts[split], desc='bulk_inferrer', unit='image', file=sys.stderr,
            dynamic_ncols=True, mininterval=0.1 if sys.stderr.isatty() else 10) as bar:
    while batch := list(itertools.islice(records, _BATCH)):
      start = time.monotonic()
      answer = serve(image_bytes=tf.constant([record.image_bytes for record in batch]))
      answers.append({name: value.numpy() for name, value in answer.items()})
      seconds.append((time.monotonic() - start) / len(batch))
      for name, column in columns.items():
        column.extend(getattr(record, name) for record in batch)
      bar.update(len(batch))
  outputs = named(answers)
  predictions.write({name: np.asarray(column) for name, column in columns.items()} | outputs
                    | {'milliseconds_per_image': np.float32(1000 * np.median(seconds))})


def named(answers: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
  """The answers for batches in one, measures under `measure/`, as `Predictions` keeps them."""
  return {f'measure/{name}' if name in MEASURES else name: np.concatenate([a[name] for a in answers])
          for name in answers[0]}
