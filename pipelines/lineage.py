"""Which data, configuration, code and run made an artifact: `<work_dir>/lineage.sqlite`.

Every connection is short and every change one transaction, so that runs can share
the file and a killed one leaves no half row. An artifact is identified by its
path in the store and the digest of its content.
"""

import contextlib
import datetime
import fcntl
import functools
import json
import pathlib
import sqlite3
import subprocess
import uuid
from collections.abc import Iterator

from pipelines.execution import Execution, Stored
from pipelines.store import StoreError

DATABASE = 'lineage.sqlite'
SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE runs (
  id TEXT PRIMARY KEY, config TEXT, git_commit TEXT, started TEXT, finished TEXT, status TEXT);
CREATE TABLE executions (
  id TEXT PRIMARY KEY, run TEXT, component TEXT, node TEXT, key TEXT, params TEXT, code TEXT,
  libraries TEXT, external TEXT, started TEXT, seconds REAL, status TEXT, record TEXT);
CREATE TABLE artifacts (
  execution TEXT, output TEXT, type TEXT, path TEXT, digest TEXT, PRIMARY KEY (execution, output));
CREATE TABLE inputs (
  execution TEXT, input TEXT, position INTEGER, path TEXT, digest TEXT,
  PRIMARY KEY (execution, input, position));
CREATE TABLE uses (
  run TEXT, node TEXT, execution TEXT, cached INTEGER, PRIMARY KEY (run, node));
CREATE INDEX artifacts_by_content ON artifacts (path, digest);
"""


def now() -> str:
  return datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%dT%H:%M:%SZ')


def new_id() -> str:
  """An id that sorts by time."""
  return datetime.datetime.now(datetime.UTC).strftime('%Y%m%d-%H%M%S-') + uuid.uuid4().hex[:6]


@functools.cache
def git_commit() -> str:
  """The commit of this code, with `-dirty` if it was edited; '' if git does not track it."""
  here = pathlib.Path(__file__)
  git = functools.partial(
      subprocess.run, cwd=here.parent, check=True, capture_output=True, encoding='utf-8')
  try:
    git(['git', 'ls-files', '--error-unmatch', here.name])
    return git(
        ['git', 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*']).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return ''


class Lineage:
  """The lineage database of a work dir; made if it is not there."""

  def __init__(self, work_dir: pathlib.Path):
    self._path = work_dir / DATABASE
    self._locks = work_dir / 'locks'
    self._alive = None  # open and locked while a run of ours goes on
    with (self._locks / 'lineage').open('a') as lock:
      fcntl.flock(lock, fcntl.LOCK_EX)  # two runs may start at once
      with self._transaction() as db:
        version = db.execute('PRAGMA user_version').fetchone()[0]
        if version == 0:
          for statement in SCHEMA.split(';'):
            db.execute(statement)
          db.execute(f'PRAGMA user_version = {SCHEMA_VERSION}')
        elif version != SCHEMA_VERSION:
          raise StoreError(f'{self._path} has version {version}, this code writes '
                           f'{SCHEMA_VERSION}; choose another --work_dir')

  @contextlib.contextmanager
  def _transaction(self) -> Iterator[sqlite3.Connection]:
    try:
      connection = sqlite3.connect(self._path, timeout=60, isolation_level=None)
      with contextlib.closing(connection) as db:
        db.execute('PRAGMA journal_mode = WAL')
        db.execute('BEGIN IMMEDIATE')
        yield db
        db.execute('COMMIT')  # closing without it rolls back
    except sqlite3.Error as error:
      raise StoreError(f'cannot use {self._path}: {error}; make room, move the file away (what is '
                       'cached stays) or choose another --work_dir') from error

  def begin_run(self, config: str) -> str:
    """Records a run that starts with `config` (JSON). Returns its id."""
    run = new_id()
    self._bury()
    self._alive = (self._locks / f'run-{run}').open('a')
    fcntl.flock(self._alive, fcntl.LOCK_EX)
    with self._transaction() as db:
      db.execute('INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)',
                 (run, config, git_commit(), now(), '', 'running'))
    return run

  def end_run(self, run: str, status: str) -> None:
    """Records how a run ended: `done`, `failed` or `interrupted`."""
    with self._transaction() as db:
      db.execute('UPDATE runs SET finished = ?, status = ? WHERE id = ?', (now(), status, run))
    self._alive.close()
    (self._locks / f'run-{run}').unlink(missing_ok=True)

  def _bury(self) -> None:
    """Marks as `killed` the runs that call themselves running but hold no lock."""
    for path in self._locks.glob('run-*'):
      with path.open('a') as lock:
        try:
          fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
          continue
        run = path.name.removeprefix('run-')
        with self._transaction() as db:
          db.execute("UPDATE runs SET status = 'killed' WHERE id = ? AND status = 'running'",
                     (run,))
          db.execute("UPDATE executions SET status = 'killed' "
                     "WHERE run = ? AND status = 'running'", (run,))
        path.unlink(missing_ok=True)

  def record(self, execution: Execution, status: str) -> None:
    """Records an execution, or its new status: running, done, failed or interrupted."""
    e = execution
    with self._transaction() as db:
      db.execute(
          f'INSERT OR REPLACE INTO executions VALUES ({", ".join("?" * 13)})',
          (e.id, e.run, e.component, e.node, e.key, json.dumps(e.params), e.code,
           json.dumps(e.libraries), e.external, e.started, e.seconds, status,
           json.dumps(e.to_dict())))
      db.executemany('INSERT OR REPLACE INTO inputs VALUES (?, ?, ?, ?, ?)', [
          (e.id, name, position, one.path, one.digest)
          for name, many in e.inputs.items() for position, one in enumerate(many)])
      db.executemany('INSERT OR REPLACE INTO artifacts VALUES (?, ?, ?, ?, ?)', [
          (e.id, name, one.type, one.path, one.digest) for name, one in e.outputs.items()])

  def use(self, run: str, node: str, execution: Execution, cached: bool) -> None:
    """Records that `node` of `run` was answered by `execution`."""
    self.record(execution, 'done')  # a kill may have come between its commit and its record
    with self._transaction() as db:
      db.execute('INSERT OR REPLACE INTO uses VALUES (?, ?, ?, ?)',
                 (run, node, execution.id, cached))

  def producer(self, artifact: Stored) -> Execution | None:
    """The last execution that put this content at this path."""
    with self._transaction() as db:
      row = db.execute(
          'SELECT record FROM executions JOIN artifacts ON artifacts.execution = executions.id '
          "WHERE path = ? AND digest = ? AND status = 'done' ORDER BY executions.id DESC LIMIT 1",
          (artifact.path, artifact.digest)).fetchone()
    return Execution.from_dict(json.loads(row[0])) if row else None

  def ancestry(self, execution: Execution) -> list[Execution]:
    """The execution, and all that it depends on."""
    found: dict[str, Execution] = {}
    todo = [execution]
    while todo:
      one = todo.pop(0)
      if one.id not in found:
        found[one.id] = one
        producers = [self.producer(stored) for many in one.inputs.values() for stored in many]
        todo += filter(None, producers)
    return list(found.values())
