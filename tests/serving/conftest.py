"""Tiny models of each sampler, with all that is fitted inside, and pictures to ask them about."""

import dataclasses
import pathlib
import typing

import cv2
import numpy as np
import pytest

from ceph_tf import seeds
from ceph_tf.config import Experiment, SamplerConfig
from ceph_tf.models import folding, unet
from ceph_tf.overrides import override
from ceph_tf.serving.predictor import Predictor
from ceph_tf.uncertainty import fitted as fitting
from ceph_tf.uncertainty import refinement

LANDMARKS = 19


def experiment(*fields):
  return override(Experiment(), ['input.height=32', 'input.width=32', 'model.filters=4,8', *fields])


def config(*fields):
  return experiment(*fields).network


DROPOUT = ('model.dropout_rate=0.5', 'model.dropout_at=down1')
FLIPOUT = ('model.variational_at=down1,up0', 'model.posterior_scale=0.5')
MEMBERS = ('model.members=3', 'model.members_at=down1,up0')
SECOND = experiment('refine.scale=2', 'refine.crop.size_px=16', 'refine.filters=4,8',
                    'refine.dropout_rate=0.5', 'refine.dropout_at=down1').refiner.of_landmarks(LANDMARKS)
SAMPLERS = {  # network, sampler, and perhaps the network of a second look
    'baseline': (config(), SamplerConfig()),
    'mc_dropout': (config(*DROPOUT), SamplerConfig('passes', 4, chunk=2)),
    'flipout': (config(*FLIPOUT), SamplerConfig('passes', 3)),
    'film_ensemble': (config(*MEMBERS), SamplerConfig('passes', 3)),
    'views': (config(), SamplerConfig('views', 3)),
    'ensemble': (config(), SamplerConfig('members', 2)),
    'gaussian': (config('model.head=gaussian'), SamplerConfig()),
    'two_looks': (config(*DROPOUT), SamplerConfig('passes', 4, chunk=2), SECOND),
}


class Exported(typing.NamedTuple):
  model: str
  path: pathlib.Path


def predictor(model, fitted=None, precision='mixed_bfloat16'):
  cfg, sampler, *second = SAMPLERS[model]
  cfg = dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, precision=precision))

  def networks(cfg):
    count = sampler.num_samples if sampler.kind == 'members' else 1
    shape = (cfg.model, cfg.seen, cfg.heatmaps(LANDMARKS), precision)
    return [folding.fold(unet.build(*shape, seed=k), *shape) for k in range(count)]

  looks = [refinement.refiner(networks(other), other, cfg) for other in second]
  return Predictor(networks(cfg), cfg, sampler, 5, fitted, *looks)


def some_fitted():
  rng = seeds.rng(0, 'fitted')
  covariance = np.broadcast_to(np.eye(2), (40, LANDMARKS, 2, 2))
  return fitting.fit(
      rng.normal(size=(40, 12)), rng.normal(size=(40, 1, 12)), rng.normal(size=(40, LANDMARKS, 2)),
      covariance, rng.gamma(2, size=(40, 1, LANDMARKS)), coverage=0.9, bins=5, alpha=0.05)


def picture(seed, height=90, width=70, extension='.png', dtype=np.uint8):
  rng = np.random.default_rng(seed)
  small = rng.uniform(0, np.iinfo(dtype).max, (9, 7)).astype(dtype)
  return cv2.imencode(extension, cv2.resize(small, (width, height)))[1].tobytes()


@pytest.fixture(scope='session', name='predictor')
def predictor_fixture():
  return predictor


@pytest.fixture(scope='session', name='some_fitted')
def some_fitted_fixture():
  return some_fitted()


@pytest.fixture(scope='session')
def pictures():
  return [picture(0), picture(1, 50, 120, '.jpg'), picture(2, 33, 33, '.bmp'),
          picture(3, 200, 150, '.png', np.uint16)]


@pytest.fixture(scope='session', params=SAMPLERS)
def exported(request, tmp_path_factory):
  folder = tmp_path_factory.mktemp('export') / request.param
  predictor(request.param, some_fitted()).export(folder)
  return Exported(request.param, folder)
