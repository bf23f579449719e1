"""stress_inferrer: the SavedModel predicts X-rays that were changed on purpose."""

import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from ceph_tf.config import ConfigError, StressConfig
from ceph_tf.data import examples as tfrecords
from ceph_tf.data import perturb, stress_films
from ceph_tf.data.stress_films import Film
from pipelines import digests, inference
from pipelines.artifacts import Examples, InfraBlessing, Predictions, ServableModel
from pipelines.dsl import Context, In, Out, component

_BATCH = 8


def _volume_digest(cfg: StressConfig, series: str, **_) -> str:
  """The CT read is part of the cache key: name, size and time of change of its files."""
  path = pathlib.Path(cfg.volume or '.')
  if series != 'rotation' or not cfg.volume:
    return ''
  if path.is_dir():
    return digests.folder_digest(path)
  if not path.exists():
    raise ConfigError(f'stress.volume={cfg.volume!r}: there is no such file or folder')
  return f'{path.stat().st_size} {path.stat().st_mtime_ns}'


@component(resumable=True, external=_volume_digest)
def stress_inferrer(servable: In[ServableModel], examples: In[Examples], blessing: In[InfraBlessing],
                    predictions: Out[Predictions], *, cfg: StressConfig, series: str, split: str,
                    truth: str, dataset: str, seed: int, context: Context):
  """Writes `predictions.npz`: its usual arrays, and the fields of each `Film` but its image.

  Nothing is stored of the images: they are made anew from X-ray, level and seed. Changed films that the
  model refuses, such as a corner of an X-ray that is black all over, are left out.

  Args:
    servable: what is asked, by its signature `predict_image`.
    examples: whose X-rays are changed.
    blessing: of the servable.
    predictions: one row per film, with the fields of `Film`.
    cfg: how many films, how strong.
    series: 'elastic', 'condition', 'scanner' or 'rotation'.
    split: of the examples.
    truth: which truth moves along.
    dataset: phantoms are a condition only where the X-rays are real.
    seed: of all distortions.
    context: names the progress bar.

  Raises:
    ComponentError: the model was not blessed.
    DataError: the CT cannot be read.
  """
  inference.check_blessed(blessing)
  predict = tf.saved_model.load(str(servable.saved_model)).signatures['predict_image']
  schema = tfrecords.read_schema(examples.path)
  changed, total = _films(series, examples, schema, cfg, split, truth, dataset, seed)

  def answer(batch):
    found = predict(image=tf.constant(np.stack([film.image for film in batch])[..., None]),
                    spacing_mm=tf.fill([len(batch)], np.nan))
    answered = found['status'].numpy() == b'ok'
    told = {field: np.array([getattr(film, field) for film in batch])[answered]
            for field in Film._fields if field != 'image'}
    found = {name: tf.boolean_mask(value, answered) for name, value in found.items()}
    return {**told, **inference.named(found, told['image_id'])}

  found, _ = inference.in_parts(predictions.path, _batches(changed), answer, total, context.node)
  predictions.write(found)


def _films(series, examples, schema, cfg, split, truth, dataset, seed) -> tuple[Iterator[Film], int]:
  """The films of a series and their number."""
  if series == 'rotation':
    films = stress_films.rotation_films(cfg, len(schema['landmark_names']), seed)
    return films, len(stress_films.angles(cfg))
  total = schema['counts'][split]
  count = min(cfg.images, total)
  records = stress_films.chosen(tfrecords.read_records(examples.shards(split)), count, total)
  if series == 'elastic':
    return stress_films.elastic_films(records, cfg, truth, seed), count * cfg.copies
  if series == 'scanner':
    films = stress_films.scanner_films(records, cfg, truth, seed)
    return films, count * (1 + len(perturb.SCANNERS))
  kinds = 1 + len(perturb.CONDITIONS) + (dataset != 'phantom')
  return stress_films.condition_films(records, cfg, truth, seed, dataset), count * kinds


def _batches(changed: Iterator[Film]) -> Iterator[list[Film]]:
  """Consecutive films of one size, a few at a time."""
  batch: list[Film] = []
  for film in changed:
    if batch and (len(batch) == _BATCH or film.image.shape != batch[0].image.shape):
      yield batch
      batch = []
    batch.append(film)
  if batch:
    yield batch
