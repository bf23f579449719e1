"""The command line: `python -m pipelines.run --model=mc_dropout`. Flags, and nothing but.

Exit status: 0 done, 1 a mistake of ours (with its traceback), 2 a mistake the user
can mend (one line), 130 Ctrl-C, 143 SIGTERM, 141 nobody reads on (`| head`). Whatever was
finished by then is kept.
"""

import os
import pathlib
import sys
from collections.abc import Callable

from absl import app, flags, logging

from ceph_tf.config import ConfigError, one_of
from ceph_tf.data.records import DataError
from ceph_tf.overrides import to_json
from pipelines import ancestry, console, pushed_models, summary
from pipelines.dsl import ComponentError
from pipelines.store import StoreError

_MODEL = flags.DEFINE_string(
    'model', 'mc_dropout', 'Which model to train; an unknown name lists them. Several, with commas between: '
    'also what each costs and is worth. `all`: three, compared with the thesis.')
_PRESET = flags.DEFINE_string('preset', 'default', 'How to train it; likewise.')
_DATASET = flags.DEFINE_string(
    'dataset', '', 'Which data; default: isbi2015 with --data_dir, else phantom.')
_DATA_DIR = flags.DEFINE_string('data_dir', '', 'Where the data lie; phantom needs none.')
_SET = flags.DEFINE_multi_string('set', [], 'Overrides a field: --set train.epochs=2. Repeatable.')
_SEED = flags.DEFINE_integer('seed', 0, 'Same seed, code and data: the same training, but for rounding.')
_SAVED_MODEL = flags.DEFINE_string(
    'saved_model', '', 'Train nothing: judge this SavedModel (the newest of a folder of them) on the data.')
_RECALIBRATE = flags.DEFINE_bool(
    'recalibrate', False, 'With --saved_model: bring it to your site by data.calibration_images of the '
    'films, judge it before and after, push it.')
_WORK_DIR = flags.DEFINE_string('work_dir', 'runs', 'Store of all artifacts, and their lineage.')
_PUSH_DIR = flags.DEFINE_string('push_dir', 'saved_models', 'Where good models are pushed.')
_FROM = flags.DEFINE_string('from', '', 'Run this component or node, and all after it, again.')
_LINEAGE = flags.DEFINE_string('lineage', '', 'Print what made the artifact at this path.')
_RUNNER = flags.DEFINE_string('runner', 'local', 'What runs the graph; a name in RUNNERS.')

# A FloatingPointError says that the training diverged, and which field makes it so.
USER_ERRORS = (ConfigError, DataError, StoreError, ComponentError, FloatingPointError, OSError)


def run_pipeline(say: Callable[[str], None]) -> None:
  """Runs the pipeline that the flags describe, and tells where its results are.

  Args:
    say: takes each line of progress.
  """
  folder = pushed_models.newest_model(pathlib.Path(_SAVED_MODEL.value)) if _SAVED_MODEL.value else None
  if not folder or _RECALIBRATE.value:
    console.check_writable(_PUSH_DIR.name, _PUSH_DIR.value)  # better said before a training than after it
  # Late, because they load TensorFlow: a mistyped flag should not cost seconds.
  with console.silent_stderr():
    from pipelines import experiments
  data = _DATASET.value, _DATA_DIR.value, _SEED.value
  if folder:
    resolved = [experiments.judging(_SET.value, *data)]
  else:
    names = experiments.COMPARED if _MODEL.value == experiments.ALL else _MODEL.value.split(',')
    resolved = experiments.resolve_all(names, _PRESET.value, _SET.value, *data)
  from pipelines.runners import RUNNERS
  one_of('--runner', _RUNNER.value, RUNNERS)
  with console.silent_stderr():
    from pipelines import comparison_graph, pipeline
  if folder and _RECALIBRATE.value:
    nodes = pipeline.build_recalibrated(*resolved, str(folder.absolute()), _PUSH_DIR.value)
  elif folder:
    nodes = pipeline.build_imported(*resolved, str(folder.absolute()))
  elif _MODEL.value == experiments.ALL:
    nodes = comparison_graph.build_all(resolved, _PUSH_DIR.value)
  elif len(resolved) > 1:
    nodes = comparison_graph.build_tradeoff(resolved, _PUSH_DIR.value)
  else:
    nodes = pipeline.build(*resolved, _PUSH_DIR.value)
  configs = [to_json(experiment) for experiment in resolved]
  config = configs[0] if len(configs) == 1 else f'[{", ".join(configs)}]'
  results = RUNNERS[_RUNNER.value](
      nodes, _WORK_DIR.value, from_node=_FROM.value, config=config, say=say)
  made = [artifact for result in results.values() for artifact in result.outputs.values()]
  for line in summary.lines(made):
    print(line)


def main(argv: list[str]) -> int:
  signals = console.Signals()

  def say(line):
    signals.check()
    print(line, flush=True)

  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  logging.set_verbosity(logging.WARNING)
  try:
    if len(argv) > 1:
      raise ConfigError(f'unexpected argument {argv[1]!r}; options are written --name=value')
    for flag in (_DATA_DIR, _SAVED_MODEL, _WORK_DIR, _PUSH_DIR, _FROM, _LINEAGE):
      if flag.present and not flag.value:  # an unset shell variable, which is not the default
        raise ConfigError(f'--{flag.name} is empty; give it a value or leave it out')
    for flag in (_MODEL, _PRESET, *([] if _RECALIBRATE.value else [_PUSH_DIR])):
      if flag.present and _SAVED_MODEL.value:
        what = 'pushes nothing without --recalibrate' if flag is _PUSH_DIR else 'trains nothing'
        raise ConfigError(f'--{flag.name}: --saved_model {what}; leave one of them out')
    if _RECALIBRATE.value and not _SAVED_MODEL.value:
      raise ConfigError('--recalibrate: --saved_model says which model')
    if _LINEAGE.value:
      print(ancestry.text(_LINEAGE.value))
    else:
      run_pipeline(say)
    sys.stdout.flush()  # here a reader who has left is no error, at the end of the process he would be
  except (Exception, KeyboardInterrupt) as error:
    return console.status_of(error, signals, USER_ERRORS,
                             'what is finished is kept, and the same command goes on from there')
  return 0


def cli() -> None:
  app.run(main, flags_parser=console.parse)


if __name__ == '__main__':
  cli()
