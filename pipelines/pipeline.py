"""An experiment becomes a graph of nodes; readable from top to bottom."""

import pathlib
from collections.abc import Sequence

from ceph_tf import seeds
from ceph_tf.config import ConfigError, Experiment
from ceph_tf.uncertainty import fitted as fitting
from pipelines import judging_graph, pushed_models
from pipelines.components.bulk_inferrer import bulk_inferrer
from pipelines.components.calibrator import calibrator
from pipelines.components.distiller import distiller
from pipelines.components.example_gen import example_gen
from pipelines.components.example_validator import example_validator
from pipelines.components.exporter import calibrated_exporter, exporter
from pipelines.components.importer import importer
from pipelines.components.improvement_analyzer import improvement_analyzer
from pipelines.components.infra_validator import infra_validator
from pipelines.components.pusher import pusher
from pipelines.components.recalibrator import recalibrator
from pipelines.components.rescan_inferrer import rescan_inferrer
from pipelines.components.trainer import trainer
from pipelines.dsl import Node, Output

_RECALIBRATED = '_recalibrated'  # behind the name of a model


def build(experiment: Experiment, destination: str, prefix: str = '') -> list[Node]:
  """The graph of one experiment.

  Args:
    experiment: all of its configuration.
    destination: the folder that blessed models are pushed to; '' to push nothing.
    prefix: before the name of each node, where several experiments are one graph.

  Returns:
    All nodes, in an order in which they can run.

  Raises:
    ConfigError: `stress.volume` cannot be read, or nothing is left to train on: better said now than
      after the training.
  """
  judging_graph.check_volume(experiment)
  if not experiment.data.trained:
    raise ConfigError('data.test_fraction=1: allowed is less than 1, or --saved_model, which trains nothing')
  seed, sampler, title = experiment.seed, experiment.sampler, f'{experiment.name}, preset {experiment.preset}'
  if experiment.train.target_mre_mm:
    title += f', trained to {experiment.train.target_mre_mm:g} mm'
  gen = example_gen(cfg=experiment.data, seed=seed, name=f'{prefix}example_gen')
  examples = gen['examples']
  validator = example_validator(
      examples=examples, cfg=experiment.validate, dataset=experiment.data.dataset,
      split=experiment.evaluate.split, name=f'{prefix}example_validator')
  anomalies = validator['anomalies']

  trainings, models = _networks(experiment, examples, anomalies, prefix)
  fit = _fit(experiment, examples, anomalies, models, prefix) if experiment.data.calibration_images else []
  if fit:
    export = calibrated_exporter(
        models=models, calibration=fit[-1]['fitted'], sampler=sampler, seed=seed,
        precision=experiment.serving_precision, name=f'{prefix}calibrated_exporter')
  else:
    export = exporter(models=models, sampler=sampler, seed=seed, precision=experiment.serving_precision,
                      name=f'{prefix}exporter')
  servable = export['servable']

  infra, inferrer, evaluation = judging_graph.evaluation(
      experiment, examples, anomalies, servable, title, prefix)
  nodes = [gen, validator, *trainings, *fit, export, infra, inferrer, evaluation]
  if destination:
    nodes.append(pusher(
        servable=servable, blessing=evaluation['blessing'], infra=infra['blessing'],
        evaluation=evaluation['evaluation'],
        model_name=pushed_name(experiment), destination=destination,
        name=f'{prefix}pusher'))
  if fit:
    nodes += judging_graph.analysis(experiment, examples, anomalies, servable, infra, inferrer, title, prefix)
  return nodes


def build_imported(experiment: Experiment, saved_model: str) -> list[Node]:
  """The graph that judges a SavedModel on a data set, and trains nothing.

  Args:
    experiment: of it, what concerns the data and how they are judged.
    saved_model: the folder with `saved_model.pb`.

  Returns: as for `build`.

  Raises:
    ConfigError: `stress.volume` cannot be read.
  """
  judging_graph.check_volume(experiment)
  nodes, examples, anomalies, servable = _imported(experiment, saved_model)
  title = pushed_models.title(pathlib.Path(saved_model))
  infra, inferrer, evaluation = judging_graph.evaluation(experiment, examples, anomalies, servable, title, '')
  nodes += [infra, inferrer, evaluation]
  if experiment.data.calibration_images:
    nodes += judging_graph.analysis(experiment, examples, anomalies, servable, infra, inferrer, title, '')
  return nodes


def build_recalibrated(experiment: Experiment, saved_model: str, destination: str) -> list[Node]:
  """The graph that fits a SavedModel anew on calibration films, and judges it before and after.

  Args:
    experiment, saved_model: as for `build_imported`.
    destination: the folder that it is pushed to.

  Returns: as for `build`.

  Raises:
    ConfigError: too few calibration films.
  """
  cfg = experiment.analyze
  needed = fitting.needed_patients(cfg.coverage, cfg.alpha)
  if experiment.data.calibration_images < needed:
    raise ConfigError(
        f'--recalibrate with data.calibration_images={experiment.data.calibration_images}: at least {needed} '
        f'films are needed for analyze.coverage={cfg.coverage:g} and analyze.alpha={cfg.alpha:g}')
  nodes, examples, anomalies, servable = _imported(experiment, saved_model)
  folder = pathlib.Path(saved_model)
  title, name = pushed_models.title(folder), pushed_models.name(folder).removesuffix(_RECALIBRATED)
  before = judging_graph.evaluation(experiment, examples, anomalies, servable, title, 'before/')
  calibration = bulk_inferrer(servable=servable, examples=examples, blessing=before[0]['blessing'],
                              split='calibration', name='bulk_inferrer_calibration')
  again = recalibrator(servable=servable, calibration=calibration['predictions'], examples=examples,
                       anomalies=anomalies, cfg=cfg, truth=experiment.train.truth)
  infra, inferrer, evaluation = judging_graph.evaluation(
      experiment, examples, anomalies, again['recalibrated'], f'{title}, recalibrated', '')
  improvement = improvement_analyzer(
      before=before[1]['predictions'], after=inferrer['predictions'], examples=examples,
      split=experiment.evaluate.split, truth=experiment.train.truth, resamples=experiment.evaluate.bootstrap,
      seed=experiment.seed)
  push = pusher(servable=again['recalibrated'], blessing=evaluation['blessing'], infra=infra['blessing'],
                evaluation=evaluation['evaluation'], model_name=name + _RECALIBRATED, destination=destination)
  return [*nodes, *before, calibration, again, infra, inferrer, evaluation, improvement, push]


def _imported(experiment: Experiment, saved_model: str) -> tuple[list[Node], Output, Output, Output]:
  """Nodes of examples, what is wrong with them, and a SavedModel for them; then these three."""
  gen = example_gen(cfg=experiment.data, seed=experiment.seed)
  examples = gen['examples']
  validator = example_validator(examples=examples, cfg=experiment.validate, dataset=experiment.data.dataset,
                                split=experiment.evaluate.split, trained=experiment.data.trained)
  imported = importer(examples=examples, saved_model=saved_model, data=experiment.data, seed=experiment.seed)
  return [gen, validator, imported], examples, validator['anomalies'], imported['servable']


def pushed_name(experiment: Experiment) -> str:
  """The folder of its versions; presets do not replace each other, or a smoke test would a good model."""
  preset = [] if experiment.preset == 'default' else [experiment.preset]
  return '_'.join([experiment.name, experiment.data.dataset, *preset])


def _networks(experiment: Experiment, examples: Output, anomalies: Output,
              prefix: str) -> tuple[list[Node], list[Output]]:
  """All trainings, and the networks that answer, those of a second look behind those of the first."""
  # Member 0 of an ensemble is the baseline of the same seed, and so comes from the cache; its members are
  # the teachers of a student; the networks of a first look are those of the same experiment without a
  # second one.
  members = experiment.sampler.num_samples if experiment.sampler.kind == 'members' else 1
  looks = {'trainer': (experiment.network, 'member'), 'refine_trainer': (experiment.refiner, 'refiner')}
  nodes, models = [], []
  for look, (cfg, of) in looks.items():
    if not cfg:
      continue
    common = {'examples': examples, 'anomalies': anomalies, 'cfg': cfg}
    teachers = [trainer(**common, seed=seeds.derive(experiment.seed, of, k),
                        name=f'{prefix}{look}_teacher_{k}') for k in range(experiment.teachers)]
    taught = [teacher['model'] for teacher in teachers]
    answering = []
    for k in range(members):
      name = f'{prefix}{look}_{k}' if members > 1 else f'{prefix}{look}'
      answering.append(
          distiller(**common, teachers=taught, seed=seeds.derive(experiment.seed, f'{of} student', k),
                    name=name)
          if taught else trainer(**common, seed=seeds.derive(experiment.seed, of, k), name=name))
    nodes += [*teachers, *answering]
    models += [node['model'] for node in answering]
  return nodes, models


def _fit(experiment: Experiment, examples: Output, anomalies: Output, models: Sequence[Output],
         prefix: str) -> list[Node]:
  """What regions, bins and alarms are fitted from; the last node is the `calibrator`."""
  raw = exporter(models=list(models), sampler=experiment.sampler, seed=experiment.seed,
                 precision=experiment.serving_precision, name=f'{prefix}exporter')
  infra = infra_validator(servable=raw['servable'], examples=examples, name=f'{prefix}infra_validator_raw')
  asked = {'servable': raw['servable'], 'examples': examples, 'blessing': infra['blessing']}
  # What is ordinary is learned from all that the networks were trained on, and an alarm is raised beyond
  # what calibration films look like under changes that are more common.
  cfg, size = experiment.analyze, (experiment.refiner or experiment.network).input
  train, calibration = (
      rescan_inferrer(**asked, split=split, signature=signature, size=size, augment=experiment.augment,
                      strength=strength, copies=cfg.rescans, seed=experiment.seed,
                      name=f'{prefix}rescan_inferrer_{split}')
      for split, signature, strength in (
          ('train', 'features', 1.0), ('calibration', 'serving_default', cfg.rescan_strength)))
  # Of validation images the heatmaps count, of which temperatures are fitted.
  validation = bulk_inferrer(**asked, split='validation', signature='mean_heatmap',
                             name=f'{prefix}bulk_inferrer_raw_validation')
  fitted = calibrator(
      train=train['predictions'], validation=validation['predictions'],
      calibration=calibration['predictions'], examples=examples, anomalies=anomalies, cfg=cfg,
      truth=experiment.train.truth, name=f'{prefix}calibrator')
  return [raw, infra, train, calibration, validation, fitted]
