"""rescan_inferrer: the SavedModel sees X-rays as they are and as another scanner might show them."""

import numpy as np

from ceph_tf import seeds
from ceph_tf.config import AugmentConfig, InputConfig
from ceph_tf.data import examples as example_files
from ceph_tf.data import rescan
from pipelines import inference
from pipelines.artifacts import Examples, InfraBlessing, Predictions, ServableModel
from pipelines.dsl import Context, In, Out, component


@component(resumable=True)
def rescan_inferrer(servable: In[ServableModel], examples: In[Examples], blessing: In[InfraBlessing],
                    predictions: Out[Predictions], *, split: str, size: InputConfig, augment: AugmentConfig,
                    strength: float, copies: int, seed: int, context: Context, signature: str):
  """Writes `image_id` and all answers to `predictions.npz`, N (1 + copies) rows: each image, then its copies.

  Args:
    servable: what is asked, by its signature `signature`, which takes image files.
    examples: whose images.
    blessing: of the servable.
    predictions: the answers.
    split: of the examples.
    size: of the images that the model sees.
    augment: the changes that its networks were trained on.
    strength: the share of them that copies show.
    copies: of each image.
    seed: of the copies.
    context: names the progress bar.
    signature: of the servable; one that also takes a spacing is told none.

  Raises:
    ComponentError: infra_validator did not bless the model.
  """
  inference.check_blessed(blessing)
  ask = inference.signature(servable, signature)
  cfg = rescan.weakened(augment, strength)

  def answer(batch):  # copies are made here, so that a resumed run makes none of what is done
    record, ids = batch[0], [record.image_id for record in batch]
    changed = rescan.copies(record.image_bytes, size, cfg, copies,
                            seeds.derive(seed, record.image_id)) if copies else []
    found = ask([record.image_bytes, *changed], [np.nan] * len(batch))
    return {'image_id': np.array(ids), **inference.named(found, ids)}

  batches = ([record] * (1 + copies) for record in example_files.read_records(examples.shards(split)))
  total = (1 + copies) * example_files.read_schema(examples.path)['counts'][split]
  found, _ = inference.in_parts(predictions.path, batches, answer, total, context.node)
  predictions.write(found)
