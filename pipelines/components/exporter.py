"""exporter, calibrated_exporter: trained networks and a sampler become one SavedModel."""

import dataclasses
import json

from ceph_tf import seeds
from ceph_tf.config import SamplerConfig
from ceph_tf.models import folding, unet
from ceph_tf.serving.predictor import Predictor
from ceph_tf.uncertainty import fitted as fitting
from pipelines.artifacts import Calibration, ServableModel, TrainedModel
from pipelines.components.trainer import read_network
from pipelines.dsl import ComponentError, In, Out, component


@component
def exporter(models: In[list[TrainedModel]], servable: Out[ServableModel], *,
             sampler: SamplerConfig, seed: int, precision: str = 'trained'):
  """Writes `saved_model/`, with landmark names and the seed of the noise in its `assets.extra/`.

  Args:
    models: the trained networks, all of one configuration.
    servable: what TF Serving serves; it answers with features, and no regions.
    sampler: how many networks answer.
    seed: of masks and drawn kernels; it is part of the SavedModel.
    precision: of its networks, one of `config.PRECISIONS`, or `trained`.

  Raises:
    ComponentError: the networks differ in more than their seed.
  """
  _export(models, servable, sampler, seed, precision, None)


@component
def calibrated_exporter(models: In[list[TrainedModel]], calibration: In[Calibration],
                        servable: Out[ServableModel], *, sampler: SamplerConfig, seed: int,
                        precision: str = 'trained'):
  """Like `exporter`, with what was fitted inside: regions, bins, OOD, the referral policy.

  Args:
    models, servable, sampler, seed, precision: as for `exporter`.
    calibration: of the same networks, sampler and seed.
  """
  _export(models, servable, sampler, seed, precision, fitting.load(calibration.fitted))


def _export(models: list[TrainedModel], servable: ServableModel, sampler: SamplerConfig, seed: int,
            precision: str, fitted: fitting.Fitted | None) -> None:
  described = [read_network(model) for model in models]
  cfg, names = described[0]
  for model, other in zip(models, described, strict=True):
    if other != (cfg, names):
      raise ComponentError(f'{model.path} has another configuration than {models[0].path}; '
                           'the members of an ensemble may differ by their seed only')
  precision = cfg.train.precision if precision == 'trained' else precision
  networks = []
  for model in models:
    network = unet.build(cfg.model, cfg.input, len(names), precision, seed=0)
    network.model.load_weights(model.path / 'model.weights.h5')
    networks.append(folding.fold(network, cfg.model, cfg.input, len(names), precision))
  sampler_seed = seeds.derive(seed, 'sampler')
  Predictor(networks, cfg, sampler, sampler_seed, fitted).export(servable.saved_model)
  extra = servable.saved_model / 'assets.extra'
  extra.mkdir()
  (extra / 'landmarks.json').write_text(json.dumps(names, indent=2), 'utf-8')
  asked = {**dataclasses.asdict(sampler), 'seed': sampler_seed}
  (extra / 'sampler.json').write_text(json.dumps(asked, indent=2), 'utf-8')
  if fitted is not None:
    (extra / 'calibration.json').write_text(
        json.dumps(fitting.summary(fitted, names), indent=2), 'utf-8')
