import dataclasses
import itertools

import pytest

from ceph_tf.config import ConfigError
from pipelines import pipeline
from pipelines.experiments import DATASETS, EXPERIMENTS, PRESETS, judging, resolve, resolve_all

TWO_LOOKS = ('baseline', 'mc_dropout', 'ensemble', 'views', 'distilled')
NOT_OF_THE_THESIS = ('distilled', 'swa')
COMBINATIONS = [(model, preset, dataset) for model, preset, dataset in itertools.product(
    EXPERIMENTS, PRESETS, DATASETS)
    if (preset != 'precise' or model in TWO_LOOKS) and (preset != 'thesis' or model not in NOT_OF_THE_THESIS)]


@pytest.mark.parametrize('model,preset,dataset', COMBINATIONS)
def test_every_combination_is_an_experiment(model, preset, dataset):
  experiment = resolve(model, preset, [], dataset, '' if dataset == 'phantom' else '/data', 3)
  assert (experiment.name, experiment.preset, experiment.seed) == (model, preset, 3)
  kinds = {'baseline': 'one', 'mc_dropout': 'passes', 'flipout': 'passes', 'film_ensemble': 'passes',
           'ensemble': 'members', 'views': 'views', 'film_views': 'views', 'gaussian': 'one',
           'distilled': 'one', 'swa': 'one'}
  assert experiment.sampler.kind == kinds[model]
  assert bool(experiment.refiner) == (preset == 'precise')


@pytest.mark.parametrize('model', ['ensemble', 'distilled'])
def test_members_of_an_ensemble_and_students_are_baselines(model):
  one, baseline = (resolve(m, 'default', [], '', '', 0) for m in (model, 'baseline'))
  assert one.network == baseline.network


@pytest.mark.parametrize('preset', ['default', 'smoke'])
def test_averaged_weights_are_those_of_a_baseline_that_is_trained_at_one_rate(preset):
  swa, baseline = (resolve(model, preset, [], '', '', 0).network for model in ('swa', 'baseline'))
  assert swa.train.schedule == 'constant' and swa.train.ema > 0
  assert dataclasses.replace(swa, train=baseline.train) == baseline
  assert dataclasses.replace(swa.train, schedule='cosine') == baseline.train


def test_a_student_has_as_many_teachers_as_the_ensemble_has_members():
  for preset in ('default', 'precise', 'smoke'):
    student, ensemble = (resolve(m, preset, [], '', '', 0) for m in ('distilled', 'ensemble'))
    assert student.teachers == ensemble.sampler.num_samples


def test_the_first_look_of_the_precise_preset_is_the_default_at_a_constant_rate():
  precise = resolve('mc_dropout', 'precise', [], '', '/data', 0)
  default = resolve('mc_dropout', 'default', ['train.schedule=constant'], '', '/data', 0)
  assert precise.network == default.network
  swa = resolve('swa', 'default', [], '', '', 0)
  assert resolve('baseline', 'precise', [], '', '', 0).network == swa.network
  second = precise.refiner
  assert (second.input.height, second.input.width) == (640, 512)
  assert second.augment.elastic_px / second.input.height == default.augment.elastic_px / default.input.height
  erased = resolve('ensemble', 'precise', ['augment.erased=0.25'], '', '', 0)
  assert (erased.network.augment.erased, erased.refiner.augment.erased) == (0.25, 0.25)
  assert second.train.truth == default.train.truth and second.crop.size_px == 64
  assert (second.heatmap.window_px, default.heatmap.window_px) == (12, 6)


def test_the_command_line_has_the_last_word():
  junior = resolve('mc_dropout', 'thesis', ['train.truth=junior'], 'isbi2015', '/data', 0)
  assert junior.train.truth == 'junior'


def test_data_dir_means_isbi_and_none_the_phantom():
  assert resolve('baseline', 'default', [], '', '/data', 0).data.dataset == 'isbi2015'
  assert resolve('baseline', 'default', [], '', '', 0).data.dataset == 'phantom'


def test_the_thesis_is_configured_as_published():
  thesis = resolve('mc_dropout', 'thesis', [], '', '/data', 0)
  assert thesis.model.filters == (64, 128, 256, 512, 1024) and thesis.model.dropout_rate == 0.4
  assert (thesis.input.height, thesis.input.width) == (128, 128)
  heatmap = thesis.heatmap
  assert (heatmap.target_sigma_px, heatmap.amplitude, heatmap.decode) == (5, 1000, 'argmax')
  assert thesis.train.loss == 'mse' and thesis.train.truth == 'senior' and thesis.train.batch_size == 8
  assert thesis.train.plateau_epochs == 15 and thesis.train.stop_epochs == 30
  assert thesis.sampler.num_samples == 15


@pytest.mark.parametrize('arguments,said', [
    (('mc_dropuot', 'default', [], '', '', 0), "did you mean 'mc_dropout'"),
    (('baseline', 'defualt', [], '', '', 0), "did you mean 'default'"),
    (('all', 'default', [], '', '', 0), '--model=all: allowed is alone, or baseline,mc'),
    (('flipout', 'precise', [], '', '', 0),
     "--preset=precise --model='flipout': allowed is baseline, distilled, ensemble, mc_dropout, views"),
    (('distilled', 'thesis', [], '', '', 0),
     "--preset=thesis --model='distilled': allowed is baseline, ensemble, film_ensemble"),
    (('baseline', 'default', [], 'isbi', '', 0), 'isbi2015'),
    (('baseline', 'default', [], 'phantom', '/data', 0), 'reads no files'),
])
def test_mistakes_are_named(arguments, said):
  with pytest.raises(ConfigError, match=said):
    resolve(*arguments)


def test_where_a_model_is_judged_own_images_test_it():
  own = judging([], 'csv', '/data', 0)
  assert (own.data.test_fraction, own.data.calibration_images, own.evaluate.split) == (1, 0, 'test')
  assert judging(['data.calibration_images=9'], 'csv', '/data', 0).data.calibration_images == 9
  films = judging(['train.truth=mean', 'stress.images=0'], '', '/data', 3)
  trained = resolve('baseline', 'default', ['data.test_fraction=1'], '', '/data', 3)
  assert films.data == trained.data  # the same calibration films
  assert (films.evaluate.split, films.train.truth) == ('test1', 'mean')


def test_an_error_of_one_of_several_models_names_it():
  names = ['ensemble', 'views']
  assert [one.name for one in resolve_all(names, 'default', [], '', '', 0)] == names
  with pytest.raises(ConfigError, match='^baseline: sampler.num_samples=3: allowed is 1 when'):
    resolve_all(['ensemble', 'baseline'], 'default', ['sampler.num_samples=3'], '', '', 0)
  with pytest.raises(ConfigError, match='^sampler.num_samples=3: allowed is 1 when'):
    resolve_all(['baseline'], 'default', ['sampler.num_samples=3'], '', '', 0)


@pytest.mark.parametrize('field', [
    'train.epochs=2', 'input.height=64', 'sampler.num_samples=3', 'refine.scale=2', 'data.test_fraction=0.5',
    'serving_precision=float32'])
def test_what_changes_nothing_where_a_model_is_judged_is_refused(field):
  with pytest.raises(ConfigError, match=f'--set {field}: nothing is trained; allowed are data., '):
    judging([field], '', '', 0)


def test_a_model_is_judged_by_the_nodes_that_follow_an_export():
  def names(*overrides):
    return [node.name for node in pipeline.build_imported(judging(list(overrides), '', '/data', 0), '/model')]
  short = ['example_gen', 'example_validator', 'importer', 'infra_validator', 'bulk_inferrer',
           'evaluator']
  assert names('data.calibration_images=0') == short
  assert names('stress.images=0') == [
      *short, 'bulk_inferrer_calibration', 'heatmap_inferrer_test1', 'heatmap_inferrer_calibration',
      'uncertainty_analyzer']
  assert names()[-1] == 'stress_analyzer'


def test_a_model_is_judged_before_and_after_it_is_recalibrated():
  found = pipeline.build_recalibrated(judging([], '', '/data', 0), '/models/mine/3', '/push')
  assert [node.name for node in found] == [
      'example_gen', 'example_validator', 'importer',
      'before/infra_validator', 'before/bulk_inferrer', 'before/evaluator',
      'bulk_inferrer_calibration', 'recalibrator', 'infra_validator', 'bulk_inferrer', 'evaluator',
      'improvement_analyzer', 'pusher']
  by_name = {node.name: node for node in found}
  imported, again = (by_name['importer']['servable'],), (by_name['recalibrator']['recalibrated'],)
  for name, asked in (('bulk_inferrer_calibration', imported), ('before/bulk_inferrer', imported),
                      ('bulk_inferrer', again), ('infra_validator', again), ('pusher', again)):
    assert by_name[name].inputs['servable'] == asked, name
  assert by_name['evaluator'].params['title'] == 'mine, version 3, recalibrated'
  assert by_name['pusher'].params['model_name'] == 'mine_recalibrated'
  second = pipeline.build_recalibrated(judging([], '', '/data', 0), '/models/mine_recalibrated/1', '/push')
  assert second[-1].params['model_name'] == 'mine_recalibrated'
  compared = by_name['improvement_analyzer'].inputs
  assert compared['before'][0].node.name == 'before/bulk_inferrer'
  assert compared['after'][0].node.name == 'bulk_inferrer'


@pytest.mark.parametrize('fields,words', [
    ([], 'images=0: at least 19 films'), (['data.calibration_images=18'], 'images=18: at least 19 films'),
    (['data.calibration_images=20', 'analyze.coverage=0.96'], 'at least 24 films .* analyze.coverage=0.96')])
def test_too_few_films_to_recalibrate_are_said_before_anything_runs(fields, words):
  with pytest.raises(ConfigError, match=words):
    pipeline.build_recalibrated(judging(fields, 'csv', '/data', 0), '/models/mine/3', '/push')
