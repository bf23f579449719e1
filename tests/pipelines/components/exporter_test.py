"""trainer, exporter, infra_validator and bulk_inferrer on tiny networks."""

import dataclasses
import json
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.config import Experiment, SamplerConfig
from ceph_tf.data import examples as example_files
from ceph_tf.data.records import DataError
from ceph_tf.overrides import override
from ceph_tf.serving.recalibrated import Recalibrated
from ceph_tf.uncertainty import fitted as fitting
from ceph_tf.uncertainty.measures import MEASURES
from pipelines import artifacts
from pipelines.components.bulk_inferrer import bulk_inferrer
from pipelines.components.exporter import calibrated_exporter, exporter
from pipelines.components.heatmap_inferrer import heatmap_inferrer
from pipelines.components.infra_validator import compare, infra_validator
from pipelines.components.trainer import trainer
from pipelines.dsl import ComponentError, Context
from pipelines.trained import read_network

CFG = override(Experiment(), [
    'input.height=32', 'input.width=32', 'model.filters=4,8', 'train.epochs=2', 'train.truth=truth',
    'augment.elastic_grid_px=16']).network
CONTEXT = Context(node='trainer', run='test', key='0', lineage=lambda: [])


def new(kind, folder):
  folder.mkdir(parents=True)
  return kind(folder)


def train(examples, folder, cfg=CFG, seed=0):
  model = new(artifacts.TrainedModel, folder)
  trainer.function(examples=examples, anomalies=None, model=model, cfg=cfg, seed=seed, context=CONTEXT)
  return model


@pytest.fixture(scope='module')
def model(examples, tmp_path_factory):
  return train(examples, tmp_path_factory.mktemp('trainer') / 'out')


@pytest.fixture(scope='module')
def servable(model, tmp_path_factory):
  made = new(artifacts.ServableModel, tmp_path_factory.mktemp('exporter') / 'out')
  exporter.function(models=[model], servable=made, sampler=SamplerConfig(), seed=0)
  return made


def test_a_training_that_was_killed_after_its_last_file_is_not_repeated(model, examples, tmp_path):
  copy = artifacts.TrainedModel(tmp_path / 'out')
  shutil.copytree(model.path, copy.path)
  (copy.path / 'checkpoints').mkdir()
  (copy.path / 'checkpoints/checkpoint').write_text('what a killed clean-up left')
  before = (copy.path / 'model.weights.h5').stat().st_mtime_ns
  trainer.function(examples=examples, anomalies=None, model=copy, cfg=CFG, seed=0, context=CONTEXT)
  assert (copy.path / 'model.weights.h5').stat().st_mtime_ns == before
  assert not (copy.path / 'checkpoints').exists()


def test_trainer_leaves_what_its_artifact_promises(model):
  assert not model.missing_files()
  assert not (model.path / 'checkpoints').exists()
  assert list(model.logs.glob('events.*'))
  cfg, names = read_network(model)
  assert cfg == CFG and len(names) == 19


def test_tensorboard_logs_hold_curves_pictures_histograms_and_hyperparameters(model):
  from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
  events = EventAccumulator(str(model.logs), size_guidance={'tensors': 0})
  events.Reload()
  tags = set(events.Tags()['tensors'])
  assert {'loss/train', 'learning_rate', 'validation/mre_mm', 'validation/0', 'heatmaps/0',
          '_hparams_/session_start_info'} <= tags
  assert any(tag.startswith('weights/') for tag in tags)
  assert len(events.Tensors('loss/train')) == 2


def test_a_truth_the_examples_lack_is_refused(examples, tmp_path):
  schema = json.loads((examples.path / 'schema.json').read_text('utf-8'))
  schema['truths'] = ['senior']
  other = new(artifacts.Examples, tmp_path / 'other')
  for path in examples.path.iterdir():
    shutil.copy(path, other.path)
  (other.path / 'schema.json').write_text(json.dumps(schema))
  with pytest.raises(DataError, match="truth='truth'"):
    train(other, tmp_path / 'out')


def test_members_of_different_configuration_are_refused(examples, model, tmp_path):
  other = train(examples, tmp_path / 'other', override(Experiment(), [
      'input.height=32', 'input.width=32', 'model.filters=4,4', 'train.epochs=1']).network)
  with pytest.raises(ComponentError, match='another configuration'):
    exporter.function(models=[model, other], servable=new(artifacts.ServableModel, tmp_path / 'out'),
                      sampler=SamplerConfig('members', 2), seed=0)


def test_a_model_is_served_in_the_precision_that_is_asked_for(model, servable, phantom_records, tmp_path):
  rounded = new(artifacts.ServableModel, tmp_path / 'rounded')
  exporter.function(models=[model], servable=rounded, sampler=SamplerConfig(), seed=0,
                    precision='mixed_bfloat16')
  images = tf.constant([record.image_bytes for record in phantom_records[:3]])
  found = []
  for made in (servable, rounded):
    serve = tf.saved_model.load(str(made.saved_model)).signatures['serving_default']
    found.append(serve(image_bytes=images, spacing_mm=tf.fill([3], 0.1)))
  entropy = [answer['entropy_nats'].numpy() for answer in found]
  assert 0 < np.abs(entropy[0] - entropy[1]).max() < 0.1  # of 5 nats; bfloat16 has 8 bits


def test_the_seed_of_the_masks_travels_with_the_model(servable):
  stored = json.loads((servable.saved_model / 'assets.extra' / 'sampler.json').read_text('utf-8'))
  assert stored == {**dataclasses.asdict(SamplerConfig()), 'seed': seeds.derive(0, 'sampler')}


def test_exported_model_is_blessed_and_predicts_every_image(servable, examples, tmp_path, phantom_records):
  blessing = new(artifacts.InfraBlessing, tmp_path / 'blessing')
  infra_validator.function(servable=servable, examples=examples, blessing=blessing)
  assert blessing.read()['blessed'], blessing.read()
  predictions = new(artifacts.Predictions, tmp_path / 'predictions')
  bulk_inferrer.function(servable=servable, examples=examples, blessing=blessing,
                         predictions=predictions, split='test', context=CONTEXT)
  arrays = predictions.read()
  test = [record for record in phantom_records if record.split == 'test']
  assert list(arrays['image_id']) == [record.image_id for record in test]
  assert arrays['points_px'].shape == (2, 19, 2) and arrays['samples_px'].shape == (2, 1, 19, 2)
  assert {name for name in arrays if name.startswith('measure/')} == {
      f'measure/{name}' for name in MEASURES}
  np.testing.assert_allclose(arrays['spacing_mm'], [record.spacing_mm for record in test])


def test_a_damaged_model_is_not_blessed_and_does_not_predict(servable, examples, tmp_path):
  damaged = new(artifacts.ServableModel, tmp_path / 'damaged')
  shutil.copytree(servable.path, damaged.path, dirs_exist_ok=True)
  shutil.rmtree(damaged.saved_model / 'variables')
  blessing = new(artifacts.InfraBlessing, tmp_path / 'blessing')
  infra_validator.function(servable=damaged, examples=examples, blessing=blessing)
  verdict = blessing.read()
  assert not verdict['blessed'] and verdict['reasons']
  with pytest.raises(ComponentError, match='not fit to serve'):
    bulk_inferrer.function(servable=damaged, examples=examples, blessing=blessing,
                           predictions=new(artifacts.Predictions, tmp_path / 'out'), split='test',
                           context=CONTEXT)


def test_a_killed_check_is_no_verdict(examples, tmp_path, monkeypatch):
  servable = new(artifacts.ServableModel, tmp_path / 'servable')
  blessing = new(artifacts.InfraBlessing, tmp_path / 'blessing')
  killed = tmp_path / 'killed'
  killed.write_text('#!/bin/sh\nkill -9 $$\n')
  killed.chmod(0o755)
  monkeypatch.setattr(sys, 'executable', str(killed))
  with pytest.raises(ComponentError, match=r'a signal \(9\) killed'):
    infra_validator.function(servable=servable, examples=examples, blessing=blessing)
  assert blessing.missing_files()


def test_compare_finds_gaps_and_values_that_are_not_finite():
  answer = {'points_px': np.zeros((1, 2, 2)), 'mha': np.ones((1, 2)),
            'points_mm': np.full((1, 2, 2), np.nan), 'status': np.array([b'ok'])}
  assert compare(answer, answer) == []
  moved = answer | {'points_px': answer['points_px'] + 1}
  assert 'differ by 1 px' in compare(answer, moved)[0]
  assert 'mha' in compare(answer, answer | {'mha': np.full((1, 2), np.nan)})[0]
  assert 'outputs differ' in compare(answer, {'points_px': answer['points_px']})[0]
  assert 'damaged' in compare(answer, answer | {'status': np.array([b'damaged'])})[0]


def test_heatmap_inferrer_keeps_scores_and_sizes_in_mm2(servable, examples, phantom_records, tmp_path):
  blessing = new(artifacts.InfraBlessing, tmp_path / 'blessing')
  scores = new(artifacts.HeatmapScores, tmp_path / 'scores')
  blessing.write({'blessed': True, 'reasons': []})
  heatmap_inferrer.function(servable=servable, examples=examples, blessing=blessing, scores=scores,
                            split='test', truth='truth', context=CONTEXT)
  found, test = scores.read(), [r for r in phantom_records if r.split == 'test']
  assert found['image_id'].tolist() == [r.image_id for r in test]
  assert ((found['truth_score'] >= 0) & (found['truth_score'] <= 1)).all()
  assert (np.diff(found['area_mm2'], axis=-1) >= 0).all()
  # 160 x 128 px become 32 x 26 of the 32 x 32 network pixels, and all of those are heatmap.
  whole_px2 = 160 * (32 * 128 / 26)
  assert found['area_mm2'][..., -1] == pytest.approx(whole_px2 * test[0].spacing_mm**2, rel=1e-3)
  blessing.write({'blessed': False, 'reasons': ['too slow']})
  with pytest.raises(ComponentError, match='too slow'):
    heatmap_inferrer.function(servable=servable, examples=examples, blessing=blessing, scores=scores,
                              split='test', truth='truth', context=CONTEXT)


def calibrated(model, folder, temperatures):
  rng, n = seeds.rng(0, 'fitted'), 12
  calibration = new(artifacts.Calibration, folder / 'calibration')
  fitting.save(fitting.fit(
      rng.normal(size=(n, 12)), rng.normal(size=(n, 1, 12)), rng.normal(size=(n, 19, 2)),
      np.broadcast_to(np.eye(2), (n, 19, 2, 2)), rng.gamma(2, size=(n, 1, 19)), 0.9, 5, 0.05, temperatures),
               calibration.fitted)
  made = new(artifacts.ServableModel, folder / 'calibrated')
  calibrated_exporter.function(models=[model], calibration=calibration, servable=made,
                               sampler=SamplerConfig(), seed=0)
  return made


def scored(servable, examples, folder):
  blessing = new(artifacts.InfraBlessing, folder / 'blessing')
  scores = new(artifacts.HeatmapScores, folder / 'scores')
  blessing.write({'blessed': True, 'reasons': []})
  heatmap_inferrer.function(servable=servable, examples=examples, blessing=blessing, scores=scores,
                            split='test', truth='truth', context=CONTEXT)
  return scores.read()


def test_heatmaps_of_a_recalibrated_model_are_met_where_they_are(model, examples, phantom_records, tmp_path):
  """Truths that are moved as the points are get the scores that they had before."""
  before = calibrated(model, tmp_path, None)
  after = new(artifacts.ServableModel, tmp_path / 'after')
  rng = seeds.rng(0, 'site')
  fitted = fitting.refit(np.ones((20, 1)), rng.normal(size=(20, 19, 2)), np.tile(np.eye(2), (20, 19, 1, 1)),
                         np.ones((20, 1, 19)), 0.9, 5, 0.05)
  loaded = tf.saved_model.load(str(before.saved_model))
  Recalibrated(loaded, fitted, rng.normal(0, 0.3, (19, 2))).export(after.saved_model)
  records = [record for record in phantom_records if record.split == 'test']
  asked = tf.saved_model.load(str(after.saved_model)).signatures['serving_default']
  moved = asked(image_bytes=tf.constant([record.image_bytes for record in records]),
                spacing_mm=tf.fill([len(records)], 0.1))
  there = new(artifacts.Examples, tmp_path / 'examples')
  example_files.write((dataclasses.replace(record, points_px={'truth': record.points_px['truth'] + by})
                       for record, by in zip(records, moved['moved_px'].numpy(), strict=True)),
                      there.path, 1, 'phantom')
  old, moved_too = scored(before, examples, tmp_path / 'old'), scored(after, there, tmp_path / 'new')
  np.testing.assert_allclose(moved_too['truth_score'], old['truth_score'], atol=1e-3)
  assert np.abs(moved['moved_px']).max() > 5


def test_a_calibrated_model_tempers_its_heatmaps_and_tells_how_they_were(model, servable, examples, tmp_path):
  temperatures = np.linspace(0.5, 4, 19)
  tempered = calibrated(model, tmp_path, temperatures)
  stored = json.loads((tempered.saved_model / 'assets.extra' / 'calibration.json').read_text('utf-8'))
  np.testing.assert_allclose(stored['temperatures'], temperatures)
  raw, after = (scored(one, examples, tmp_path / one.path.name) for one in (servable, tempered))
  assert not {name for name in raw if name.endswith('before')} and 'temperature' not in raw
  np.testing.assert_allclose(after['temperature'], np.tile(temperatures, (2, 1)), rtol=1e-6)
  for name in ('truth_score', 'log_density'):
    np.testing.assert_allclose(after[f'{name}_before'], raw[name], atol=1e-3)
    assert not np.allclose(after[name], raw[name], atol=1e-2)
  wider = after['area_mm2'] - raw['area_mm2']  # at every level: wider where T is above 1
  assert (wider[:, temperatures > 1] >= 0).all() and (wider[:, temperatures < 1] <= 0).all()
