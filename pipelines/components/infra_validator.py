"""infra_validator: does the SavedModel run outside the code that wrote it?"""

import itertools
import pathlib
import subprocess

import numpy as np
import tensorflow as tf

from ceph_tf.data import examples as example_files
from pipelines import fresh_process
from pipelines.artifacts import Examples, InfraBlessing, ServableModel
from pipelines.dsl import In, Out, component

_IMAGES = 3
_TOLERANCE_PX = 0.05  # of two runtimes that order their float sums differently


@component
def infra_validator(servable: In[ServableModel], examples: In[Examples], blessing: Out[InfraBlessing]):
  """Answers a few images in a fresh process and compares with this one.

  Writes `infra_blessing.json`: `blessed`, `reasons`, `max_difference_px`. A model
  that does not run is no error of the pipeline: it is not blessed, and not pushed.

  Raises:
    ComponentError: the fresh process was killed.
  """
  split = examples.splits()[0]
  records = itertools.islice(example_files.read_records(examples.shards(split)), _IMAGES)
  image_bytes = [record.image_bytes for record in records]
  reasons, difference = [], None
  try:
    outside = fresh_process.ask('ceph_tf.serving.outside', servable.saved_model, image_bytes, _read)
    serve = tf.saved_model.load(str(servable.saved_model)).signatures['serving_default']
    answer = serve(image_bytes=tf.constant(image_bytes), spacing_mm=tf.fill([len(image_bytes)], np.nan))
    inside = {name: value.numpy() for name, value in answer.items()}
    reasons = compare(inside, outside)
    difference = float(np.abs(inside['points_px'] - outside['points_px']).max())
  except subprocess.SubprocessError as error:
    reasons = [str(error)]
  blessing.write({'blessed': not reasons, 'reasons': reasons, 'max_difference_px': difference})


def compare(inside: dict[str, np.ndarray], outside: dict[str, np.ndarray]) -> list[str]:
  """What speaks against a model whose answers in two runtimes are these."""
  if inside.keys() != outside.keys():
    return [f'outputs differ: {sorted(inside)} here, {sorted(outside)} outside']
  reasons = [f'image {number} was refused: {status.decode()}'
             for number, status in enumerate(outside['status']) if status != b'ok']
  # Without a spacing there are no mm; a landmark without calibration images has no region.
  reasons += [f'output {name} holds values that are not finite' for name, value in outside.items()
              if not name.startswith('region_') and not name.endswith(('_mm', '_mm2', 'status'))
              and not np.isfinite(value).all()]
  gap = np.abs(inside['points_px'] - outside['points_px']).max()
  if not gap <= _TOLERANCE_PX:
    reasons.append(f'landmarks differ by {gap:.3g} px between two runtimes; allowed {_TOLERANCE_PX}')
  return reasons


def _read(answers: pathlib.Path) -> dict[str, np.ndarray]:
  with np.load(answers, allow_pickle=False) as arrays:
    return dict(arrays)
