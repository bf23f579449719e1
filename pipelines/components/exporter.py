"""exporter, calibrated_exporter: trained networks and a sampler become one SavedModel."""

import dataclasses
import json

from ceph_tf import seeds
from ceph_tf.config import SamplerConfig
from ceph_tf.serving.predictor import Predictor
from ceph_tf.uncertainty import fitted as fitting
from ceph_tf.uncertainty import refinement
from pipelines.artifacts import Calibration, ServableModel, TrainedModel
from pipelines.dsl import In, Out, component
from pipelines.trained import look, read_network


@component
def exporter(models: In[list[TrainedModel]], servable: Out[ServableModel], *,
             sampler: SamplerConfig, seed: int, precision: str = 'trained'):
  """Writes `saved_model/`, with landmark names and the seed of the noise in its `assets.extra/`.

  Args:
    models: the trained networks, all of one configuration; those of a second look, of crops, behind
      those of the first, and as many.
    servable: what TF Serving serves; it answers with features, and no regions.
    sampler: how many networks answer.
    seed: of masks and drawn kernels; it is part of the SavedModel.
    precision: of its networks, one of `config.PRECISIONS`, or `trained`.

  Raises:
    ComponentError: the networks of a look differ in more than their seed.
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
  described = [(model, *read_network(model)) for model in models]
  networks, cfg, names = look([one for one in described if not one[1].crop.size_px], precision)
  of_crops, second = [one for one in described if one[1].crop.size_px], None
  if of_crops:
    found, second_cfg, _ = look(of_crops, precision)
    second = refinement.refiner(found, second_cfg, cfg)
  sampler_seed = seeds.derive(seed, 'sampler')
  Predictor(networks, cfg, sampler, sampler_seed, fitted, second).export(servable.saved_model)
  extra = servable.saved_model / 'assets.extra'
  extra.mkdir()
  (extra / 'landmarks.json').write_text(json.dumps(names, indent=2), 'utf-8')
  asked = {**dataclasses.asdict(sampler), 'seed': sampler_seed}
  (extra / 'sampler.json').write_text(json.dumps(asked, indent=2), 'utf-8')
  if fitted is not None:
    (extra / 'calibration.json').write_text(
        json.dumps(fitting.summary(fitted, names), indent=2), 'utf-8')
