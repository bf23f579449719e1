"""Imports point down only: the map in BUILD.md holds."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# From the bottom up; a module may import from its own layer and those below.
LAYERS = [
    ('ceph_tf.config', 'ceph_tf.overrides', 'ceph_tf.seeds', 'ceph_tf.geometry'),
    ('ceph_tf.data',), ('ceph_tf.models',), ('ceph_tf.uncertainty',), ('ceph_tf.evaluation',),
    ('ceph_tf.serving',), ('pipelines',),
]


def layer(module):
  for height, names in enumerate(LAYERS):
    if any(module == name or module.startswith(name + '.') for name in names):
      return height
  return -1  # ceph_tf itself


def imports(path):
  for node in ast.walk(ast.parse(path.read_text('utf-8'))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


MODULES = {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path
    for package in ('ceph_tf', 'pipelines') for path in sorted((ROOT / package).rglob('*.py'))}


def test_there_is_something_to_check():
  assert len(MODULES) > 50


@pytest.mark.parametrize('module', MODULES)
def test_imports_point_down(module):
  for target in imports(MODULES[module]):
    if target.split('.')[0] in ('ceph_tf', 'pipelines'):
      assert layer(target) <= layer(module), f'{module} imports {target}'


@pytest.mark.parametrize('module', [name for name in MODULES if name.startswith('ceph_tf.serving')])
def test_serving_knows_no_training_input(module):
  forbidden = ('ceph_tf.data.augment', 'ceph_tf.data.input')
  assert not [target for target in imports(MODULES[module]) if target.startswith(forbidden)]


@pytest.mark.parametrize('module', [name for name in MODULES if name.startswith('ceph_tf')])
def test_only_plots_import_matplotlib(module):
  if module != 'ceph_tf.evaluation.plots':
    assert not [target for target in imports(MODULES[module]) if target.startswith('matplotlib')]


@pytest.mark.parametrize('module', [name for name in MODULES if name.startswith('ceph_tf')])
def test_the_library_prints_nothing_and_has_no_global_random_state(module):
  for node in ast.walk(ast.parse(MODULES[module].read_text('utf-8'))):
    if isinstance(node, ast.Call):
      call = ast.unparse(node.func)
      assert call != 'print'
      assert call not in ('np.random.seed', 'tf.random.set_seed', 'keras.utils.set_random_seed')
      assert not call.startswith(('np.random.rand', 'np.random.normal', 'tf.random.normal',
                                  'tf.random.uniform')), call
