"""What changes a digest, and, as important, what does not."""

import os
import pathlib
import textwrap

import pytest

from pipelines import digests


@pytest.fixture
def tree(tmp_path):
  """A package `lib` whose `start` imports, in every way there is, all but `alone`."""
  files = {
      'lib/__init__.py': '"""Lib."""\nVERSION = 1\n',
      'lib/start.py': '''
          """Start."""
          import lib.plain
          import lib.pack.inside
          from lib import chosen as other
          from lib.sub import thing  # a name of the package's __init__
          import os

          def run(x):
            """Doc."""
            from lib.late import f
            return f(x)  # comment
          ''',
      'lib/plain.py': 'from . import sibling\n',
      'lib/chosen.py': 'A = 1\n',
      'lib/sibling.py': 'from .deep import value as v\n',
      'lib/deep.py': 'value = 1\n',
      'lib/late.py': 'def f(x):\n  return x\n',
      'lib/sub/__init__.py': 'from .registry import thing\n',
      'lib/sub/registry.py': 'from .. import up\nthing = {"a": up}\n',
      'lib/pack/__init__.py': 'P = 1\n',
      'lib/pack/inside.py': 'I = 1\n',
      'lib/up.py': 'U = 1\n',
      'lib/alone.py': 'Z = 1\n',
  }
  for name, text in files.items():
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(textwrap.dedent(text))
  return tmp_path


def digest(tree, packages=('lib',)):
  return digests.source_digest(tree / 'lib' / 'start.py', 'lib.start', tree, packages)


@pytest.mark.parametrize('name', [
    'start', 'plain', 'chosen', 'sibling', 'deep', 'late', 'sub/__init__', 'sub/registry', 'up',
    '__init__', 'pack/__init__', 'pack/inside'])
def test_code_of_every_module_reached_counts(tree, name):
  before = digest(tree)
  path = tree / 'lib' / f'{name}.py'
  path.write_text(path.read_text('utf-8') + '\nNEW = 1\n')
  assert digest(tree) != before


def test_a_module_out_of_reach_does_not_count(tree):
  before = digest(tree)
  (tree / 'lib' / 'alone.py').write_text('Z = 2\n')
  assert digest(tree) == before


def test_modules_of_other_packages_do_not_count(tree):
  before = digest(tree, packages=('else',))
  (tree / 'lib' / 'deep.py').write_text('value = 2\n')
  assert digest(tree, packages=('else',)) == before


def test_prose_and_layout_do_not_count(tree):
  before = digest(tree)
  (tree / 'lib' / 'start.py').write_text(textwrap.dedent('''
      """Another text."""
      import lib.plain  # why
      import lib.pack.inside
      from lib import (
          chosen as other)
      from lib.sub import thing
      import os


      def run(x):
        from lib.late import f

        return f(x)
      '''))
  (tree / 'lib' / 'late.py').write_text('def f(x):\n  """Doc."""\n  return x\n')
  (tree / 'lib' / '__init__.py').write_text('VERSION = 1\n')
  assert digest(tree) == before


def test_a_string_that_is_a_value_counts(tree):
  (tree / 'lib' / 'deep.py').write_text('value = "a"\n')
  before = digest(tree)
  (tree / 'lib' / 'deep.py').write_text('value = "b"\n')
  assert digest(tree) != before


def test_a_cycle_of_imports_ends(tree):
  (tree / 'lib' / 'deep.py').write_text('import lib.start\nvalue = 1\n')
  assert digest(tree)


def test_the_machinery_does_not_count(tmp_path):
  start = tmp_path / 'start.py'
  (tmp_path / 'pipelines').mkdir()
  machinery = tmp_path / 'pipelines' / 'dsl.py'
  start.write_text('from pipelines.dsl import component\n')
  machinery.write_text('import pipelines.store\n')
  before = digests.source_digest(start, 'start', tmp_path)
  machinery.write_text('component = 2\n')
  assert digests.source_digest(start, 'start', tmp_path) == before


def test_our_own_code_is_found_where_it_lies():
  file = pathlib.Path(digests.__file__)
  assert (digests.ROOT / 'ceph_tf' / 'config.py').is_file()
  assert digests.source_digest(file, 'pipelines.digests')


def test_libraries_name_what_results_depend_on():
  assert {'python', 'tensorflow', 'keras', 'numpy', 'scipy', 'opencv'} <= set(digests.libraries())


def test_tree_digest_is_of_names_and_bytes_but_not_of_logs(tmp_path):
  (tmp_path / 'sub').mkdir()
  (tmp_path / 'sub' / 'a').write_bytes(b'1')
  before = digests.tree_digest(tmp_path, ('logs',))
  (tmp_path / 'logs').mkdir()
  (tmp_path / 'logs' / 'events').write_bytes(b'x')
  os.utime(tmp_path / 'sub' / 'a', (1, 1))
  assert digests.tree_digest(tmp_path, ('logs',)) == before
  assert digests.tree_files(tmp_path, ('logs',)) == {'sub/a': 1}
  (tmp_path / 'sub' / 'a').write_bytes(b'2')
  changed = digests.tree_digest(tmp_path, ('logs',))
  (tmp_path / 'sub' / 'a').rename(tmp_path / 'sub' / 'b')
  assert len({before, changed, digests.tree_digest(tmp_path, ('logs',))}) == 3


def test_folder_digest_sees_times_and_absence(tmp_path):
  (tmp_path / 'a').write_bytes(b'1')
  os.utime(tmp_path / 'a', (1, 1))
  before = digests.folder_digest(tmp_path)
  assert digests.folder_digest(tmp_path) == before
  os.utime(tmp_path / 'a', (2, 2))
  assert digests.folder_digest(tmp_path) != before
  assert digests.folder_digest(tmp_path / 'none') == 'absent'
