"""Several experiments become one graph, which compares their models."""

import dataclasses
import itertools
from collections.abc import Sequence

from ceph_tf.config import ConfigError, Experiment
from pipelines.components.comparer import comparer
from pipelines.components.cost_meter import cost_meter
from pipelines.components.distiller import distiller
from pipelines.components.tradeoff_analyzer import tradeoff_analyzer
from pipelines.components.trainer import trainer
from pipelines.dsl import Node
from pipelines.pipeline import build


def build_all(experiments: Sequence[Experiment], destination: str) -> list[Node]:
  """The graph of several experiments and their comparison with the thesis, each also under-trained.

  Args:
    experiments: of different names, otherwise alike.
    destination: as for `build`.

  Raises:
    ConfigError: see `_build_each`.
  """
  nodes, found = _build_each(experiments, destination)
  early = [build(_under_trained(experiment), '', f'{experiment.name}_under/') for experiment in experiments]
  compare = comparer(
      evaluations=found['evaluator'], analyses=found['uncertainty_analyzer'],
      stresses=found['stress_analyzer'],
      under_trained=[graph[-1]['analysis'] for graph in early],
      models='|'.join(experiment.name for experiment in experiments),
      under_trained_mm=experiments[0].under_trained_mm)
  return [*nodes, *itertools.chain(*early), compare]


def build_tradeoff(experiments: Sequence[Experiment], destination: str) -> list[Node]:
  """The graph of several experiments, and of the table of what each costs and is worth.

  Args, Raises: as for `build_all`.
  """
  nodes, found = _build_each(experiments, destination)
  meter = cost_meter(servables=found['calibrated_exporter'], examples=nodes[0]['examples'],
                     split=experiments[0].evaluate.split)
  table = tradeoff_analyzer(
      networks=[model for mine in found['networks'] for model in itertools.chain(*mine)],
      costs=meter['costs'],
      evaluations=found['evaluator'], analyses=found['uncertainty_analyzer'],
      stresses=found['stress_analyzer'], predictions=found['bulk_inferrer'],
      heatmaps=found['heatmap_inferrer'], examples=nodes[0]['examples'],
      resamples=experiments[0].analyze.bootstrap, seed=experiments[0].seed,
      models='|'.join(f'{experiment.name}:{len(answering)}:{len(teachers)}' for
                      experiment, (answering, teachers) in zip(experiments, found['networks'], strict=True)))
  return [*nodes, meter, table]


# What a table of several models needs of each, and which output.
_OF_EACH = {'calibrated_exporter': 'servable', 'bulk_inferrer': 'predictions', 'evaluator': 'evaluation',
            'uncertainty_analyzer': 'analysis', 'stress_analyzer': 'analysis'}


def _build_each(experiments: Sequence[Experiment], destination: str) -> tuple[list[Node], dict[str, list]]:
  """All nodes, and outputs of each experiment by component: `_OF_EACH`, `heatmap_inferrer` of the images that
  are judged, and `networks`: those that answer, and teachers.

  Raises:
    ConfigError: an experiment that comes twice, or without calibration images or changed X-rays.
  """
  names = [experiment.name for experiment in experiments]
  if len(set(names)) < len(names):
    raise ConfigError(f'--model={",".join(names)}: allowed is each model once')
  nodes, found = [], {name: [] for name in (*_OF_EACH, 'heatmap_inferrer', 'networks')}
  for experiment in experiments:
    if not experiment.data.calibration_images or not experiment.stress.images:
      raise ConfigError('several models are compared by their analyses: allowed are '
                        'data.calibration_images >= 1 and stress.images >= 1')
    mine = build(experiment, destination, f'{experiment.name}/')
    nodes += mine
    by_name = {node.name.removeprefix(f'{experiment.name}/'): node for node in mine}
    for name, output in _OF_EACH.items():
      found[name].append(by_name[name][output])
    found['heatmap_inferrer'].append(by_name[f'heatmap_inferrer_{experiment.evaluate.split}']['scores'])
    answering = list(by_name['calibrated_exporter'].inputs['models'])
    trained = [node['model'] for node in mine if node.component in (trainer, distiller)]
    found['networks'].append((answering, [model for model in trained if model not in answering]))
  return nodes, found


def _under_trained(experiment: Experiment) -> Experiment:
  """The same, but training stops early; only errors and their correlations are asked for."""
  return dataclasses.replace(
      experiment, stress=dataclasses.replace(experiment.stress, images=0),
      train=dataclasses.replace(
          experiment.train, target_mre_mm=experiment.under_trained_mm, validate_epochs=1))
