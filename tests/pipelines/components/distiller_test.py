"""distiller: a student of two tiny teachers."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

from ceph_tf.config import Experiment
from ceph_tf.data import input as data_input
from ceph_tf.models import heatmaps, unet
from ceph_tf.overrides import override
from pipelines import artifacts
from pipelines.components.distiller import distiller
from pipelines.components.trainer import trainer
from pipelines.dsl import ComponentError, Context
from pipelines.trained import look, read_network

# No augmentation: images are learned by heart.
CFG = override(Experiment(), [
    'input.height=32', 'input.width=32', 'model.filters=16,32', 'train.truth=truth', 'train.epochs=60',
    'train.validate_epochs=60', 'train.batch_size=4', 'train.warmup_steps=1', 'train.learning_rate=1e-2',
    'train.ema=0.9', 'heatmap.target_sigma_px=1', 'augment.elastic_grid_px=16',
    *(f'augment.{name}=0' for name in ('rotate_deg', 'scale', 'shift', 'elastic_px', 'outside', 'gamma',
                                       'local_contrast', 'shading', 'contrast', 'brightness', 'noise')),
]).network
CONTEXT = Context(node='distiller', run='test', key='0', lineage=lambda: [])


def new(kind, folder):
  folder.mkdir(parents=True)
  return kind(folder)


@pytest.fixture(scope='module')
def teachers(examples, tmp_path_factory):
  """One that knows where landmarks are on these images, and one that never learned anything."""
  knows, naive = (new(artifacts.TrainedModel, tmp_path_factory.mktemp('teacher') / 'out') for _ in range(2))
  trainer.function(examples=examples, anomalies=None, model=knows, cfg=CFG, seed=0, context=CONTEXT)
  shutil.copy(knows.path / 'network.json', naive.path)
  unet.build(CFG.model, CFG.seen, 19, CFG.train.precision, seed=1).model.save_weights(
      naive.path / 'model.weights.h5')
  return [knows, naive]


def student(examples, teachers, folder, cfg=CFG, seed=7):
  model = new(artifacts.TrainedModel, folder)
  distiller.function(examples=examples, anomalies=None, teachers=teachers, model=model, cfg=cfg, seed=seed,
                     context=CONTEXT)
  return model


def believed(model, images):
  """The density of a network, [B, h, w, L]."""
  (network,), cfg, _ = look([(model, *read_network(model))], 'trained')
  return heatmaps.to_density(unet.run(network, [images], [], training=False), cfg.train.loss).numpy()


def test_a_student_believes_what_its_teachers_believe_together(examples, teachers, tmp_path):
  taught = student(examples, teachers, tmp_path / 'student')
  assert not taught.missing_files() and not (taught.path / 'checkpoints').exists()
  assert read_network(taught) == read_network(teachers[0])
  shards = [str(path) for path in examples.shards('train')]
  images = tf.stack([one['image'] for one in data_input.encoded(shards, CFG.input, 'truth')])
  knows, naive, found = (believed(one, images) for one in (*teachers, taught))

  def apart(one, two):
    return np.abs(one - two).sum((1, 2)).mean()

  assert apart(found, (knows + naive) / 2) < 0.5 * min(apart(found, knows), apart(found, naive))


def test_teachers_of_different_configuration_are_refused(examples, teachers, tmp_path):
  other = new(artifacts.TrainedModel, tmp_path / 'other')
  cfg = dataclasses.replace(CFG, model=dataclasses.replace(CFG.model, filters=(4, 4)),
                            train=dataclasses.replace(CFG.train, epochs=1))
  trainer.function(examples=examples, anomalies=None, model=other, cfg=cfg, seed=0, context=CONTEXT)
  with pytest.raises(ComponentError, match='another configuration'):
    student(examples, [teachers[0], other], tmp_path / 'student')
