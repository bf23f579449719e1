"""stress_inferrer, stress_analyzer and comparer on one tiny exported network."""

import dataclasses
import json
import os
import sys

import numpy as np
import pytest

from ceph_tf import seeds
from ceph_tf.config import AnalyzeConfig, ConfigError, Experiment, SamplerConfig, StressConfig
from ceph_tf.data import examples as tfrecords
from ceph_tf.data import perturb
from ceph_tf.data.records import LANDMARKS
from ceph_tf.evaluation import stress_report
from ceph_tf.models import unet
from ceph_tf.overrides import override
from ceph_tf.uncertainty import fitted as fitting
from pipelines import artifacts, comparison_graph, experiments, judging_graph, pipeline
from pipelines.components.bulk_inferrer import bulk_inferrer
from pipelines.components.comparer import comparer
from pipelines.components.exporter import calibrated_exporter
from pipelines.components.stress_analyzer import stress_analyzer
from pipelines.components.stress_inferrer import stress_inferrer
from pipelines.dsl import ComponentError, Context

CFG = override(Experiment(), ['input.height=32', 'input.width=32', 'model.filters=4,8']).network
STRESS = StressConfig(images=1, copies=3, height_px=80, angle_step_deg=15)
CONTEXT = Context(node='stress', run='test', key='0', lineage=lambda: [])
BEFORE = 4  # calibration films


def new(kind, folder):
  folder.mkdir(parents=True)
  return kind(folder)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('stress')


@pytest.fixture(scope='module')
def examples(folder, phantom_records):
  """Some of the films to train are films to calibrate here."""
  made, moved = new(artifacts.Examples, folder / 'examples'), 0
  records = []
  for record in phantom_records:
    if record.split == 'train' and moved < BEFORE - 1:
      record, moved = dataclasses.replace(record, split='calibration'), moved + 1
    records.append(record)
  tfrecords.write(iter(records), made.path, 1, 'phantom')
  return made


@pytest.fixture(scope='module')
def servable(folder):
  """Weights as they were drawn, and a calibration that was made up."""
  model = new(artifacts.TrainedModel, folder / 'model')
  unet.build(CFG.model, CFG.input, 19, CFG.train.precision, seed=1).model.save_weights(
      model.path / 'model.weights.h5')
  (model.path / 'network.json').write_text(json.dumps(
      {'cfg': dataclasses.asdict(CFG), 'seed': 1, 'landmark_names': list(LANDMARKS)}), 'utf-8')
  rng, calibration = seeds.rng(0, 'calibration'), new(artifacts.Calibration, folder / 'calibration')
  covariance = np.broadcast_to(np.eye(2), (30, 19, 2, 2))
  fitting.save(fitting.fit(
      rng.uniform(size=(30, 12)), rng.uniform(size=(30, 1, 12)), rng.normal(size=(30, 19, 2)), covariance,
      rng.uniform(0, 5, (30, 1, 19)), 0.9, 5, 0.05), calibration.fitted)
  made = new(artifacts.ServableModel, folder / 'servable')
  calibrated_exporter.function(models=[model], calibration=calibration, servable=made,
                               sampler=SamplerConfig(), seed=0)
  return made


@pytest.fixture(scope='module')
def blessing(folder):
  made = new(artifacts.InfraBlessing, folder / 'blessing')
  made.write({'blessed': True, 'reasons': []})
  return made


@pytest.fixture(scope='module')
def infer(folder, servable, examples, blessing):
  def predict(series, name='', dataset='phantom'):
    found = new(artifacts.Predictions, folder / f'predictions_{name or series}')
    stress_inferrer.function(
        servable=servable, examples=examples, blessing=blessing, predictions=found, cfg=STRESS,
        series=series, split='test', truth='truth', dataset=dataset, seed=0, context=CONTEXT)
    assert not found.missing_files()
    return found
  return predict


@pytest.fixture(scope='module')
def series(infer):
  return {name: infer(name) for name in judging_graph.SERIES}


@pytest.fixture(scope='module')
def analysis(folder, series, servable, examples, blessing):
  before = new(artifacts.Predictions, folder / 'before')
  bulk_inferrer.function(servable=servable, examples=examples, blessing=blessing, predictions=before,
                         split='calibration', context=CONTEXT)
  made = new(artifacts.StressAnalysis, folder / 'analysis')
  stress_analyzer.function(
      **series, calibration=before, examples=examples, analysis=made, cfg=STRESS, analyze=AnalyzeConfig(),
      split='test', truth='truth', title='baseline, tiny', seed=0)
  return made


def test_each_series_has_its_films_and_levels(series, phantom_records):
  elastic, rotation, condition = (series[name].read() for name in ('elastic', 'rotation', 'condition'))
  np.testing.assert_allclose(elastic['level'], [0, 0.02, 0.04])
  np.testing.assert_allclose(rotation['level'], np.arange(-45, 46, 15))
  assert condition['condition'].tolist() == ['clean', *perturb.CONDITIONS]
  first = next(record for record in phantom_records if record.split == 'test')
  assert set(elastic['image_id']) == set(condition['image_id']) == {first.image_id}
  assert set(rotation['image_id']) == {'phantom'}
  for name, arrays in (('elastic', elastic), ('rotation', rotation), ('condition', condition)):
    assert set(arrays['series']) == {name}
    assert arrays['points_px'].shape == arrays['truth_px'].shape == (len(arrays['level']), 19, 2)
    assert {'measure/mha', 'ood_score', 'samples_px', 'spacing_mm'} <= arrays.keys()
    assert 'image' not in arrays
  # Twice as coarse as the film of 160 px, and its points with it.
  np.testing.assert_allclose(elastic['spacing_mm'], 2 * first.spacing_mm, rtol=1e-5)
  np.testing.assert_allclose(elastic['truth_px'][0], (first.points_px['truth'] + 0.5) / 2 - 0.5, atol=1e-3)
  assert np.isfinite(rotation['truth_px'][3]).all() and np.isnan(condition['truth_px'][1:]).all()


def test_changed_films_are_answered_otherwise_and_unchanged_ones_alike(series):
  elastic, condition = series['elastic'].read(), series['condition'].read()
  np.testing.assert_allclose(elastic['points_px'][0], condition['points_px'][0], atol=1e-2)
  for other in (1, 2):
    assert np.abs(elastic['ood_score'][other] - elastic['ood_score'][0]) > 1e-5
  assert len(set(condition['ood_score'].tolist())) == len(condition['ood_score'])


def test_scanners_change_the_film_and_leave_its_spacing(series):
  found = series['scanner'].read()
  assert found['condition'].tolist() == ['clean', *perturb.SCANNERS] and set(found['series']) == {'scanner'}
  assert set(found['spacing_mm']) == {series['elastic'].read()['spacing_mm'][0]}
  assert found['truth_px'].shape == (1 + len(perturb.SCANNERS), 19, 2)
  assert {'refer', 'region_radius_px'} <= found.keys()


def test_changed_films_that_the_model_refuses_are_left_out(infer, monkeypatch):
  blank = dict.fromkeys(['cropped', 'noise'], lambda image, rng: np.zeros_like(image))
  monkeypatch.setattr(perturb, 'CONDITIONS', perturb.CONDITIONS | blank)
  found = infer('condition', 'blank').read()
  assert found['condition'].tolist() == ['clean', *(name for name in perturb.CONDITIONS if name not in blank)]
  assert np.isfinite(found['points_px']).all() and len(found['ood_score']) == len(found['condition'])


def test_phantoms_are_a_condition_beside_real_films(infer):
  found = infer('condition', 'real', dataset='csv').read()
  assert found['condition'].tolist() == ['clean', *perturb.CONDITIONS, 'phantom']


def test_the_analysis_holds_what_it_promises(analysis):
  assert not analysis.missing_files()
  found = json.loads((analysis.path / 'stress.json').read_text('utf-8'), parse_constant=pytest.fail)
  assert found['elastic']['images'] == 1 and found['rotation']['source'] == 'phantom'
  assert len(found['rotation']['levels']) == 7 and min(found['rotation']['error_mm']) > 0
  assert {'mha', 'ood_score'} <= found['elastic']['measures'].keys()
  assert {name.replace('_', ' ') for name in perturb.CONDITIONS} <= found['separation'].keys()
  assert found['shift']['noise']['calibration_images'] == BEFORE
  assert list(found['scanner']) == ['clean', *perturb.SCANNERS]
  assert all(row['mre_mm'] > 0 and row['referred'] in (0, 1) for row in found['scanner'].values())
  page = (analysis.path / 'stress.html').read_text('utf-8')
  assert 'baseline, tiny' in page and found['shift']['noise']['words'].split(' (')[0] in page
  names = sorted(path.name for path in (analysis.path / 'figures').iterdir())
  assert names == ['elastic.png', 'elastic_auroc.png', 'elastic_overlay.png', 'rotation.png',
                   'rotation_overlay.png']
  assert list((analysis.path / 'logs').glob('events.*'))


def test_a_film_that_was_refused_is_not_drawn_with_the_points_of_another(series, examples, monkeypatch):
  arrays = {name: series[name].read() for name in ('elastic', 'rotation')}
  arrays['elastic'] = {name: value[1:] if np.ndim(value) else value
                       for name, value in arrays['elastic'].items()}
  drawn = []
  monkeypatch.setattr(stress_report, 'overlay', lambda name, *rest: drawn.append((name, *rest)))
  module = sys.modules[stress_analyzer.function.__module__]
  module._overlays(arrays, examples, STRESS, 'test', 'truth', 0)
  assert [name for name, *_ in drawn] == ['elastic_overlay', 'rotation_overlay']
  for name, films, predictions, rows, _ in drawn:
    assert [film.level for film in films] == predictions['level'][rows].tolist()
    if name == 'elastic_overlay':
      assert {film.level for film in films} == {0.02, 0.04}


def test_a_model_that_is_not_blessed_predicts_nothing(servable, examples, tmp_path):
  blessing = new(artifacts.InfraBlessing, tmp_path / 'blessing')
  blessing.write({'blessed': False, 'reasons': ['it is broken']})
  predictions = new(artifacts.Predictions, tmp_path / 'out')
  with pytest.raises(ComponentError, match='it is broken'):
    stress_inferrer.function(
        servable=servable, examples=examples, blessing=blessing, predictions=predictions, cfg=STRESS,
        series='elastic', split='test', truth='truth', dataset='phantom', seed=0, context=CONTEXT)
  assert predictions.missing_files()


def test_a_missing_volume_is_refused_by_name_and_a_changed_one_is_another_key(tmp_path):
  def key(series, volume):
    return stress_inferrer.external(cfg=dataclasses.replace(STRESS, volume=str(volume)), series=series,
                                    split='test', truth='truth', dataset='phantom', seed=0)
  missing = tmp_path / 'head.nii'
  with pytest.raises(ConfigError, match=r'stress\.volume=.*head\.nii'):
    key('rotation', missing)
  assert key('elastic', missing) == '' and key('rotation', '') == ''  # it is not read there
  missing.write_bytes(b'1')
  os.utime(missing, ns=(1, 1))
  before = key('rotation', missing)
  os.utime(missing, ns=(1, 2))
  touched = key('rotation', missing)
  missing.write_bytes(b'12')
  os.utime(missing, ns=(1, 2))
  assert len({'', before, touched, key('rotation', missing)}) == 4


def test_the_comparer_puts_a_model_into_the_table(analysis, tmp_path):
  evaluation = new(artifacts.Evaluation, tmp_path / 'evaluation')
  evaluation.write({'results': {'truth': {}}, 'spacing_mm': None})
  unknown = new(artifacts.UncertaintyAnalysis, tmp_path / 'unknown')
  unknown.write({'status': 'not_possible', 'truth': 'truth', 'split': 'test'})
  comparison = new(artifacts.Comparison, tmp_path / 'comparison')
  comparer.function(
      evaluations=[evaluation] * 2, analyses=[unknown] * 2, stresses=[analysis] * 2,
      under_trained=[unknown] * 2, comparison=comparison, models='baseline|ensemble', under_trained_mm=6.0)
  assert not comparison.missing_files()
  found = json.loads((comparison.path / 'comparison.json').read_text('utf-8'), parse_constant=pytest.fail)
  assert list(found['models']) == ['baseline', 'ensemble']
  pearson = analysis.read()['elastic']['measures']['mha']['pearson']
  assert found['models']['baseline']['correlations']['elastic'] == pearson
  page = (comparison.path / 'comparison.html').read_text('utf-8')
  assert f'<td>{pearson:.2f} (-0.95)</td>' in page and '<td>ensemble</td>' in page


def resolved(*overrides):
  return [experiments.resolve(model, 'smoke', overrides, '', '', 0) for model in experiments.COMPARED]


def test_the_graph_of_all_models_ends_in_their_comparison():
  nodes = comparison_graph.build_all(resolved(), 'pushed')
  names = [node.name for node in nodes]
  assert len(set(names)) == len(names) and names[-1] == 'comparer'
  for model in experiments.COMPARED:
    assert {f'{model}/stress_{name}' for name in judging_graph.SERIES} <= set(names)
    assert f'{model}/stress_analyzer' in names and f'{model}/pusher' in names
    # Under-trained models are analysed, but neither pushed nor asked about changed films.
    assert f'{model}_under/uncertainty_analyzer' in names and f'{model}_under/pusher' not in names
    assert not [name for name in names if name.startswith(f'{model}_under/stress')]
  under = [node for node in nodes if node.name.startswith('baseline_under/trainer')]
  assert [node.params['cfg'].train.target_mre_mm for node in under] == [1000]


@pytest.mark.parametrize('field', ['data.calibration_images=0', 'stress.images=0'])
def test_models_without_an_analysis_cannot_be_compared(field):
  with pytest.raises(ConfigError, match=r'data\.calibration_images >= 1 and\s+stress\.images >= 1'):
    comparison_graph.build_all(resolved(field), 'pushed')


@pytest.mark.parametrize('fields,words', [
    (['stress.volume=/nowhere.nii.gz'], 'no such file'),
    (['stress.volume=setup.py'], 'no volume'),
    (['stress.volume_axes=LPS'], 'volume_axes'),
])
def test_a_volume_that_cannot_be_read_is_refused_before_anything_is_trained(fields, words):
  with pytest.raises(ConfigError, match=words):
    pipeline.build(override(Experiment(), fields), 'pushed')
