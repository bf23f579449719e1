"""Trained networks out of their artifacts, as they answer."""

import json

from ceph_tf import overrides
from ceph_tf.config import NetworkConfig
from ceph_tf.models import folding, unet
from pipelines.artifacts import TrainedModel
from pipelines.dsl import ComponentError


def read_network(model: TrainedModel) -> tuple[NetworkConfig, list[str]]:
  """The configuration and landmark names of a trained network."""
  stored = json.loads((model.path / 'network.json').read_text('utf-8'))
  return overrides.from_json(json.dumps(stored['cfg']), NetworkConfig), stored['landmark_names']


def look(described: list[tuple[TrainedModel, NetworkConfig, list[str]]],
         precision: str) -> tuple[list[unet.Network], NetworkConfig, list[str]]:
  """The networks of one look, arranged for inference, their configuration and landmark names.

  Args:
    described: each model with what `read_network` says of it.
    precision: one of `config.PRECISIONS`, or `trained`.

  Raises:
    ComponentError: they differ in more than their seed.
  """
  first, cfg, names = described[0]
  for model, *other in described:
    if other != [cfg, names]:
      raise ComponentError(f'{model.path} has another configuration than {first.path}; '
                           'the members of an ensemble may differ by their seed only')
  precision = cfg.train.precision if precision == 'trained' else precision
  shape = (cfg.model, cfg.seen, cfg.heatmaps(len(names)), precision)
  networks = []
  for model, *_ in described:
    network = unet.build(*shape, seed=0)
    network.model.load_weights(model.path / 'model.weights.h5')
    networks.append(folding.fold(network, *shape))
  return networks, cfg, names
