"""Predictions, what is kept of heatmaps, and truths of one split, brought together."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ceph_tf.data import examples as tfrecords
from ceph_tf.data.records import DataError, Record, truth_points
from ceph_tf.data.validate import leak_free_ids
from ceph_tf.evaluation import evaluate
from pipelines.artifacts import Examples, HeatmapScores, Predictions

_TEMPERING = ('temperature', 'pixel_mm2', 'truth_score', 'log_density', 'truth_score_before',
              'log_density_before')


def with_heatmaps(predictions: Predictions, heatmaps: HeatmapScores, examples: Examples,
                  split: str) -> evaluate.Cases:
  """The images of `split` with their truths, predictions and what is kept of their heatmaps.

  Raises:
    DataError: predictions, heatmaps and examples are not of the same images.
  """
  records = tfrecords.read_records(tfrecords.paths(examples.path, split))
  cases, scores = evaluate.align(predictions.read(), records), heatmaps.read()
  if scores['image_id'].tolist() != list(cases.image_id):
    raise DataError(f'heatmaps and predictions of {split} are not of the same images')
  tempering = {name: scores[name] for name in _TEMPERING if name in scores}
  return dataclasses.replace(
      cases, truth_score=scores['truth_score'], area_mm2=scores['area_mm2'], tempering=tempering)


def some(ids: Sequence[str]) -> str:
  """The first three of names, for an error."""
  return ', '.join(ids[:3]) + (', ...' if len(ids) > 3 else '')


def records(examples: Examples, split: str, ids: Sequence[str]) -> list[Record]:
  """Of the images `ids` of a split."""
  found = {r.image_id: r for r in tfrecords.read_records(examples.shards(split))}
  return [found[i] for i in ids]


def truths(films: Sequence[Record], truth: str) -> np.ndarray:
  """[N, L, 2] of N images, source pixels."""
  return np.stack([truth_points(r.points_px, truth) for r in films])


def split_of(examples: Examples, splits: Sequence[str], judged: str = '') -> dict[str, str]:
  """Image id -> split, of the images in `splits` but for the split judged."""
  return {record.image_id: split for split in splits if split in examples.splits() and split != judged
          for record in tfrecords.read_records(examples.shards(split))}


def unseen(ids: Sequence[str], duplicates: list, examples: Examples, splits: Sequence[str]) -> np.ndarray:
  """Which images [N] repeat no film of `splits`, and none before them."""
  return np.isin(ids, list(leak_free_ids(ids, duplicates, split_of(examples, splits))))
