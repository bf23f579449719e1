"""What command lines share: flags, signals, errors in one line, and no noise while TensorFlow loads."""

import contextlib
import os
import pathlib
import signal
import sys
from collections.abc import Iterator

from absl import flags

from ceph_tf.config import ConfigError


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
  """Hides what C++ code says, of TensorFlow while it loads and of decoders; none of its settings does."""
  sys.stderr.flush()
  kept = os.dup(2)
  with open(os.devnull, 'w') as nowhere:
    os.dup2(nowhere.fileno(), 2)
  try:
    yield
  finally:
    os.dup2(kept, 2)
    os.close(kept)


class Signals:
  """Remembers Ctrl-C and SIGTERM: TensorFlow may swallow them or make other errors of them."""

  def __init__(self):
    self.status = 0
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
      if signal.getsignal(number) is handler:  # in the background it is not
        signal.signal(number, self._take)

  def _take(self, number: int, _) -> None:
    self.status = 128 + number
    raise KeyboardInterrupt

  def check(self) -> None:
    """Raises `KeyboardInterrupt` if the run should have ended."""
    if self.status:
      raise KeyboardInterrupt


def status_of(error: BaseException, signals: Signals, mistakes: tuple[type[Exception], ...],
              kept: str) -> int:
  """The exit status after an error, said in one line on stderr.

  Args:
    error: what ended the command.
    signals: the cause of it, if there was one.
    mistakes: errors that the user can mend.
    kept: what there is after an interruption, in words.

  Raises:
    BaseException: `error`, where it is a mistake of ours.
  """
  if signals.status or isinstance(error, KeyboardInterrupt):
    print(f'\ninterrupted; {kept}', file=sys.stderr)
    return signals.status or 128 + signal.SIGINT
  if isinstance(error, BrokenPipeError):  # `| head` has read enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the last flush fails again
    return 128 + signal.SIGPIPE
  if not isinstance(error, mistakes):
    raise error
  _say(error)
  return 2


def _say(error: BaseException) -> None:
  """Says what the user can mend, in one line, on stderr."""
  notes = ' '.join(f'({note})' for note in getattr(error, '__notes__', ()))
  line = ' '.join(f'error: {error} {notes}'.split())
  print(line.encode('utf-8', 'backslashreplace').decode(), file=sys.stderr)


def check_writable(flag: str, folder: str) -> None:
  """Raises `ConfigError` unless the folder, there already or not, is one that can be written to."""
  place = pathlib.Path(folder).absolute()
  there = next(one for one in (place, *place.parents) if one.exists())
  if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
    raise ConfigError(f'--{flag}={folder}: nothing can be written to {there}; allowed is a folder of yours')


def parse(argv: list[str]) -> list[str]:
  """What is no flag; ends the process with status 2 at a mistake."""
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    print(f'error: {error}; --help lists all options', file=sys.stderr)
    sys.exit(2)
  except SystemExit:  # absl calls it a failure to have been asked for help
    sys.exit(0)
