"""heatmap_inferrer: the mean heatmaps of a split, as what their highest-density regions need."""

import itertools
import sys

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ceph_tf.data import examples as tfrecords
from ceph_tf.data.records import truth_points
from ceph_tf.uncertainty import highest_density
from pipelines.artifacts import Examples, HeatmapScores, InfraBlessing, ServableModel
from pipelines.dsl import ComponentError, Context, In, Out, component

_BATCH = 4


@component
def heatmap_inferrer(servable: In[ServableModel], examples: In[Examples], blessing: In[InfraBlessing],
                     scores: Out[HeatmapScores], *, split: str, truth: str, context: Context):
  """Writes `scores.npz`; a heatmap is forgotten as soon as it was measured.

  Args:
    servable: what is asked, by its signature `mean_heatmap`.
    examples: with the truths.
    blessing: of the servable.
    scores: `image_id` [N]; `truth_score` [N, L], mass of the pixels denser than the truth's, NaN where
      it is missing; `area_mm2` [N, L, K], of the regions of mass `highest_density.LEVELS`, NaN
      without a spacing.
    split: of the examples.
    truth: the truth the network was trained on.
    context: names the progress bar.

  Raises:
    ComponentError: the model was not blessed.
  """
  verdict = blessing.read()
  if not verdict['blessed']:
    raise ComponentError(f'the SavedModel is not fit to serve: {"; ".join(verdict["reasons"])}')
  ask = tf.saved_model.load(str(servable.saved_model)).signatures['mean_heatmap']
  counts = tfrecords.read_schema(examples.path)['counts']
  records = tfrecords.read_records(examples.shards(split))
  image_ids, truth_scores, areas = [], [], []
  with tqdm(total=counts[split], desc=context.node, unit='image', file=sys.stderr, dynamic_ncols=True,
            mininterval=0.1 if sys.stderr.isatty() else 10) as bar:
    while batch := list(itertools.islice(records, _BATCH)):
      answer = ask(image_bytes=tf.constant([record.image_bytes for record in batch]))
      density = np.moveaxis(answer['density'].numpy(), -1, 1)  # [B, L, h, w]
      scale, offset = answer['scale'].numpy()[:, None], answer['offset'].numpy()[:, None]
      truths = np.stack([truth_points(record.points_px, truth) for record in batch])
      truth_scores.append(highest_density.truth_score(density, truths * scale + offset))
      spacing = np.array([record.spacing_mm for record in batch])
      pixel_mm2 = spacing**2 / scale[:, 0].prod(-1)
      areas.append((highest_density.sizes(density) * pixel_mm2[:, None, None]).astype(np.float32))
      image_ids.extend(record.image_id for record in batch)
      bar.update(len(batch))
  np.savez_compressed(scores.path / 'scores.npz', image_id=np.array(image_ids),
                      truth_score=np.concatenate(truth_scores), area_mm2=np.concatenate(areas))
