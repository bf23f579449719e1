"""trainer: examples become one trained network, with its curves in TensorBoard."""

import dataclasses
import json
import math
import sys
from collections.abc import Callable

from tqdm import tqdm

from ceph_tf.config import NetworkConfig
from ceph_tf.data import examples as example_files
from ceph_tf.data import input as data_input
from ceph_tf.evaluation import tensorboard
from ceph_tf.models import train
from ceph_tf.serving import whole_files
from pipelines.artifacts import Anomalies, Examples, TrainedModel
from pipelines.dsl import Context, In, Out, component


@component(resumable=True)
def trainer(examples: In[Examples], anomalies: In[Anomalies], model: Out[TrainedModel], *,
            cfg: NetworkConfig, seed: int, context: Context):
  """Trains one network; killed, it goes on from its last epoch.

  Args:
    examples: splits `train` and `validation` are read.
    anomalies: not read; its existence says that the examples were validated.
    model: `model.weights.h5`, `network.json` (configuration, seed, landmarks),
      `history.json` (a list of `train.EpochReport` as dicts), `logs/`.
    cfg: the network and how to train it.
    seed: of everything random in the training.
    context: names the node in the progress bar.

  Raises:
    ConfigError, DataError: see `train.fit`.
  """
  del anomalies
  learn(examples, model, cfg, seed, context)


def learn(examples: Examples, model: TrainedModel, cfg: NetworkConfig, seed: int, context: Context,
          teach: Callable | None = None) -> None:
  """Fills `model`, as `trainer` says; `teach`: see `train.fit`."""
  if (model.path / 'history.json').exists():  # the last file: a run was killed after all was done
    train.forget(model.path)
    return
  schema = example_files.read_schema(examples.path)
  example_files.check_truth(schema, cfg.train.truth)
  names = schema['landmark_names']
  cfg = cfg.of_landmarks(len(names))
  train_set, validation_set = (
      data_input.encoded([str(path) for path in examples.shards(split)], cfg.input, cfg.train.truth)
      for split in ('train', 'validation'))
  validation_set = data_input.validation(validation_set, cfg.crop)
  board = tensorboard.Board(model.logs, cfg, validation_set, names)
  with _bar(context.node, cfg.train.epochs) as bar:
    def on_epoch(report, network):
      bar.update(report.epoch - bar.n)
      bar.set_postfix_str(_summary(report, bar))
      board.write(report, network)
    history = train.fit(train_set, validation_set, len(names), cfg, seed, model.path, on_epoch, teach)
  board.close(history)
  (model.path / 'network.json').write_text(json.dumps(
      {'cfg': dataclasses.asdict(cfg), 'seed': seed, 'landmark_names': names}, indent=2), 'utf-8')
  whole_files.write(
      model.path / 'history.json', json.dumps([report._asdict() for report in history], indent=2))
  train.forget(model.path)


def _bar(node: str, epochs: int) -> tqdm:
  # A log file gets a line in ten seconds, a terminal ten a second.
  return tqdm(total=epochs, desc=node, unit='epoch', file=sys.stderr, dynamic_ncols=True,
              mininterval=0.1 if sys.stderr.isatty() else 10)


def _summary(report: train.EpochReport, bar: tqdm) -> str:
  """Loss and the last known validation error, which is not measured every epoch."""
  if not math.isnan(report.criterion):
    in_mm = not math.isnan(report.validation_mre_mm)
    bar.last_mre = f'{report.criterion:.2f} {"mm" if in_mm else "px"}'
  return f'loss {report.loss:.3f}, validation MRE {getattr(bar, "last_mre", "-")}'
