"""Errors of saved predictions: figures, tables, pictures, a report, a blessing."""

import datetime
from collections.abc import Collection

import numpy as np

from ceph_tf import seeds
from ceph_tf.config import EvaluateConfig
from ceph_tf.data import examples as tfrecords
from ceph_tf.data.records import LANDMARKS, TRAINING_SPLITS
from ceph_tf.data.validate import leak_free_ids
from ceph_tf.evaluation import clinical, evaluate, pictures, report, tensorboard
from pipelines import configuration
from pipelines.artifacts import Anomalies, Evaluation, Examples, ModelBlessing, Predictions
from pipelines.cases import split_of
from pipelines.dsl import Context, In, Out, component


@component
def evaluator(
    predictions: In[Predictions],
    examples: In[Examples],
    anomalies: In[Anomalies],
    evaluation: Out[Evaluation],
    blessing: Out[ModelBlessing],
    *,
    cfg: EvaluateConfig,
    truth: str,
    title: str,
    seed: int,
    context: Context,
):
  """Evaluates the predictions of `cfg.split` against every truth the examples have.

  Args:
    predictions: of all images of `cfg.split`.
    examples: with the truths.
    anomalies: names the films that occur more than once.
    evaluation: `evaluation.json` (see `ceph_tf.evaluation.evaluate`),
      `per_landmark.csv`, `report.html`, `figures/*.png`, `logs/` for TensorBoard.
    blessing: `blessing.json`: `blessed`, `reasons`.
    cfg: split, number of resamples and overlays, thresholds of the blessing.
    truth: the truth the network was trained on, or that it is to be judged by.
    title: model and preset, for people.
    seed: of the bootstrap.
    context: tells the configuration shown in the report.

  Raises:
    DataError: predictions and examples do not fit together, or there are none.
  """
  shards = tfrecords.paths(examples.path, cfg.split)
  cases = evaluate.align(predictions.read(), tfrecords.read_records(shards))
  duplicates = anomalies.read()['duplicates']
  others = split_of(examples, TRAINING_SPLITS, cfg.split) if duplicates else {}
  leak_free = leak_free_ids(cases.image_id, duplicates, others)
  figures = evaluate.evaluate(cases, leak_free, cfg, truth, title, seed)
  figures['clinical'] = _clinical(cases, leak_free, figures, seed)
  verdict = evaluate.bless(figures, cfg)
  truth = figures['truth']
  charts = pictures.charts(cases, truth)
  overlays = pictures.overlays(
      cases, truth, pictures.choose(cases, truth, cfg.overlays), tfrecords.read_records(shards))

  evaluation.write(evaluate.plain(figures))
  blessing.write(evaluate.plain(verdict))
  (evaluation.path / 'per_landmark.csv').write_text(report.per_landmark_csv(figures), 'utf-8')
  (evaluation.path / 'figures').mkdir()
  for picture in charts + overlays:
    (evaluation.path / 'figures' / f'{picture.name}.png').write_bytes(picture.png)
  tensorboard.write_evaluation(evaluation.path / 'logs', figures, charts + overlays)
  date = datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%d %H:%M UTC')
  evaluation.report.write_text(report.render(
      figures, verdict, charts, overlays, configuration.of(context.lineage()), date), 'utf-8')


def _clinical(cases: evaluate.Cases, leak_free: Collection[str], figures: dict,
              seed: int) -> dict | None:
  """Subset -> `clinical.challenge`, by the mean of the doctors where there are two.

  None where the landmarks are others than the challenge's.
  """
  if cases.landmark_names != LANDMARKS:
    return None
  truth = 'mean' if 'mean' in cases.truths_px else figures['truth']
  found = {}
  for subset in figures['results'][truth]:
    rows = np.isin(cases.image_id, list(cases.image_id if subset == 'official' else leak_free))
    found[subset] = {'truth': truth, **clinical.challenge(
        cases.points_px[rows], cases.covariance_px2[rows], cases.truths_px[truth][rows],
        cases.spacing_mm[rows], seeds.rng(seed, 'clinical', subset))}
  return found
