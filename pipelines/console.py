"""What command lines share: flags, Ctrl-C, errors in one line, and no noise while TensorFlow loads."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

from absl import flags


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


class CtrlC:
  """Remembers that Ctrl-C was pressed: TensorFlow may swallow it or make another error of it."""

  def __init__(self):
    self.pressed = False
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # in the background it is not
      signal.signal(signal.SIGINT, self._press)

  def _press(self, *_) -> None:
    self.pressed = True
    raise KeyboardInterrupt

  def check(self) -> None:
    """Raises `KeyboardInterrupt` if the run should have ended."""
    if self.pressed:
      raise KeyboardInterrupt


def fail(error: Exception) -> None:
  """Says what the user can mend, in one line, on stderr."""
  notes = ' '.join(f'({note})' for note in getattr(error, '__notes__', ()))
  line = ' '.join(f'error: {error} {notes}'.split())
  print(line.encode('utf-8', 'backslashreplace').decode(), file=sys.stderr)


def parse(argv: list[str]) -> list[str]:
  """What is no flag; ends the process with status 2 at a mistake."""
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    print(f'error: {error}; --help lists all options', file=sys.stderr)
    sys.exit(2)
  except SystemExit:  # absl calls it a failure to have been asked for help
    sys.exit(0)
