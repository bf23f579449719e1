"""bulk_inferrer: the SavedModel, and nothing else, predicts every image of a split."""

import itertools

import numpy as np

from ceph_tf.data import examples as example_files
from pipelines import inference
from pipelines.artifacts import Examples, InfraBlessing, Predictions, ServableModel
from pipelines.dsl import Context, In, Out, component

_BATCH = 4
_FIELDS = ('image_id', 'spacing_mm', 'height_px', 'width_px')


@component(resumable=True)
def bulk_inferrer(servable: In[ServableModel], examples: In[Examples], blessing: In[InfraBlessing],
                  predictions: Out[Predictions], *, split: str, context: Context,
                  signature: str = 'serving_default'):
  """Writes `predictions.npz`; see `artifacts.Predictions` for its arrays.

  Args:
    servable: what is asked, by its signature `signature`, which takes image files.
    examples: whose images.
    blessing: of the servable.
    predictions: the answers.
    split: of the examples.
    context: names the progress bar.

  Raises:
    ComponentError: infra_validator did not bless the model.
  """
  inference.check_blessed(blessing)
  ask = inference.signature(servable, signature)
  records = example_files.read_records(examples.shards(split))

  def answer(batch):
    told = {field: np.array([getattr(record, field) for record in batch]) for field in _FIELDS}
    answers = ask([record.image_bytes for record in batch], told['spacing_mm'])
    return {**told, **inference.named(answers, told['image_id'])}

  total = example_files.read_schema(examples.path)['counts'][split]
  batches = iter(lambda: list(itertools.islice(records, _BATCH)), [])
  found, milliseconds = inference.in_parts(predictions.path, batches, answer, total, context.node)
  predictions.write({**found, 'milliseconds_per_image': np.float32(milliseconds)})
