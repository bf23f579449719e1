"""Datasets by name. A new one is a file with `records(cfg, seed)` and a line here."""

import hashlib
import os
import pathlib
from collections.abc import Callable, Iterator

from ceph_tf.config import DataConfig, one_of
from ceph_tf.data.datasets import csv, isbi2015, phantom
from ceph_tf.data.records import Record

DATASETS: dict[str, Callable[[DataConfig, int], Iterator[Record]]] = {
    'csv': csv.records,
    'isbi2015': isbi2015.records,
    'phantom': phantom.records,
}
# Where a dataset's files are; one that needs none has no line.
ROOTS: dict[str, Callable[[DataConfig], pathlib.Path]] = {
    'csv': csv.root,
    'isbi2015': isbi2015.root,
}


def records(cfg: DataConfig, seed: int) -> Iterator[Record]:
  """The records of `cfg.dataset`. Raises `ConfigError` for an unknown name."""
  one_of('data.dataset', cfg.dataset, DATASETS)
  return DATASETS[cfg.dataset](cfg, seed)


def digest(cfg: DataConfig) -> str:
  """A digest of the files a dataset reads: their names, sizes and times of change.

  Contents are not read, which takes milliseconds instead of seconds; a file that
  changed within the same size and time stamp is not noticed.

  Returns:
    Hexadecimal digits; equal for all datasets that need no files.

  Raises:
    DataError: `cfg.data_dir` is not usable.
    ConfigError: unknown dataset.
  """
  one_of('data.dataset', cfg.dataset, DATASETS)
  result = hashlib.sha256()
  if cfg.dataset in ROOTS:
    folder = ROOTS[cfg.dataset](cfg)
    for parent, names, files in os.walk(folder):
      names.sort()
      for name in sorted(files):
        path = pathlib.Path(parent, name)
        status = path.stat()
        entry = f'{path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\n'
        result.update(entry.encode('utf-8', 'surrogateescape'))
  return result.hexdigest()
