"""The command line: `python -m pipelines.predict PATHS...` finds landmarks on X-rays.

PATHS are files, folders and patterns: JPEG, PNG, BMP, TIFF and DICOM. Into --out go, for each image,
<name>.json (all that is known, see ceph_tf/serving/prediction_schema.py) and <name>.png (the X-ray with
landmarks and regions), and predictions.csv, measurements.csv and, with --report, report.html about all
that were answered. A refused image has a JSON file that says why, and its line at the end.

Exit status: 0 all images are answered; 1 a mistake of ours (with its traceback); 2 a mistake the user can
mend, in one line: nothing was started, or an output cannot be written; 3 some or all images are refused;
130 Ctrl-C, 143 SIGTERM, 141 nobody reads on (`| head`). Every file in --out is whole at any time; after a
signal the tables are missing or old.
"""

import os
import pathlib
import sys
from collections.abc import Iterator

from absl import app, flags, logging
from tqdm import tqdm

from ceph_tf.config import ConfigError
from ceph_tf.data.dicom import SPACINGS_MM
from ceph_tf.data.records import DataError
from pipelines import console, pushed_models

_SAVED_MODEL = flags.DEFINE_string(
    'saved_model', str(pushed_models.IN_THE_BOX), 'A SavedModel, or a folder of its versions (the newest is '
    'taken), or of several such folders (of which the model that was pushed last is taken).')
_OUT = flags.DEFINE_string('out', 'predictions', 'Where everything is written.')
_SPACING_MM = flags.DEFINE_float(
    'spacing_mm', None, 'mm per pixel of images that do not state it; without it they have no lengths.')
_REPORT = flags.DEFINE_bool('report', False, 'Also write report.html, a page that needs nothing else.')

USER_ERRORS = (ConfigError, DataError, OSError)


def predict(paths: list[str], signals: console.Signals) -> int:
  """Answers the images that the flags and paths describe; the exit status."""
  if not paths:
    raise ConfigError('no image: python -m pipelines.predict FILE_OR_FOLDER...')
  for flag in (_SAVED_MODEL, _OUT):
    if not flag.value:  # an unset shell variable, which is not the default
      raise ConfigError(f'--{flag.name} is empty; give it a value or leave it out')
  spacing_mm, out = _SPACING_MM.value, pathlib.Path(_OUT.value)
  if spacing_mm is not None and not SPACINGS_MM[0] <= spacing_mm <= SPACINGS_MM[1]:
    raise ConfigError(f'--spacing_mm={spacing_mm:g}: allowed are {SPACINGS_MM[0]:g} to {SPACINGS_MM[1]:g} mm '
                      'per pixel, which is 25.4 / dpi of a scan')
  if out.exists() and not out.is_dir():
    raise ConfigError(f'--out={out}: there is a file of this name; allowed is a folder')
  with console.silent_stderr():
    from ceph_tf.serving import intake, predictions, saved_model
  sources = intake.find(paths, out)
  folder = pushed_models.newest_model(pathlib.Path(_SAVED_MODEL.value))
  out.mkdir(parents=True, exist_ok=True)
  console.check_writable(_OUT.name, _OUT.value)  # better said before the model is loaded
  with console.silent_stderr():
    model = saved_model.load(folder)
  signals.check()
  print(f'model: {model.name} ({intake.shown(folder)})', flush=True)
  outcomes = predictions.predict(sources, model, out, spacing_mm, _REPORT.value)
  return _tell(_with_bar(outcomes, len(sources), signals), out)


def _with_bar(outcomes: Iterator, total: int, signals: console.Signals) -> Iterator:
  with tqdm(total=total, desc='predict', unit='image', file=sys.stderr, dynamic_ncols=True,
            mininterval=0.1 if sys.stderr.isatty() else 10) as bar:
    for outcome in outcomes:
      bar.update()
      yield outcome
      signals.check()


def _tell(outcomes: Iterator, out: pathlib.Path) -> int:
  from ceph_tf.serving import intake
  read, referred, check, unchecked, unjudged, refused = 0, 0, 0, 0, 0, []
  for outcome in outcomes:
    read += 1
    referred += bool(outcome.refer)
    check += bool(outcome.check) and not outcome.refer
    unchecked += outcome.check is None and not outcome.refer
    unjudged += outcome.status == 'ok' and outcome.refer is None
    if outcome.status != 'ok':
      refused.append(outcome)
  print(f'written to {intake.shown(out)}')
  for outcome in refused:
    print(f'refused: {intake.shown(outcome.source.path)}: {outcome.reason} '
          f'(see {outcome.source.name}.json)')
  print(f'read {read}, answered {read - len(refused)}, refused {len(refused)}, referred {referred}'
        + (f', landmarks to check in {check} that are not' if check else '')
        + (f'; landmarks of {unchecked} not checked: no spacing or no region' if unchecked else '')
        + (f'; {unjudged} not judged: the model has no referral policy' if unjudged else ''))
  return 3 if refused else 0


def main(argv: list[str]) -> int:
  signals = console.Signals()
  sys.stdout.reconfigure(errors='backslashreplace')  # names may have letters that a terminal lacks
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  os.environ.setdefault('OPENCV_LOG_LEVEL', 'SILENT')
  logging.set_verbosity(logging.WARNING)
  try:
    status = predict(argv[1:], signals)
    sys.stdout.flush()  # here a reader who has left is no error, at the end of the process he would be
    return status
  except (Exception, KeyboardInterrupt) as error:
    return console.status_of(error, signals, USER_ERRORS,
                             'what is written is whole, the tables are not')


def cli() -> None:
  app.run(main, flags_parser=console.parse)


if __name__ == '__main__':
  cli()
