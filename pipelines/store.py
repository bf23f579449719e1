"""Where artifacts live, and how they get there whole or not at all.

    <work_dir>/store/<component>/<key>/<output>/...   complete, never changed again
    <work_dir>/store/<component>/<key>/execution.json
    <work_dir>/temp/<component>-<key>/                being written; wiped if found abandoned
    <work_dir>/resume/<component>-<key>/              likewise, of resumable components; kept
    <work_dir>/locks/<component>-<key>                flock: many readers or one writer

A folder enters `store/` by one rename. Locks belong to processes, so that none
survives a `kill -9`. A run keeps its shared locks until it ends: what it reads
is not replaced under it.
"""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

from pipelines import digests
from pipelines.dsl import Port
from pipelines.execution import Execution


class StoreError(Exception):
  """The work dir cannot be used: full, not writable, damaged. Shown as one line."""


EXECUTION = 'execution.json'
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def is_full(error: BaseException) -> bool:
  """Whether `error` says that a disk takes no more (TensorFlow says it in words only)."""
  return getattr(error, 'errno', None) in _FULL or 'No space left on device' in str(error)


@contextlib.contextmanager
def explained(work_dir: pathlib.Path) -> Iterator[None]:
  """Turns an `OSError` of the store's own work into a `StoreError`."""
  try:
    yield
  except OSError as error:
    raise StoreError(f'cannot use work dir {work_dir}: {error}; '
                     'make room or choose another with --work_dir') from error


class Store:
  """The store in a work dir, as one run sees it. Use it in a `with`: that frees its locks."""

  def __init__(self, work_dir: pathlib.Path | str):
    self.work_dir = pathlib.Path(work_dir).absolute()
    self._slots: dict[tuple[str, str], Slot] = {}
    if pattern := sorted(set('*?[\\') & set(str(self.work_dir))):
      raise StoreError(f'cannot use work dir {self.work_dir}: TensorFlow takes {" ".join(pattern)} '
                       'in a path for a pattern; choose another with --work_dir')
    with explained(self.work_dir):
      for name in ('store', 'temp', 'resume', 'locks'):
        (self.work_dir / name).mkdir(parents=True, exist_ok=True)
      self._sweep()

  def slot(self, component: str, key: str, resumable: bool = False) -> 'Slot':
    """The place of one execution, the same object at every call."""
    if (component, key) not in self._slots:
      with explained(self.work_dir):
        self._slots[component, key] = Slot(self.work_dir, component, key, resumable)
    return self._slots[component, key]

  def _sweep(self) -> None:
    """Clears what killed runs left in `temp/`."""
    for path in sorted((self.work_dir / 'temp').iterdir()):
      component, _, key = path.name.removesuffix('.replaced').rpartition('-')
      slot = Slot(self.work_dir, component, key)
      if slot.lock(exclusive=True, wait=False):
        slot.recover()
      slot.close()

  def __enter__(self) -> 'Store':
    return self

  def __exit__(self, *_) -> None:
    for slot in self._slots.values():
      slot.close()
    self._slots.clear()


class Slot:
  """The place of one execution in the store, with its lock.

  Attributes:
    final: where the complete outputs are or will be.
    temp: where they are written.
  """

  def __init__(self, work_dir: pathlib.Path, component: str, key: str, resumable: bool = False):
    name = f'{component}-{key}'
    self.work_dir = work_dir
    self.final = work_dir / 'store' / component / key
    self.temp = work_dir / ('resume' if resumable else 'temp') / name
    self._resumable = resumable
    self._replaced = work_dir / 'temp' / f'{name}.replaced'
    self._lock = work_dir.joinpath('locks', name).open('a')

  def close(self) -> None:
    """Gives the lock back."""
    self._lock.close()

  def lock(self, exclusive: bool, wait: bool = True,
           on_wait: Callable[[], None] = lambda: None) -> bool:
    """Takes the lock, or changes its kind; then nothing read before can be relied on.

    Args:
      exclusive: to write; otherwise to read.
      wait: whether to wait for others.
      on_wait: called before waiting.

    Returns:
      Whether the lock is held.
    """
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
      fcntl.flock(self._lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
      if not wait:
        return False
      on_wait()
      fcntl.flock(self._lock, kind)
    return True

  def load(self, outputs: dict[str, Port]) -> tuple[Execution | None, str]:
    """The complete execution that lies here, if one does. Needs the lock.

    Only names and sizes of files are compared with the record.

    Returns:
      The execution, or None and what is damaged ('' if there is just nothing).
    """
    if not self.final.exists():
      return None, ''
    try:
      execution = read_execution(self.final)
      for name, stored in execution.outputs.items():
        files = digests.tree_files(self.final / name, outputs[name].kind.undigested)
        for file in sorted(stored.files.keys() | files.keys()):
          if stored.files.get(file) != files.get(file):
            return None, (f'{self.final / name / file} has {_bytes(files.get(file))}, '
                          f'recorded are {_bytes(stored.files.get(file))}')
    except (OSError, ValueError, KeyError, TypeError) as error:
      return None, f'{self.final / EXECUTION}: {error!r}'
    return execution, ''

  def prepare(self, outputs: dict[str, Port]) -> None:
    """Makes the folders to write in. Needs the exclusive lock."""
    self.recover()
    for name in outputs:
      (self.temp / name).mkdir(parents=True, exist_ok=True)

  def commit(self, execution: Execution) -> None:
    """Moves the written outputs to their place. Needs the exclusive lock."""
    text = json.dumps(execution.to_dict(), indent=2)
    (self.temp / EXECUTION).write_text(text + '\n', 'utf-8')
    self.final.parent.mkdir(exist_ok=True)
    if self.final.exists():
      os.replace(self.final, self._replaced)
    os.replace(self.temp, self.final)
    shutil.rmtree(self._replaced, ignore_errors=True)

  def recover(self) -> None:
    """Finishes or undoes what a killed writer had begun. Needs the exclusive lock."""
    if self._replaced.exists():
      if self.final.exists():
        shutil.rmtree(self._replaced)
      else:
        os.replace(self._replaced, self.final)
    if not self._resumable:
      shutil.rmtree(self.temp, ignore_errors=True)


def read_execution(folder: pathlib.Path) -> Execution:
  """The record in `<work_dir>/store/<component>/<key>`."""
  return Execution.from_dict(json.loads((folder / EXECUTION).read_text('utf-8')))


def _bytes(size: int | None) -> str:
  return 'no file' if size is None else f'{size} bytes'
