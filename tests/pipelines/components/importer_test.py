"""A SavedModel enters the pipeline: whole, and only if it fits the examples."""

import dataclasses
import json
import shutil

import pytest
import tensorflow as tf

from ceph_tf.config import DataConfig
from ceph_tf.data.records import LANDMARKS, DataError
from ceph_tf.serving.recalibrated import FILMS
from pipelines import artifacts, digests
from pipelines.components.importer import importer


@pytest.fixture
def folder(tiny_models, tmp_path):
  return shutil.copytree(tiny_models / 'tiny' / '1', tmp_path / 'tiny')


def imported(folder, examples, tmp_path, seed=0, **data):
  servable = artifacts.ServableModel(tmp_path / 'out')
  servable.path.mkdir()
  importer.function(examples=examples, servable=servable, saved_model=str(folder), data=DataConfig(**data),
                    seed=seed)
  return servable


def trained_on(folder, seed=0, **data):
  cfg = dataclasses.asdict(DataConfig(**data))
  (folder / 'lineage.json').write_text(json.dumps([
      {'component': 'trainer', 'params': {}},
      {'component': 'example_gen', 'params': {'cfg': cfg, 'seed': seed}}]))


def test_the_copy_is_whole(folder, examples, tmp_path):
  servable = imported(folder, examples, tmp_path)
  assert servable.calibrated
  assert digests.tree_digest(servable.saved_model) == digests.tree_digest(folder)


def test_another_model_in_the_same_folder_is_noticed(folder):
  before = importer.external(saved_model=str(folder))
  assert importer.external(saved_model=str(folder)) == before
  (folder / 'assets.extra/calibration.json').write_text('{}')
  assert importer.external(saved_model=str(folder)) != before


def test_other_landmarks_than_the_examples_are_refused(folder, examples, tmp_path):
  names = [*LANDMARKS[1::-1], *LANDMARKS[2:]]  # the first two have changed places
  (folder / 'assets.extra/landmarks.json').write_text(json.dumps(names))
  with pytest.raises(DataError, match=r'19 landmarks \(nasion, sella, .* 19 \(sella, nasion, '):
    imported(folder, examples, tmp_path)
  assert not (tmp_path / 'out/saved_model').exists()


def test_a_damaged_model_is_refused(folder, examples, tmp_path):
  (folder / 'saved_model.pb').write_bytes(b'no protocol buffer')
  with pytest.raises(DataError, match='holds no SavedModel that can be loaded'):
    imported(folder, examples, tmp_path)


def test_a_model_without_heatmaps_is_refused(folder, examples, tmp_path):
  loaded = tf.saved_model.load(str(folder))
  poorer = tmp_path / 'poorer'
  kept = {name: loaded.signatures[name] for name in ('serving_default', 'predict_image')}
  tf.saved_model.save(loaded, str(poorer), kept)
  with pytest.raises(DataError, match='cannot be judged: it has no signature mean_heatmap'):
    imported(poorer, examples, tmp_path)


@pytest.mark.parametrize('seed,data,message', [
    (1, {}, 'seed=0'), (0, {'calibration_images': 21}, r'data\.calibration_images=20'),
    (0, {'validation_images': 5, 'phantom_images': 9},
     r'data\.validation_images=15, data\.phantom_images=150')])
def test_images_that_trained_the_model_cannot_calibrate(folder, examples, tmp_path, seed, data, message):
  trained_on(folder)
  with pytest.raises(DataError, match=f'was trained on phantom with {message}: .* it was trained on'):
    imported(folder, examples, tmp_path, seed, **data)


def test_nor_can_those_that_trained_the_model_before_it_was_recalibrated(folder, examples, tmp_path):
  origin = folder / 'assets.extra/origin'
  origin.mkdir()
  trained_on(origin)
  trained_on(folder, seed=1, dataset='csv')
  with pytest.raises(DataError, match='was trained on phantom with seed=0'):
    imported(folder, examples, tmp_path, 1)
  shutil.rmtree(tmp_path / 'out')
  assert imported(folder, examples, tmp_path).calibrated


def test_films_that_it_was_recalibrated_on_do_not_judge_it(folder, examples, phantom_records, tmp_path):
  tested = [record for record in phantom_records if record.split == 'test']
  papers = folder / 'assets.extra/calibration.json'
  known = [digests.of_bytes(record.image_bytes) for record in phantom_records if record.split != 'test']
  words = json.loads(papers.read_text('utf-8'))
  papers.write_text(json.dumps(words | {FILMS: known}))
  assert imported(folder, examples, tmp_path).calibrated
  shutil.rmtree(tmp_path / 'out')
  papers.write_text(json.dumps(words | {FILMS: [*known, digests.of_bytes(tested[1].image_bytes)]}))
  with pytest.raises(DataError, match=rf'on 1 images of test \({tested[1].image_id}\), which would'):
    imported(folder, examples, tmp_path)


@pytest.mark.parametrize('seed,data', [
    (0, {}), (1, {'calibration_images': 0}), (1, {'dataset': 'csv'}), (1, {'dataset': 'isbi2015'}),
    (0, {'phantom_test_images': 1, 'shards': 3, 'test_fraction': 1.0})])
def test_images_that_it_has_never_seen_can(folder, examples, tmp_path, seed, data):
  trained_on(folder)
  assert imported(folder, examples, tmp_path, seed, **data).calibrated


@pytest.mark.parametrize('text', ['{', '[{"component": "example_gen", "params": {}}]', '[1]', '7'])
def test_a_damaged_lineage_is_refused_where_it_matters(folder, examples, tmp_path, text):
  (folder / 'lineage.json').write_text(text)
  with pytest.raises(DataError, match='lineage.json is damaged'):
    imported(folder, examples, tmp_path)
  shutil.rmtree(tmp_path / 'out')
  assert imported(folder, examples, tmp_path, calibration_images=0).calibrated
