"""The nodes that judge a SavedModel: whether it runs, its errors, what its uncertainties are worth."""

import dataclasses

from ceph_tf.config import ConfigError, Experiment
from ceph_tf.data import volumes
from ceph_tf.data.records import DataError
from pipelines.components.bulk_inferrer import bulk_inferrer
from pipelines.components.evaluator import evaluator
from pipelines.components.heatmap_inferrer import heatmap_inferrer
from pipelines.components.infra_validator import infra_validator
from pipelines.components.stress_analyzer import stress_analyzer
from pipelines.components.stress_inferrer import stress_inferrer
from pipelines.components.uncertainty_analyzer import uncertainty_analyzer
from pipelines.dsl import Node, Output

SERIES = ('elastic', 'rotation', 'condition', 'scanner')


def check_volume(experiment: Experiment) -> None:
  """Raises ConfigError where `stress.volume` is needed and cannot be read."""
  cfg = experiment.stress
  if cfg.volume and cfg.images and experiment.data.calibration_images:
    try:
      volumes.check_source(cfg.volume, cfg.volume_axes)
    except DataError as error:
      raise ConfigError(f'stress.volume: {error}') from None


def evaluation(experiment: Experiment, examples: Output, anomalies: Output, servable: Output, title: str,
               prefix: str) -> tuple[Node, Node, Node]:
  """Whether the SavedModel runs, its predictions, and their errors."""
  infra = infra_validator(servable=servable, examples=examples, name=f'{prefix}infra_validator')
  inferrer = bulk_inferrer(servable=servable, examples=examples, blessing=infra['blessing'],
                           split=experiment.evaluate.split, name=f'{prefix}bulk_inferrer')
  errors = evaluator(
      predictions=inferrer['predictions'], examples=examples, anomalies=anomalies,
      cfg=experiment.evaluate, truth=experiment.train.truth, title=title, seed=experiment.seed,
      name=f'{prefix}evaluator')
  return infra, inferrer, errors


def analysis(experiment: Experiment, examples: Output, anomalies: Output, servable: Output, infra: Node,
             inferrer: Node, title: str, prefix: str) -> list[Node]:
  """What its uncertainties are worth, which takes calibration images; changed X-rays come last."""
  split, truth, blessing = experiment.evaluate.split, experiment.train.truth, infra['blessing']
  inferrer_calibration = bulk_inferrer(
      servable=servable, examples=examples, blessing=blessing, split='calibration',
      name=f'{prefix}bulk_inferrer_calibration')
  heatmaps = [
      heatmap_inferrer(servable=servable, examples=examples, blessing=blessing, split=one, truth=truth,
                       name=f'{prefix}heatmap_inferrer_{one}')
      for one in (split, 'calibration')]
  analyzed = uncertainty_analyzer(
      predictions=inferrer['predictions'], calibration=inferrer_calibration['predictions'],
      heatmaps=heatmaps[0]['scores'], heatmaps_calibration=heatmaps[1]['scores'],
      examples=examples, anomalies=anomalies, cfg=experiment.analyze, split=split, truth=truth,
      title=title, seed=experiment.seed, name=f'{prefix}uncertainty_analyzer')
  nodes = [inferrer_calibration, *heatmaps, analyzed]
  if experiment.stress.images:
    nodes += _stress(experiment, examples, servable, blessing, inferrer_calibration['predictions'],
                     title, prefix)
  return nodes


def _stress(experiment: Experiment, examples: Output, servable: Output, blessing: Output,
            calibration: Output, title: str, prefix: str) -> list[Node]:
  """Changed X-rays: predictions of each series, and what they say."""
  common = {'split': experiment.evaluate.split, 'truth': experiment.train.truth, 'seed': experiment.seed}
  of_test_images = dataclasses.replace(experiment.stress, volume='', volume_axes='')
  inferrers = {
      series: stress_inferrer(
          servable=servable, examples=examples, blessing=blessing, series=series,
          cfg=experiment.stress if series == 'rotation' else of_test_images,  # another CT: no new copies
          dataset=experiment.data.dataset, name=f'{prefix}stress_{series}', **common)
      for series in SERIES}
  analyzed = stress_analyzer(
      calibration=calibration, examples=examples, cfg=experiment.stress, analyze=experiment.analyze,
      title=title, name=f'{prefix}stress_analyzer',
      **{series: node['predictions'] for series, node in inferrers.items()}, **common)
  return [*inferrers.values(), analyzed]
