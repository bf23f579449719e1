import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import geometry
from ceph_tf.config import ConfigError, Experiment
from ceph_tf.data import input as data_input
from ceph_tf.models import train
from ceph_tf.overrides import override

NAMES = 3


def tiny(*fields):
  return override(Experiment(), [
      'input.height=32', 'input.width=32', 'model.filters=4,8', 'model.stem_stride=1',
      'train.epochs=4', 'train.batch_size=4', 'train.precision=float32', 'train.warmup_steps=0',
      'train.learning_rate=0.01', 'train.validate_epochs=1', 'train.ema=0.5', 'augment.elastic_px=1',
      'augment.elastic_grid_px=16', *fields]).network


def spots(spacing_mm=0.5, images=8):
  """Images with a bright, a dark and a bright narrow spot at three landmarks."""
  rng = np.random.default_rng(0)
  points = rng.uniform(6, 26, (images, NAMES, 2)).astype(np.float32)
  y, x = np.mgrid[:32, :32]
  image = 0
  for k, (height, width) in enumerate([(2, 8), (-2, 8), (4, 1)]):
    from_x, from_y = x - points[:, k, 0, None, None], y - points[:, k, 1, None, None]
    image += height * np.exp(-(from_x**2 + from_y**2) / width)
  return tf.data.Dataset.from_tensor_slices({
      'image': image[..., None].astype(np.float32), 'points_px': points,
      'frame': geometry.Frame(np.ones((images, 2), np.float32), np.zeros((images, 2), np.float32)),
      'spacing_mm': np.full(images, spacing_mm, np.float32)})


def tiny_crops(*fields):
  return override(Experiment(), [
      'input.height=32', 'input.width=32', 'model.filters=4,8', 'refine.scale=1', 'refine.crop.size_px=16',
      'refine.crop.jitter_px=1,4', 'refine.crop.landmarks=2', 'refine.filters=4,8', 'refine.epochs=4',
      'refine.learning_rate=0.01', 'refine.dropout_rate=0.2', 'refine.dropout_at=down1',
      'train.batch_size=4', 'train.warmup_steps=0', 'train.validate_epochs=1', 'train.ema=0.5',
      'augment.elastic_px=1', 'augment.elastic_grid_px=16', *fields]).refiner.of_landmarks(NAMES)


def fit(cfg, path, on_epoch=lambda report, model: None, seed=3, spacing_mm=0.5):
  validation = data_input.validation(spots(spacing_mm), cfg.crop)
  return train.fit(spots(spacing_mm), validation, NAMES, cfg, seed, path, on_epoch)


def weights(path):
  import h5py
  arrays = []
  with h5py.File(path / 'model.weights.h5') as file:
    file.visititems(lambda name, item: arrays.append(item[()]) if isinstance(item, h5py.Dataset) else None)
  return arrays


def test_training_finds_the_spots(tmp_path):
  history = fit(tiny('train.epochs=40', 'train.learning_rate=0.02', 'train.validate_epochs=20'), tmp_path)
  assert history[-1].loss < 0.75 * history[0].loss
  assert history[-1].validation_mre_mm < 1.0  # of images 16 mm wide
  assert history[-1].validation_mre_px == pytest.approx(2 * history[-1].validation_mre_mm, rel=1e-5)
  assert [report.step for report in history] == [2 * n for n in range(1, 41)]
  assert math.isnan(history[0].validation_mre_mm)  # not validated


def test_a_network_of_crops_finds_the_spot_it_is_told_to(tmp_path):
  history = fit(tiny_crops('refine.epochs=60', 'refine.learning_rate=0.02', 'train.validate_epochs=30'),
                tmp_path)
  # All three spots are in most crops: whoever does not know which is meant is wrong by 4 mm.
  assert history[-1].validation_mre_mm < 1.0
  assert history[-1].validation_mre_px == pytest.approx(2 * history[-1].validation_mre_mm, rel=1e-5)


@pytest.mark.parametrize('cfg', [
    tiny('model.dropout_rate=0.3', 'model.dropout_at=down1'),
    tiny('model.variational_at=down1', 'model.members=2', 'model.members_at=up0'), tiny_crops()],
    ids=['dropout', 'flipout and members', 'crops'])
def test_killed_and_resumed_training_ends_with_the_same_weights(tmp_path, cfg):
  whole = fit(cfg, tmp_path / 'whole')

  def interrupt(report, model):
    if report.epoch == 2:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    fit(cfg, tmp_path / 'killed', interrupt)
  assert not (tmp_path / 'killed/model.weights.h5').exists()
  seen = []
  resumed = fit(cfg, tmp_path / 'killed', lambda report, model: seen.append(report.epoch))
  assert seen == [3, 4]
  assert [report.loss for report in resumed] == [report.loss for report in whole]
  for a, b in zip(weights(tmp_path / 'whole'), weights(tmp_path / 'killed'), strict=True):
    np.testing.assert_array_equal(a, b)


def truncate(checkpoints):
  data = next(checkpoints.glob('*.data-*'))
  data.write_bytes(data.read_bytes()[:-40])


@pytest.mark.parametrize('damage', [
    truncate, lambda found: next(found.glob('*.index')).unlink(),
    lambda found: (found / 'checkpoint').write_bytes(b'')], ids=['truncated', 'no index', 'empty state'])
def test_a_damaged_checkpoint_does_not_stand_in_the_way(tmp_path, damage, caplog):
  def interrupt(report, model):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    fit(tiny('train.epochs=2'), tmp_path, interrupt)
  damage(tmp_path / 'checkpoints')
  seen = []
  fit(tiny('train.epochs=2'), tmp_path, lambda report, model: seen.append(report.epoch))
  assert seen == [1, 2]
  assert 'checkpoints is damaged' in caplog.text and 'training starts anew' in caplog.text


@pytest.mark.parametrize('fields, said', [
    ([], r'lower train.learning_rate=1e\+30$'),
    (['model.variational_at=down1'], 'or model.posterior_scale=0.1 or train.kl_weight=0.0001$')])
def test_a_training_that_diverged_is_no_network(tmp_path, fields, said):
  with pytest.raises(FloatingPointError, match=said):
    fit(tiny('train.learning_rate=1e30', 'train.epochs=1', 'train.batch_size=8', *fields), tmp_path)
  assert not (tmp_path / 'model.weights.h5').exists()


def test_a_gaussian_head_leaves_heatmaps_as_they_are_and_learns_beside_them(tmp_path):
  kept = []
  for head in ('heatmap', 'gaussian'):
    fit(tiny(f'model.head={head}', 'train.epochs=2'), tmp_path / head,
        lambda report, model: kept.append({w.path: w.numpy() for w in model.weights}))
  plain, early, late = kept[1], kept[2], kept[3]
  for path, weight in plain.items():
    np.testing.assert_allclose(late[path], weight, rtol=1e-4, atol=1e-6)
  assert np.abs(late['spread/kernel'] - early['spread/kernel']).max() > 1e-3


def test_other_seed_other_weights(tmp_path):
  fit(tiny('train.epochs=1'), tmp_path / 'a', seed=1)
  fit(tiny('train.epochs=1'), tmp_path / 'b', seed=2)
  pairs = zip(weights(tmp_path / 'a'), weights(tmp_path / 'b'), strict=True)
  assert any(not np.array_equal(a, b) for a, b in pairs)


def test_target_stops_training(tmp_path):
  assert len(fit(tiny('train.target_mre_mm=100', 'train.epochs=9'), tmp_path)) == 1


def test_without_spacing_pixels_are_the_criterion_and_a_target_in_mm_is_refused(tmp_path):
  history = fit(tiny('train.epochs=1'), tmp_path / 'a', spacing_mm=math.nan)
  assert math.isnan(history[0].validation_mre_mm)
  assert history[0].criterion == history[0].validation_mre_px
  with pytest.raises(ConfigError, match='target_mre_mm=2.0'):
    fit(tiny('train.target_mre_mm=2'), tmp_path / 'b', spacing_mm=math.nan)


def test_diverged_training_says_so(tmp_path):
  with pytest.raises(FloatingPointError, match='learning_rate=1e\\+30'):
    fit(tiny('train.learning_rate=1e30', 'train.epochs=8', 'model.norm=none'), tmp_path)


def test_best_weights_are_kept(tmp_path):
  # A huge rate from the first step on: later epochs are worse than the best one.
  cfg = tiny('train.keep=best', 'train.schedule=constant', 'train.learning_rate=0.3', 'train.ema=0',
             'train.epochs=6')
  kept = {}
  history = fit(cfg, tmp_path, lambda report, model: kept.update(
      {report.epoch: [w.numpy() for w in model.weights]}))
  best = min(history, key=lambda report: report.criterion)
  stored = sorted(map(np.sum, weights(tmp_path)))
  np.testing.assert_allclose(stored, sorted(map(np.sum, kept[best.epoch])), rtol=1e-6)


def report(epoch, mre):
  return train.EpochReport(epoch, epoch, 1.0, 0.1, mre, 10 * mre, 1.0, 0.0)


def test_schedules():
  base = tiny().train
  cosine = dataclasses.replace(base, schedule='cosine', learning_rate=1.0, epochs=10, warmup_steps=4)
  rates = [train.learning_rate(cosine, step, 10, []) for step in range(100)]
  assert rates[0] == pytest.approx(0.25)
  assert max(rates) == pytest.approx(1.0, abs=0.01)
  assert rates[50] == pytest.approx(0.5)
  assert rates[99] < 0.001
  constant = dataclasses.replace(cosine, schedule='constant')
  rates = [train.learning_rate(constant, step, 10, []) for step in range(100)]
  assert rates == [0.25, 0.5, 0.75, *[1.0] * 97]
  plateau = dataclasses.replace(base, schedule='plateau', learning_rate=1.0, plateau_epochs=2)
  flat = [report(1, 3.0), report(2, 3.0), report(3, 3.0)]
  assert train.learning_rate(plateau, 30, 10, flat[:2]) == 1.0
  assert train.learning_rate(plateau, 30, 10, flat) == pytest.approx(0.1)
  assert train.learning_rate(plateau, 30, 10, [*flat, report(4, 2.0)]) == pytest.approx(0.1)


def test_early_stopping():
  cfg = dataclasses.replace(tiny().train, stop_epochs=2, epochs=100)
  history = [report(1, 3.0), report(2, 2.0), report(3, 2.5)]
  assert not train.finished(cfg, history)
  assert 'no better validation MRE for 2 epochs' in train.finished(cfg, [*history, report(4, 2.1)])
