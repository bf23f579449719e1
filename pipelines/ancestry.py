"""The lineage of an artifact as text, from the store or from a pushed model's `lineage.json`."""

import json
import pathlib
from collections.abc import Iterator

from pipelines import pushed_models
from pipelines.execution import Execution, Stored
from pipelines.lineage import DATABASE, Lineage
from pipelines.store import EXECUTION, StoreError, read_execution

LINEAGE = 'lineage.json'  # what `Context.lineage` returned, beside a pushed model


def text(path: pathlib.Path | str) -> str:
  """Tells which data, configuration, code and run made what lies at `path`.

  Args:
    path: in a store or a pushed model: a folder, or any file in it. Of a model's folder of versions, the
      newest one is meant.

  Returns:
    Lines, each execution above those whose outputs it used.

  Raises:
    StoreError: there is nothing at `path`, or nothing is known about it.
  """
  path = pathlib.Path(path).absolute()
  if not path.exists():
    raise StoreError(f'--lineage={path}: there is no such file or folder')
  versions = pushed_models.versions(path) if path.is_dir() else {}
  if told := [number for number, folder in versions.items() if (folder / LINEAGE).is_file()]:
    path = versions[max(told)]
  for folder in (path, *path.parents):
    for name, read in ((LINEAGE, _pushed), (EXECUTION, _in_store)):
      if (folder / name).is_file():
        try:
          return _text(folder, read(folder))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
          raise StoreError(f'--lineage={path}: {folder / name} is damaged, or no record of this '
                           f'pipeline: {error!r}') from error
  raise StoreError(f'--lineage={path}: it lies neither in <work_dir>/store/<component>/<key> '
                   'nor in <push_dir>/<name>/<version>')


def _pushed(folder: pathlib.Path) -> list[Execution]:
  tree = json.loads((folder / LINEAGE).read_text('utf-8'))
  if not tree:
    raise ValueError('it is empty')
  return [Execution.from_dict(one) for one in tree]


def _in_store(folder: pathlib.Path) -> list[Execution]:
  execution, work_dir = read_execution(folder), folder.parents[2]
  if not (work_dir / DATABASE).is_file():
    return [execution]  # to look must not make a database
  return Lineage(work_dir).ancestry(execution)


def _text(folder: pathlib.Path, executions: list[Execution]) -> str:
  producers = {_identity(stored): execution
               for execution in reversed(executions) for stored in execution.outputs.values()}
  return '\n'.join([str(folder), *_lines(executions[0], producers, set(), '  ')])


def _identity(stored: Stored) -> tuple[str, str]:
  return stored.path, stored.digest


def _lines(execution: Execution, producers: dict, told: set[str], indent: str) -> Iterator[str]:
  e = execution
  if e.id in told:
    yield f'{indent}made by {e.node}, key {e.key} (see above)'
    return
  told.add(e.id)
  yield f'{indent}made by {e.node}, key {e.key}, in run {e.run}, {e.started}, {e.seconds:.1f} s'
  versions = ', '.join(f'{name} {version}' for name, version in e.libraries.items())
  yield f'{indent}  code {e.code[:12]}, git {e.git_commit or "unknown"}'
  if versions not in told:
    told.add(versions)
    yield f'{indent}  {versions}'
  for name, value in e.params.items():
    yield f'{indent}  {name}: {json.dumps(value)}'
  if e.external:
    yield f'{indent}  external data {e.external[:12]}'
  for name, many in e.inputs.items():
    for stored in many:
      yield f'{indent}  from {name}: {stored.type} {stored.digest[:12]} in {stored.path}'
      producer = producers.get(_identity(stored))
      if producer:
        yield from _lines(producer, producers, told, indent + '    ')
      else:
        yield f'{indent}    made by an execution this store does not know'
