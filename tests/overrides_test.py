import dataclasses
import json

import pytest

from ceph_tf import overrides
from ceph_tf.config import ConfigError, Experiment, NetworkConfig


def test_override_sets_fields_of_every_kind():
  found = overrides.override(Experiment(), [
      'seed=3', 'train.epochs=2', 'train.learning_rate=1e-4', 'model.filters=8,16', 'data.dataset=isbi2015',
      'model.dropout_at=down1, up0', 'preset=mine'])
  assert found.seed == 3 and found.train.epochs == 2 and found.train.learning_rate == 1e-4
  assert found.model.filters == (8, 16) and found.model.dropout_at == ('down1', 'up0')
  assert found.data.dataset == 'isbi2015' and found.preset == 'mine'


def test_override_leaves_the_rest_and_the_original_alone():
  before = Experiment()
  after = overrides.override(before, ['train.epochs=2'])
  assert before == Experiment()
  assert dataclasses.replace(after, train=before.train) == before


def test_the_last_assignment_wins_and_tuples_may_be_written_with_brackets_or_empty():
  assert overrides.override(Experiment(), ['seed=1', 'seed=2']).seed == 2
  assert overrides.override(Experiment(), ['model.filters=(4, 8)']).model.filters == (4, 8)
  assert overrides.override(Experiment(), ['model.dropout_at=']).model.dropout_at == ()


def test_fields_that_depend_on_each_other_may_be_set_in_any_order():
  fields = ['sampler.num_samples=5', 'sampler.kind=passes', 'model.dropout_rate=0.3',
            'model.dropout_at=up0']
  assert overrides.override(Experiment(), fields) == overrides.override(Experiment(), fields[::-1])


@pytest.mark.parametrize('assignment, near', [
    ('train.epoch=2', 'train.epochs'), ('trian.epochs=2', 'train.epochs'), ('epochs=2', 'train.epochs'),
    ('model.filter=8,8', 'model.filters'), ('sed=1', 'seed')])
def test_an_unknown_field_is_refused_with_the_nearest(assignment, near):
  with pytest.raises(ConfigError, match='unknown field') as error:
    overrides.override(Experiment(), [assignment])
  assert near in str(error.value) and assignment.split('=')[0] in str(error.value)


@pytest.mark.parametrize('assignment', ['train.epochs', '=3', ' = ', 'train', '', 'train=3', 'seed.x=1',
                                        'train.epochs.more=1', '.=1', 'train.=1'])
def test_a_malformed_override_is_refused(assignment):
  with pytest.raises(ConfigError):
    overrides.override(Experiment(), [assignment])


@pytest.mark.parametrize('field, value, said', [
    ('train.epochs', 'many', 'int'), ('train.epochs', '2.5', 'int'), ('train.epochs', '', 'int'),
    ('train.learning_rate', 'fast', 'float'), ('model.filters', 'x', 'int'),
    ('train.epochs', '0', '>= 1'), ('seed', '-1', '0..2147483647'), ('seed', '2147483648', '0..2147483647'),
    ('augment.gamma', '11', '0..10'), ('augment.outside', '-1', '0..10'), ('augment.shift', '1.5', '0..1'),
    ('augment.erased', '1.1', '0..1'),
    ('analyze.rescans', '101', '0..100'), ('analyze.rescan_strength', '1.1', '0..1'),
    ('augment.scale', '1', '< 1'), ('model.filters', '8', 'two or more'),
    ('model.dropout_rate', '1', '0.001..0.999'),
    ('model.filters', '8, 0', 'positive'), ('model.stem_stride', '3', '1, 2 or 4'),
    ('model.dropout_at', 'down9', 'down0'), ('model.variational_at', 'down9', 'down0'),
    ('model.dropout_rate', '1e-320', '0, or 0.001'), ('refine.dropout_rate', '-0.1', '0, or 0.001'),
    ('model.prior_scale', '0', '0.001..1000'), ('model.prior_scale', '1e-320', '0.001..1000'),
    ('model.posterior_scale', '-0.1', '0, or 0.001'), ('model.posterior_scale', '1e+30', '0, or 0.001'),
    ('train.kl_weight', '-1', '>= 0'), ('model.members', '1', '>= 2'), ('model.members', '-2', '>= 2'),
    ('model.members_at', 'up0', 'no block without model.members'), ('model.member_spread', '-1', '0..1'),
    ('model.members_at', 'down9', 'down0'), ('sampler.num_samples', '3', 'sampler.kind=one'),
    ('sampler.kind', 'passes', '>= 2'), ('input.height', '321', 'multiple of 32'),
    ('data.shards', '0', '1..100'),
    ('train.batch_size', '100000', '1..512'), ('data.phantom_size_px', '10', '64..4096'),
    ('name', '../evil', 'plain folder name'), ('name', '', 'plain folder name'),
    ('model.landmarks', '3', 'only crops are of one'), ('refine.scale', '9', '0..8'),
    ('refine.crop.size_px', '0', '>= 8'), ('refine.crop.size_px', '7', '0, or >= 8'),
    ('refine.crop.jitter_px', '4', 'two rising lengths > 0'),
    ('refine.crop.landmarks', '0', '>= 1'), ('refine.dropout_at', 'down9', 'down3'),
    ('refine.filters', '8', 'two or more'), ('refine.epochs', '0', '>= 1'), ('refine.window_px', '0', '>= 1'),
    ('model.member_spread', '1.5', '0..1'), ('sampler.num_samples', '99999999999', '1..1000'),
    ('preset', '../x', 'plain folder name'), ('name', '.x', 'plain folder name'),
    ('evaluate.min_sdr_4mm', '1.5', '0..1'),
    ('heatmap.window_px', '0', '>= 1'), ('teachers', '-1', '0..100')])
def test_a_value_out_of_range_is_refused_with_field_value_and_range(field, value, said):
  with pytest.raises(ConfigError) as error:
    overrides.override(Experiment(), [f'{field}={value}'])
  assert said in str(error.value) and value in str(error.value)
  assert field.split('.')[0] in str(error.value)


@pytest.mark.parametrize('field, assignments', [
    ('model.dropout_rate', ['model.dropout_at=up0']), ('model.dropout_at', ['model.dropout_rate=0.3'])])
def test_passes_without_dropout_are_refused_before_the_training(field, assignments):
  passes = ['sampler.kind=passes', 'sampler.num_samples=3']
  with pytest.raises(ConfigError, match=f'{field}=.*when sampler.kind=passes'):
    overrides.override(Experiment(), [*passes, *assignments])


def test_what_would_be_another_model_than_it_is_called_is_refused():
  members = ['model.members=4', 'model.members_at=up0', 'sampler.num_samples=4', 'sampler.kind=members']
  with pytest.raises(ConfigError, match="sampler.kind='members': allowed is passes or views with"):
    overrides.override(Experiment(), members)
  still = [f'sampler.view_{how}=0' for how in ('rotate_deg', 'scale', 'shift')]
  views = ['sampler.kind=views', 'sampler.num_samples=5']
  assert overrides.override(Experiment(), [*views, *still[1:]]).sampler.view_scale == 0
  with pytest.raises(ConfigError, match='sampler.view_rotate_deg=0.0: allowed is > 0 where'):
    overrides.override(Experiment(), [*views, *still])


def test_group_normalization_needs_whole_groups():
  assert overrides.override(Experiment(), ['model.norm=group', 'model.filters=4,8,16']).model.norm == 'group'
  with pytest.raises(ConfigError, match=r'model.filters=\(8, 12, 16\): allowed is numbers below 8 or'):
    overrides.override(Experiment(), ['model.norm=group', 'model.filters=8,12,16'])


def test_passes_need_noise_of_some_kind():
  passes = ['sampler.kind=passes', 'sampler.num_samples=3', 'model.variational_at=up0']
  assert overrides.override(Experiment(), passes).model.variational_at == ('up0',)
  with pytest.raises(ConfigError, match='model.posterior_scale=0.0: allowed is > 0 when sampler.kind=passes'):
    overrides.override(Experiment(), [*passes, 'model.posterior_scale=0'])
  members = ['sampler.kind=passes', 'model.members=4', 'model.members_at=up0']
  assert overrides.override(Experiment(), [*members, 'sampler.num_samples=4']).model.members == 4
  with pytest.raises(ConfigError, match='sampler.num_samples=5: allowed is 4, the number of model.members'):
    overrides.override(Experiment(), [*members, 'sampler.num_samples=5'])
  with pytest.raises(ConfigError, match='allowed is 4, .* when sampler.kind=views'):
    overrides.override(Experiment(), [*members, 'sampler.num_samples=5', 'sampler.kind=views'])
  with pytest.raises(ConfigError, match=r'model.members_at=\(\): allowed is a block or more'):
    overrides.override(Experiment(), ['model.members=4'])
  with pytest.raises(ConfigError, match="model.norm='none': allowed is batch or group with model.members"):
    overrides.override(Experiment(), [*members, 'sampler.num_samples=4', 'model.norm=none'])


@pytest.mark.parametrize('fields, said', [
    (['refine.crop.size_px=20'], 'refine.crop.size_px=20: allowed is a multiple of 8 for 4 refine.filters'),
    (['train.loss=mse'], "train.loss='mse': allowed is cross_entropy with refine.scale"),
    (['model.head=gaussian'], "model.head='gaussian': allowed is heatmap with refine.scale"),
    (['model.members=2', 'model.members_at=up0'], 'model.members=2: allowed is 0 with refine.scale'),
    (['model.variational_at=up0'], 'allowed is none with refine.scale'),
    (['sampler.kind=passes', 'sampler.num_samples=2', 'model.dropout_rate=0.1', 'model.dropout_at=up0'],
     'refine.dropout_rate=0.0: allowed is some with refine.scale and sampler.kind=passes')])
def test_a_second_look_that_does_not_fit_the_first_is_refused(fields, said):
  with pytest.raises(ConfigError, match=said):
    overrides.override(Experiment(), ['refine.scale=2', *fields])


@pytest.mark.parametrize('fields, said', [
    (['train.loss=mse'], "train.loss='mse': allowed is cross_entropy with teachers"),
    (['model.head=gaussian'], "model.head='gaussian': allowed is heatmap with teachers"),
    (['model.members=2', 'model.members_at=up0'], 'model.members=2: allowed is 0 with teachers')])
def test_what_teachers_cannot_teach_is_refused(fields, said):
  with pytest.raises(ConfigError, match=said):
    overrides.override(Experiment(), ['teachers=2', *fields])


@pytest.mark.parametrize('field, value, hint', [
    ('model.variational_kind', 'flip', 'flipout'), ('model.variational_at', 'upp3', 'up3'),
    ('train.loss', 'crossentropy', 'cross_entropy'), ('train.precision', 'bfloat16', 'mixed_bfloat16'),
    ('input.fit', 'padd', 'pad'), ('heatmap.decode', 'argmx', 'argmax'),
    ('validate.points', 'stopp', 'stop')])
def test_a_wrong_choice_gets_the_nearest_one(field, value, hint):
  with pytest.raises(ConfigError, match=f"did you mean '{hint}'"):
    overrides.override(Experiment(), [f'{field}={value}'])


def _float_fields():
  found = []
  for path in overrides.field_paths(Experiment()):
    value = Experiment()
    for key in path.split('.'):
      value = getattr(value, key)
    if isinstance(value, float):
      found.append(path)
  return found


@pytest.mark.parametrize('field', _float_fields())
@pytest.mark.parametrize('value', ['nan', 'inf', '-1e-3'])
def test_no_float_may_be_nan_or_negative(field, value):
  with pytest.raises(ConfigError, match=field.replace('.', r'\.')):
    overrides.override(Experiment(), [f'{field}={value}'])


def test_json_there_and_back_again():
  experiment = overrides.override(Experiment(), ['model.filters=8,16', 'model.dropout_at=up0', 'seed=9'])
  assert overrides.from_json(overrides.to_json(experiment)) == experiment
  assert overrides.from_json(overrides.to_json(experiment.network), NetworkConfig) == experiment.network


def test_equal_configs_give_equal_text_with_every_field():
  text = overrides.to_json(Experiment())
  assert text == overrides.to_json(overrides.override(Experiment(), ['seed=0']))
  tree = json.loads(text)
  for path in overrides.field_paths(Experiment()):
    value = tree
    for key in path.split('.'):
      value = value[key]


def test_json_with_an_unknown_field_or_a_bad_value_is_refused():
  tree = json.loads(overrides.to_json(Experiment()))
  with pytest.raises(ConfigError, match='train.epoch'):
    overrides.from_json(json.dumps(tree | {'train': tree['train'] | {'epoch': 3}}))
  with pytest.raises(ConfigError, match='train.epochs'):
    overrides.from_json(json.dumps(tree | {'train': tree['train'] | {'epochs': 0}}))


def test_every_default_is_a_valid_experiment_that_cannot_be_changed():
  experiment = Experiment()
  with pytest.raises(dataclasses.FrozenInstanceError):
    experiment.seed = 3
  for path in overrides.field_paths(experiment):
    of_all = ('name', 'preset', 'seed', 'under_trained_mm', 'serving_precision', 'teachers')
    assert path in of_all or '.' in path


def test_the_network_slice_holds_nothing_that_does_not_train():
  experiment = overrides.override(Experiment(), ['evaluate.bootstrap=7', 'data.shards=5', 'sampler.chunk=2'])
  assert experiment.network == Experiment().network
