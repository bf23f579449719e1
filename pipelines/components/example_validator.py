"""example_validator: what is wrong with the examples, and whether that stops the pipeline."""

import collections
import itertools

from absl import logging

from ceph_tf.config import ValidateConfig
from ceph_tf.data import examples as example_files
from ceph_tf.data import validate
from ceph_tf.data.records import DataError
from pipelines.artifacts import Anomalies, Examples
from pipelines.dsl import In, Out, component


@component
def example_validator(examples: In[Examples], anomalies: Out[Anomalies], *,
                      cfg: ValidateConfig, dataset: str, split: str, trained: bool = True):
  """Writes `anomalies.json`: anomalies, duplicates, counts and the policy applied.

  Args:
    examples: of all splits.
    anomalies: the report.
    cfg: the policy.
    dataset: name; decides what is expected.
    split: to be evaluated, so there must be one; better said before the training.
    trained: whether anything will be, which needs images as well.

  Raises:
    DataError: by policy, with the first anomalies and their number; or no `split`.
  """
  if split not in examples.splits():
    raise DataError(f'evaluate.split={split!r}: the data set {dataset!r} has no such images; '
                    f'it has {", ".join(examples.splits())}')
  records = itertools.chain.from_iterable(
      example_files.read_records(examples.shards(split)) for split in examples.splits())
  report = validate.inspect(records, dataset, trained)
  report['policy'] = validate.policy(cfg, dataset)
  anomalies.write(report)
  validate.enforce(report['anomalies'], report['policy'])
  for kind, number in collections.Counter(a['kind'] for a in report['anomalies']).items():
    logging.warning('%s: %d x %s', dataset, number, kind)
