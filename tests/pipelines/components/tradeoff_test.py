"""A table of several models: the graph, the meter, the component on hand-made contents."""

import json

import pytest

from ceph_tf.config import ConfigError
from pipelines import comparison_graph, experiments, pipeline
from pipelines.components.cost_meter import summary


def resolved(models, *overrides):
  return [experiments.resolve(model, 'smoke', overrides, '', '', 0) for model in models]


def test_the_graph_of_several_models_ends_in_their_table():
  nodes = comparison_graph.build_tradeoff(resolved(['baseline', 'ensemble']), 'pushed')
  names = [node.name for node in nodes]
  assert len(set(names)) == len(names) and names[-2:] == ['cost_meter', 'tradeoff_analyzer']
  table = nodes[-1]
  assert table.params['models'] == 'baseline:1:0|ensemble:2:0'
  assert [one.node.name for one in table.inputs['networks']] == [
      'baseline/trainer', 'ensemble/trainer_0', 'ensemble/trainer_1']
  assert [one.node.name for one in nodes[-2].inputs['servables']] == [
      'baseline/calibrated_exporter', 'ensemble/calibrated_exporter']
  assert len(table.inputs['stresses']) == 2
  for kind, name in (('predictions', 'bulk_inferrer'), ('heatmaps', 'heatmap_inferrer_test')):
    assert [one.node.name for one in table.inputs[kind]] == [f'baseline/{name}', f'ensemble/{name}']


def test_teachers_cost_their_training_and_come_behind_the_network_that_answers():
  nodes = comparison_graph.build_tradeoff(resolved(['ensemble', 'distilled']), '')
  table = nodes[-1]
  assert table.params['models'] == 'ensemble:2:0|distilled:1:2'
  assert [one.node.name for one in table.inputs['networks'][2:]] == [
      'distilled/trainer', 'distilled/trainer_teacher_0', 'distilled/trainer_teacher_1']
  by_name = {node.name: node for node in nodes}
  # The teachers are the members of the ensemble, and so come from the cache.
  for k in range(2):
    member, teacher = by_name[f'ensemble/trainer_{k}'], by_name[f'distilled/trainer_teacher_{k}']
    assert (member.component, member.params) == (teacher.component, teacher.params)
  student = by_name['distilled/trainer']
  assert student.params['seed'] not in {by_name[f'ensemble/trainer_{k}'].params['seed'] for k in range(2)}
  exported = by_name['distilled/calibrated_exporter'].inputs['models']
  assert [one.node.name for one in exported] == [student.name]


def test_a_second_look_has_teachers_of_its_own():
  nodes = pipeline.build(experiments.resolve('distilled', 'precise', ['teachers=2'], '', '', 0), '')
  by_name = {node.name: node for node in nodes}
  second = by_name['refine_trainer']
  teachers = ['refine_trainer_teacher_0', 'refine_trainer_teacher_1']
  assert [one.node.name for one in second.inputs['teachers']] == teachers
  assert second.params['cfg'] == by_name['refine_trainer_teacher_0'].params['cfg']
  exported = by_name['calibrated_exporter'].inputs['models']
  assert [one.node.name for one in exported] == ['trainer', 'refine_trainer']


@pytest.mark.parametrize('models,overrides,words', [
    (['baseline', 'baseline'], [], 'each model once'),
    (['baseline', 'ensemble'], ['data.calibration_images=0'], r'data\.calibration_images >= 1'),
    (['baseline', 'ensemble'], ['stress.images=0'], r'stress\.images >= 1'),
])
def test_what_cannot_be_compared_is_refused(models, overrides, words):
  with pytest.raises(ConfigError, match=words):
    comparison_graph.build_tradeoff(resolved(models, *overrides), '')


def test_presets_are_pushed_to_folders_of_their_own():
  names = {preset: pipeline.pushed_name(experiments.resolve('baseline', preset, [], '', '', 0))
           for preset in ('default', 'smoke', 'thesis')}
  assert names == {'default': 'baseline_phantom', 'smoke': 'baseline_phantom_smoke',
                   'thesis': 'baseline_phantom_thesis'}


def test_rounds_are_summed_up_by_medians():
  rounds = [{'milliseconds': [10, 12, 14], 'peak_memory_mib': 700},
            {'milliseconds': [20, 22, 24], 'peak_memory_mib': 720},
            {'milliseconds': [11, 13, 15], 'peak_memory_mib': 701}]
  assert summary(rounds) == {
      'milliseconds_per_image': 14, 'milliseconds_range': [12, 22], 'peak_memory_mib': 701}
  json.dumps(summary(rounds))
