"""heatmap_inferrer: the mean heatmaps of a split, as what their highest-density regions need."""

import itertools

import numpy as np
import tensorflow as tf

from ceph_tf.data import examples as tfrecords
from ceph_tf.data.records import truth_points
from ceph_tf.uncertainty import highest_density, temperature
from pipelines import inference
from pipelines.artifacts import Examples, HeatmapScores, InfraBlessing, ServableModel
from pipelines.dsl import Context, In, Out, component

_BATCH = 4


@component(resumable=True)
def heatmap_inferrer(servable: In[ServableModel], examples: In[Examples], blessing: In[InfraBlessing],
                     scores: Out[HeatmapScores], *, split: str, truth: str, context: Context):
  """Writes `scores.npz`; a heatmap is forgotten as soon as it was measured.

  Args:
    servable: what is asked, by its signature `mean_heatmap`.
    examples: with the truths.
    blessing: of the servable.
    scores: `image_id` [N]; `truth_score` [N, L], mass of the pixels denser than the truth's, NaN where
      it is missing; `area_mm2` [N, L, K], of the regions of mass `highest_density.LEVELS`, NaN
      without a spacing; `log_density` [N, L], at the truth, nats per heatmap pixel, NaN where it is
      missing or outside; `pixel_mm2` [N]. Of a servable that tempers its heatmaps also
      `temperature` [N, L], and as they were before, `truth_score_before`, `log_density_before`.
    split: of the examples.
    truth: the truth the network was trained on, or that it is to be judged by.
    context: names the progress bar.

  Raises:
    ComponentError: the model was not blessed.
  """
  inference.check_blessed(blessing)
  ask = tf.saved_model.load(str(servable.saved_model)).signatures['mean_heatmap']
  records = tfrecords.read_records(examples.shards(split))

  def answer(batch):
    found = ask(image_bytes=tf.constant([record.image_bytes for record in batch]))
    found = inference.named(found, [record.image_id for record in batch])
    density = np.moveaxis(found['density'], -1, 1)  # [B, L, h, w]
    scale, offset = found['scale'][:, None], found['offset'][:, None]
    truths = np.stack([truth_points(record.points_px, truth) for record in batch])
    truths_px = (truths - found.get('moved_px', 0)) * scale + offset  # heatmaps stay where they were
    pixel_mm2 = np.array([record.spacing_mm for record in batch])**2 / scale[:, 0].prod(-1)
    kept = {'image_id': np.array([record.image_id for record in batch]), 'pixel_mm2': pixel_mm2,
            **_at_truth(density, truths_px),
            'area_mm2': (highest_density.sizes(density) * pixel_mm2[:, None, None]).astype(np.float32)}
    if 'temperature' in found:
      before = temperature.tempered(found['density'], 1 / found['temperature'][:, None, None])
      before = _at_truth(np.moveaxis(before.numpy(), -1, 1), truths_px)
      kept |= {'temperature': found['temperature'],
               **{f'{name}_before': value for name, value in before.items()}}
    return kept

  total = tfrecords.read_schema(examples.path)['counts'][split]
  batches = iter(lambda: list(itertools.islice(records, _BATCH)), [])
  found, _ = inference.in_parts(scores.path, batches, answer, total, context.node)
  np.savez_compressed(scores.path / 'scores.npz', **found)


def _at_truth(density: np.ndarray, truths_px: np.ndarray) -> dict[str, np.ndarray]:
  return {'truth_score': highest_density.truth_score(density, truths_px),
          'log_density': temperature.log_at_truth(density, truths_px)}
