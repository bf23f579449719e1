"""Files that are whole from the moment they have their name."""

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def writing(path: pathlib.Path, mode: str = 'w') -> Iterator:
  """Opens a hidden neighbour of `path`, which takes its place at the end; after any exception it is gone.

  A link at `path` is replaced, what it leads to is not touched.

  Raises:
    OSError: it names `path`.
  """
  if path.is_dir():
    raise IsADirectoryError(errno.EISDIR, 'there is a folder of this name', str(path))
  unfinished = path.with_name(f'.{path.name}.{os.getpid()}.unfinished')
  text = {} if 'b' in mode else {'encoding': 'utf-8', 'newline': ''}
  try:
    with open(unfinished, mode, **text) as file:
      yield file
    os.replace(unfinished, path)
  except BaseException as error:
    with contextlib.suppress(OSError):
      unfinished.unlink(missing_ok=True)
    if isinstance(error, OSError) and error.errno and error.filename in (None, str(unfinished)):
      raise OSError(error.errno, error.strerror, str(path)) from error
    raise


def write(path: pathlib.Path, content: str | bytes) -> None:
  """Writes a whole file at once."""
  with writing(path, 'wb' if isinstance(content, bytes) else 'w') as file:
    file.write(content)
