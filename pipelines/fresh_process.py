"""A SavedModel in a process of its own, which knows nothing of the one that asks."""

import pathlib
import subprocess
import sys
import tempfile
import typing
from collections.abc import Callable, Sequence

import numpy as np

from pipelines.dsl import ComponentError

_TIMEOUT_S = 600
T = typing.TypeVar('T')


def ask(module: str, saved_model: pathlib.Path, image_bytes: Sequence[bytes],
        read: Callable[[pathlib.Path], T]) -> T:
  """Runs `python -m MODULE SAVED_MODEL IMAGES.npz RESULT`, as modules in `ceph_tf.serving` take it.

  Args:
    module: its full name.
    saved_model: the folder.
    image_bytes: image files.
    read: what is made of the result's path, which is gone afterwards.

  Raises:
    subprocess.SubprocessError: it failed, with the last line it said, or did not end in ten minutes.
    ComponentError: a signal killed it.
  """
  with tempfile.TemporaryDirectory() as folder:
    images, result = f'{folder}/images.npz', pathlib.Path(folder) / 'result'
    np.savez(images, **{f'{i:06d}': np.frombuffer(data, np.uint8) for i, data in enumerate(image_bytes)})
    command = [sys.executable, '-m', module, str(saved_model), images, str(result)]
    done = subprocess.run(command, capture_output=True, encoding='utf-8',
                          errors='replace', timeout=_TIMEOUT_S, check=False)
    if done.returncode < 0:  # not the model's fault, and so no verdict to keep
      raise ComponentError(f'a signal ({-done.returncode}) killed the process that tried the '
                           'SavedModel; is memory short? The same command tries again')
    if done.returncode:
      last = (done.stderr.strip().splitlines() or ['(it said nothing)'])[-1]
      raise subprocess.SubprocessError(f'loading it in a fresh process failed ({done.returncode}): {last}')
    return read(result)
