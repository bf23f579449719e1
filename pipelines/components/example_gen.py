"""example_gen: a dataset becomes example files."""

from ceph_tf.config import DataConfig
from ceph_tf.data import datasets
from ceph_tf.data import examples as example_files
from pipelines.artifacts import Examples
from pipelines.dsl import Out, component


def _files(cfg: DataConfig, seed: int) -> str:
  """The files read are part of the cache key: their names, sizes and times of change."""
  del seed
  return datasets.digest(cfg)


@component(external=_files)
def example_gen(examples: Out[Examples], *, cfg: DataConfig, seed: int):
  """Writes the records of `cfg.dataset`, divided into splits, as TFRecords.

  Raises:
    DataError: a folder, file or annotation is missing or malformed.
  """
  example_files.write(datasets.records(cfg, seed), examples.path, cfg.shards, cfg.dataset)
