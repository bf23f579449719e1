"""Digests of code, libraries, configuration and files: what a cache key is made of.

**Code.** A component's digest covers the module it stands in and every module of
our own packages that this one imports, directly or not, wherever the import
stands. Of each module the syntax tree counts, without docstrings, so that prose
and formatting never retrain a network. Not seen are modules imported by a
computed name, and files that are not Python. Left out on purpose is `MACHINERY`,
which has no say in what a component writes: it brings folders (`dsl`, `artifacts`),
checks values that are in the key themselves (`config`), or looks on and draws what
no digest covers (`tensorboard`). What `config` derives from its values (which channels
a network sees, which image its heatmaps lie on) is as plain as a default: whoever
changes that says `--from`.

**Files.** `tree_digest` reads every byte; `folder_digest` looks at names, sizes
and modification times only, which is quick enough for a large data folder at
every start, and wrong only where a tool changes bytes and restores both.
"""

import ast
import functools
import hashlib
import importlib.metadata
import json
import pathlib
import platform
from collections.abc import Iterable, Iterator

PACKAGES = ('ceph_tf', 'pipelines')
MACHINERY = frozenset({
    'pipelines.dsl', 'pipelines.digests', 'pipelines.artifacts', 'ceph_tf.config', 'ceph_tf.overrides',
    'ceph_tf.evaluation.tensorboard',
})
ROOT = pathlib.Path(__file__).resolve().parents[1]
LIBRARIES = {
    'tensorflow': ('tensorflow', 'tensorflow-cpu'),
    'tensorflow-probability': ('tensorflow-probability',),
    'keras': ('keras',),
    'numpy': ('numpy',),
    'scipy': ('scipy',),
    'opencv': ('opencv-python-headless', 'opencv-python', 'opencv-contrib-python'),
}


def of_json(value) -> str:
  """A digest of anything JSON can hold, whatever the order of its keys."""
  return of_bytes(json.dumps(value, sort_keys=True).encode())


def of_bytes(content: bytes) -> str:
  """The SHA-256 of it."""
  return hashlib.sha256(content).hexdigest()


def source_digest(file: pathlib.Path, module: str, root: pathlib.Path = ROOT,
                  packages: tuple[str, ...] = PACKAGES) -> str:
  """A digest of the code behind a module.

  Args:
    file: the module's source file.
    module: its dotted name, for its relative imports.
    root: the folder in which `packages` lie.
    packages: names of the packages whose modules count.

  Returns:
    A hexadecimal digest.
  """
  seen: dict[str, str] = {}
  todo = [(module, file)]
  while todo:
    name, path = todo.pop()
    if name in seen:
      continue
    seen[name], imports = _analysed(path.read_bytes())
    base = name if path.name == '__init__.py' else name.rpartition('.')[0]
    for target in _absolute(imports, base):
      if target.split('.')[0] in packages and target not in MACHINERY:
        source = _module_file(root, target)
        if source:
          todo.append((target, source))
  return of_json(seen)


# An import as written: level (dots), module, imported names.
_Import = tuple[int, str, tuple[str, ...]]


@functools.cache
def _analysed(source: bytes) -> tuple[str, tuple[_Import, ...]]:
  """The digest of a module's code and its imports, cached by content."""
  tree = ast.parse(source)
  imports: list[_Import] = []
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      imports += [(0, alias.name, ()) for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      imports.append((node.level, node.module or '', tuple(alias.name for alias in node.names)))
  return of_bytes(ast.dump(_Prose().visit(tree)).encode()), tuple(imports)


class _Prose(ast.NodeTransformer):
  """Removes docstrings, and any other string that stands alone as a statement."""

  def visit_Expr(self, node):
    alone = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return None if alone else node


def _absolute(imports: Iterable[_Import], package: str) -> Iterator[str]:
  """Names of all modules that `imports`, standing in a module of `package`, may load."""
  for level, module, names in imports:
    if level:
      parts = package.split('.')
      module = '.'.join(parts[:len(parts) - level + 1] + ([module] if module else []))
    for candidate in (module, *(f'{module}.{name}' for name in names)):
      parts = candidate.split('.')
      yield from ('.'.join(parts[:n + 1]) for n in range(len(parts)))


def _module_file(root: pathlib.Path, module: str) -> pathlib.Path | None:
  path = root.joinpath(*module.split('.'))
  for file in (path / '__init__.py', path.with_suffix('.py')):
    if file.is_file():
      return file
  return None  # a name inside a module, or a package without __init__.py


@functools.cache
def libraries() -> dict[str, str]:
  """Versions of Python and of the installed libraries that results depend on."""
  versions = {'python': '.'.join(platform.python_version_tuple()[:2])}
  for name, distributions in LIBRARIES.items():
    for distribution in distributions:
      try:
        versions[name] = importlib.metadata.version(distribution)
        break
      except importlib.metadata.PackageNotFoundError:
        continue
  return versions


def tree_files(folder: pathlib.Path, undigested: tuple[str, ...] = ()) -> dict[str, int]:
  """Sizes in bytes of the files below `folder`, by name, but for `undigested` top folders."""
  files = (path for path in sorted(folder.rglob('*')) if path.is_file())
  sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
  return {name: size for name, size in sizes.items() if name.split('/')[0] not in undigested}


def tree_digest(folder: pathlib.Path, undigested: tuple[str, ...] = ()) -> str:
  """A digest of names and bytes of the files that `tree_files` names."""
  return of_json({name: of_file(folder / name) for name in tree_files(folder, undigested)})


def of_file(path: pathlib.Path) -> str:
  """The SHA-256 of its bytes."""
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def folder_digest(folder: pathlib.Path) -> str:
  """A digest of names, sizes and modification times below `folder`; 'absent' if there is none."""
  if not folder.is_dir():
    return 'absent'
  stats = {name: (folder / name).stat() for name in tree_files(folder)}
  return of_json({name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()})
