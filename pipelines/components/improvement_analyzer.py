"""improvement_analyzer: what a recalibrated model does better than the model before, on films of neither."""

import numpy as np

from ceph_tf.data import examples as tfrecords
from ceph_tf.evaluation import evaluate, tradeoff
from pipelines.artifacts import Examples, Improvement, Predictions
from pipelines.dsl import In, Out, component


@component
def improvement_analyzer(before: In[Predictions], after: In[Predictions], examples: In[Examples],
                         improvement: Out[Improvement], *, split: str, truth: str, resamples: int, seed: int):
  """Writes `improvement.json`.

  Args:
    before, after: predictions of the same images by both models.
    examples: with their truths.
    improvement: `split`, `truth`, `images`; `difference`, see `ceph_tf.evaluation.paired`: what the model has
      more than the one before, null where it is unknown; `moved_mm`: landmark -> [x, y], the mean way of its
      points, null where no spacing is known.
    split: of the examples.
    truth: by which both are judged.
    resamples, seed: of the bootstrap.
  """
  cases = [evaluate.align(one.read(), tfrecords.read_records(examples.shards(split)))
           for one in (before, after)]
  first, second = cases
  truth = evaluate.primary_truth(first, truth)
  difference, = tradeoff.differences(cases, truth, seed, resamples)
  way_mm = (second.points_px - first.points_px) * first.spacing_mm[:, None, None]
  known = np.isfinite(first.spacing_mm)
  moved = way_mm[known].mean(0) if known.any() else np.full(way_mm.shape[1:], np.nan)
  improvement.write(evaluate.plain({
      'split': first.split, 'truth': truth, 'images': len(first.image_id), 'difference': difference,
      'moved_mm': dict(zip(first.landmark_names, moved.tolist(), strict=True))}))
