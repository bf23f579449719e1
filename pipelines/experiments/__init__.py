"""Experiments by name: what --model, --preset and --dataset stand for.

Each is a list of the `field=value` assignments that `--set` takes; later ones win:
the machine's precision, preset, data set, model, command line.
"""

from collections.abc import Sequence

from ceph_tf.config import ConfigError, Experiment, one_of
from ceph_tf.data.datasets import DATASETS, ROOTS
from ceph_tf.overrides import override
from pipelines.experiments import hardware
from pipelines.experiments.datasets import DATASET_FIELDS, JUDGED_FIELDS
from pipelines.experiments.models import EXPERIMENTS
from pipelines.experiments.presets import PRESETS

ALL = 'all'  # trains and compares these three, as the thesis does
COMPARED = ('baseline', 'mc_dropout', 'ensemble')
# The fields, or their beginnings, that matter where a SavedModel is judged.
_JUDGING = ('data.', 'validate.', 'evaluate.', 'analyze.', 'stress.', 'train.truth')


def resolve(model: str, preset: str, overrides: Sequence[str], dataset: str, data_dir: str,
            seed: int) -> Experiment:
  """The one configuration of a run.

  Args:
    model: a name in `EXPERIMENTS`.
    preset: a name in `PRESETS`.
    overrides: assignments `a.b=c`, the last word.
    dataset: a name in `DATASETS`, or '' for `isbi2015` where there is a `data_dir`
      and `phantom` where there is none.
    data_dir: where the data lie.
    seed: of the experiment.

  Returns:
    An `Experiment`.

  Raises:
    ConfigError: an unknown name or field, or a value that is not allowed.
  """
  if model == ALL:  # whoever asks resolves `COMPARED`
    raise ConfigError(f'--model={ALL}: allowed is alone, or {",".join(COMPARED)} in its place')
  one_of('--model', model, (*EXPERIMENTS, ALL))
  one_of('--preset', preset, PRESETS)
  dataset = _dataset(dataset, data_dir)
  one_of('--dataset', dataset, DATASETS)
  if data_dir and dataset not in ROOTS:
    raise ConfigError(f'--data_dir={data_dir!r}: --dataset={dataset} reads no files; leave one of them out')
  fields = EXPERIMENTS[model]
  if fields and preset not in fields:
    one_of(f'--preset={preset} --model', model,
           [name for name, known in EXPERIMENTS.items() if not known or preset in known])
  named = [f'preset={preset}', f'name={model}', f'seed={seed}',
           f'data.dataset={dataset}', f'data.data_dir={data_dir}', f'train.precision={hardware.precision()}']
  return override(Experiment(), [*named, *PRESETS[preset], *DATASET_FIELDS[dataset].get(preset, []),
                                 *fields.get(preset, []), *overrides])


def resolve_all(models: Sequence[str], preset: str, overrides: Sequence[str], dataset: str, data_dir: str,
                seed: int) -> list[Experiment]:
  """`resolve` of each of several models; an error names the model."""
  experiments = []
  for model in models:
    try:
      experiments.append(resolve(model, preset, overrides, dataset, data_dir, seed))
    except ConfigError as error:
      if len(models) == 1:
        raise
      raise ConfigError(f'{model}: {error}') from None  # the overrides are for all of them
  return experiments


def judging(overrides: Sequence[str], dataset: str, data_dir: str, seed: int) -> Experiment:
  """The configuration of a run that judges a SavedModel and trains nothing.

  Args, Raises: as for `resolve`; also a `ConfigError` for an override that would change nothing.
  """
  for assignment in overrides:
    field = assignment.partition('=')[0].strip()
    if not field.startswith(_JUDGING) or field == 'data.test_fraction':
      raise ConfigError(f'--set {assignment}: nothing is trained; allowed are {", ".join(_JUDGING)}')
  fields = JUDGED_FIELDS.get(_dataset(dataset, data_dir), [])
  return resolve('baseline', 'default', ['name=imported', 'data.test_fraction=1', *fields, *overrides],
                 dataset, data_dir, seed)


def _dataset(dataset: str, data_dir: str) -> str:
  return dataset or ('isbi2015' if data_dir else 'phantom')
