"""Long inference in parts: a killed run goes on after its last part, and shows how far it is."""

import itertools
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ceph_tf.uncertainty.measures import MEASURES
from pipelines.artifacts import InfraBlessing
from pipelines.dsl import ComponentError

_BATCHES = 16  # in a part: some seconds of work


def check_blessed(blessing: InfraBlessing) -> None:
  """Raises `ComponentError` with the reasons unless infra_validator blessed the model."""
  verdict = blessing.read()
  if not verdict['blessed']:
    raise ComponentError(f'the SavedModel is not fit to serve: {"; ".join(verdict["reasons"])}')


def in_parts(folder: pathlib.Path, batches: Iterable[Sequence],
             answer: Callable[[Sequence], dict[str, np.ndarray]], total: int,
             label: str) -> dict[str, np.ndarray]:
  """The answers for all batches, each computed once, whatever happens in between.

  Args:
    folder: of an output of a resumable component; `parts/` in it holds what is done so far.
    batches: the same ones in the same order at every call.
    answer: a batch to arrays with its rows in the first axis.
    total: number of rows, for the progress bar.
    label: of the bar.

  Returns:
    The arrays of all rows, joined. `parts/` is gone then.
  """
  parts = folder / 'parts'
  parts.mkdir(exist_ok=True)
  with tqdm(total=total, desc=label, unit='image', file=sys.stderr, dynamic_ncols=True,
            mininterval=0.1 if sys.stderr.isatty() else 10) as bar:
    for number, group in itertools.groupby(enumerate(batches), lambda pair: pair[0] // _BATCHES):
      path, answers = parts / f'{number:06d}.npz', []
      done = path.exists()
      for _, batch in group:
        if not done:
          answers.append(answer(batch))
        bar.update(len(batch))
      if not done:
        unfinished = path.with_suffix('.unfinished.npz')
        np.savez(unfinished, **_joined(answers))
        os.replace(unfinished, path)
  found = []
  for path in sorted(parts.glob('[0-9]*[0-9].npz')):
    with np.load(path, allow_pickle=False) as arrays:
      found.append(dict(arrays))
  shutil.rmtree(parts)
  return _joined(found)


def _joined(answers: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
  return {name: np.concatenate([one[name] for one in answers]) for name in answers[0]} if answers else {}


def named(answer: dict[str, tf.Tensor], image_ids: Sequence[str]) -> dict[str, np.ndarray]:
  """An answer of the SavedModel as `Predictions` keeps it: measures under `measure/`, lengths in px.

  Raises:
    ComponentError: the model refused an image.
  """
  answer = {name: value.numpy() for name, value in answer.items() if not name.endswith(('_mm', '_mm2'))}
  for image_id, status in zip(image_ids, answer.pop('status'), strict=True):
    if status != b'ok':
      raise ComponentError(f'image {image_id}: the SavedModel refused it as {status.decode()}')
  return {f'measure/{name}' if name in MEASURES else name: value for name, value in answer.items()}
