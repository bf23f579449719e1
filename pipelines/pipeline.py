"""An experiment becomes a graph of nodes; readable from top to bottom."""

from ceph_tf import seeds
from ceph_tf.config import Experiment
from pipelines.components.bulk_inferrer import bulk_inferrer
from pipelines.components.evaluator import evaluator
from pipelines.components.example_gen import example_gen
from pipelines.components.example_validator import example_validator
from pipelines.components.exporter import exporter
from pipelines.components.infra_validator import infra_validator
from pipelines.components.pusher import pusher
from pipelines.components.trainer import trainer
from pipelines.components.uncertainty_analyzer import uncertainty_analyzer
from pipelines.dsl import Node


def build(experiment: Experiment, destination: str) -> list[Node]:
  """The graph of one experiment.

  Args:
    experiment: all of its configuration.
    destination: the folder that blessed models are pushed to.

  Returns:
    All nodes, in an order in which they can run.
  """
  seed, sampler = experiment.seed, experiment.sampler
  gen = example_gen(cfg=experiment.data, seed=seed)
  validator = example_validator(
      examples=gen['examples'], cfg=experiment.validate, dataset=experiment.data.dataset,
      split=experiment.evaluate.split)

  # Member 0 of an ensemble is the baseline of the same seed, and so comes from the cache.
  members = sampler.num_samples if sampler.kind == 'members' else 1
  trainers = [
      trainer(examples=gen['examples'], anomalies=validator['anomalies'], cfg=experiment.network,
              seed=seeds.derive(seed, 'member', k),
              name=f'trainer_{k}' if members > 1 else 'trainer')
      for k in range(members)]

  export = exporter(models=[node['model'] for node in trainers], sampler=sampler, seed=seed)
  infra = infra_validator(servable=export['servable'], examples=gen['examples'])
  inferrer = bulk_inferrer(servable=export['servable'], examples=gen['examples'],
                           blessing=infra['blessing'], split=experiment.evaluate.split)
  evaluation = evaluator(
      predictions=inferrer['predictions'], examples=gen['examples'],
      anomalies=validator['anomalies'], cfg=experiment.evaluate, truth=experiment.train.truth,
      title=f'{experiment.name}, preset {experiment.preset}', seed=seed)
  push = pusher(
      servable=export['servable'], blessing=evaluation['blessing'], infra=infra['blessing'],
      evaluation=evaluation['evaluation'], name=f'{experiment.name}_{experiment.data.dataset}',
      destination=destination)
  nodes = [gen, validator, *trainers, export, infra, inferrer, evaluation, push]
  if not experiment.data.calibration_images:
    return nodes  # nothing to take thresholds and regions from

  inferrer_calibration = bulk_inferrer(
      servable=export['servable'], examples=gen['examples'], blessing=infra['blessing'],
      split='calibration', name='bulk_inferrer_calibration')
  analysis = uncertainty_analyzer(
      predictions=inferrer['predictions'], calibration=inferrer_calibration['predictions'],
      examples=gen['examples'], anomalies=validator['anomalies'], cfg=experiment.analyze,
      split=experiment.evaluate.split, truth=experiment.train.truth,
      title=f'{experiment.name}, preset {experiment.preset}', seed=seed)
  return [*nodes, inferrer_calibration, analysis]
