"""Long inference in parts: a killed run goes on after its last part, and shows how far it is."""

import collections
import itertools
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ceph_tf.uncertainty.measures import MEASURES
from pipelines.artifacts import InfraBlessing, ServableModel
from pipelines.dsl import ComponentError

_BATCHES = 16  # in a part: some seconds of work
# One call of a SavedModel uses all cores; two at once stood still once, see BUILD.md.
_IN_WORK = 1  # batches
_TIME = 'milliseconds_per_row'  # in a part's file, beside the answers


def check_blessed(blessing: InfraBlessing) -> None:
  """Raises `ComponentError` with the reasons unless infra_validator blessed the model."""
  verdict = blessing.read()
  if not verdict['blessed']:
    raise ComponentError(f'the SavedModel is not fit to serve: {"; ".join(verdict["reasons"])}')


def signature(servable: ServableModel, name: str) -> Callable[[Sequence[bytes], Sequence[float]], dict]:
  """Asks a signature of a SavedModel about image files, and tells it the mm per pixel if it takes them."""
  serve = tf.saved_model.load(str(servable.saved_model)).signatures[name]
  takes_spacing = 'spacing_mm' in serve.structured_input_signature[1]

  def ask(image_bytes, spacing_mm):
    spacing = {'spacing_mm': tf.constant(spacing_mm, tf.float32)} if takes_spacing else {}
    return serve(image_bytes=tf.constant(image_bytes), **spacing)
  return ask


def in_parts(folder: pathlib.Path, batches: Iterable[Sequence],
             answer: Callable[[Sequence], dict[str, np.ndarray]], total: int,
             label: str) -> tuple[dict[str, np.ndarray], float]:
  """The answers for all batches, each computed once, whatever happens in between.

  While the network computes one batch, the next is read or made.

  Args:
    folder: of an output of a resumable component; `parts/` in it holds what is done so far.
    batches: the same ones in the same order at every call.
    answer: a batch to arrays with its rows in the first axis; called from threads.
    total: number of rows, for the progress bar.
    label: of the bar.

  Returns:
    The arrays of all rows, joined, and the milliseconds per row (median of the parts). `parts/` is
    gone then.
  """
  parts = folder / 'parts'
  parts.mkdir(exist_ok=True)
  with ThreadPoolExecutor(_IN_WORK) as pool, tqdm(
      total=total, desc=label, unit='image', file=sys.stderr, dynamic_ncols=True,
      mininterval=0.1 if sys.stderr.isatty() else 10) as bar:
    for number, group in itertools.groupby(enumerate(batches), lambda pair: pair[0] // _BATCHES):
      path, mine = parts / f'{number:06d}.npz', (batch for _, batch in group)
      if path.exists():
        bar.update(sum(len(batch) for batch in mine))
        continue
      start, answers = time.monotonic(), []
      for rows, found in _ahead(pool, answer, mine):
        answers.append(found)
        bar.update(rows)
      joined = _joined(answers)
      rows = max(1, len(next(iter(joined.values()))))  # there are none where all were refused
      unfinished = path.with_suffix('.unfinished.npz')
      np.savez(unfinished, **joined, **{_TIME: [1000 * (time.monotonic() - start) / rows]})
      os.replace(unfinished, path)
  found, milliseconds = [], []
  for path in sorted(parts.glob('[0-9]*[0-9].npz')):
    with np.load(path, allow_pickle=False) as arrays:
      found.append(dict(arrays))
      milliseconds.append(found[-1].pop(_TIME)[0])
  shutil.rmtree(parts)
  return _joined(found), float(np.median(milliseconds)) if milliseconds else np.nan


def _ahead(pool: ThreadPoolExecutor, answer: Callable,
           batches: Iterable[Sequence]) -> Iterator[tuple[int, dict]]:
  """Rows and answer of each batch, in order; memory holds the few batches that are in work."""
  waiting = collections.deque()
  for batch in batches:
    waiting.append((len(batch), pool.submit(answer, batch)))
    if len(waiting) > _IN_WORK:
      rows, future = waiting.popleft()
      yield rows, future.result()
  for rows, future in waiting:
    yield rows, future.result()


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
