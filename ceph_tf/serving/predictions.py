"""Files to answers to files: the loop behind `python -m pipelines.predict`.

Images pass through in small batches, so that memory does not grow with their number. Each output is
whole from the moment it exists; one bad image is refused and the others do not notice.
"""

import contextlib
import csv
import datetime
import itertools
import pathlib
import typing
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from ceph_tf.data import preprocess
from ceph_tf.data.records import DataError
from ceph_tf.evaluation import overlay, plots
from ceph_tf.evaluation.prediction_report import Page
from ceph_tf.serving import intake, prediction_json, whole_files
from ceph_tf.serving.intake import Source
from ceph_tf.serving.saved_model import Model

BATCH = 4
PREDICTIONS, MEASUREMENTS, REPORT = 'predictions.csv', 'measurements.csv', 'report.html'
_PREDICTION_FIELDS = (
    'name', 'file', 'refer', 'landmark', 'x_px', 'y_px', 'x_mm', 'y_mm', 'region_radius_px',
    'region_radius_mm', 'check', 'bin', 'total_sd_px')
_MEASUREMENT_FIELDS = (
    'name', 'file', 'refer', 'measurement', 'value', 'unit', 'sd', 'low', 'high', 'class', 'decided',
    'finding')


class Outcome(typing.NamedTuple):
  """What became of a source: the status of its document, why it is refused ('' if not), the referral,
  None where the model has no policy for one, and whether a landmark is to be checked, None where that
  is unknown of one for want of a spacing or a region, and of no other known."""

  source: Source
  status: str
  reason: str
  refer: bool | None
  check: bool | None


def predict(sources: Iterable[Source], model: Model, out: pathlib.Path, spacing_mm: float | None = None,
            report: bool = False) -> Iterator[Outcome]:
  """Writes <name>.json of each source, <name>.png of each answered one, and the tables, into `out`.

  Tables (and the report) appear at the end; whoever stops before has those of an earlier run, or none.

  Args:
    sources: of `intake.find`.
    model: which answers.
    out: a folder, made if it is not there.
    spacing_mm: of images that do not state their own.
    report: also write `report.html`.

  Raises:
    OSError: an output cannot be written.
  """
  out.mkdir(parents=True, exist_ok=True)
  with contextlib.ExitStack() as stack:
    def opened(name):
      return stack.enter_context(whole_files.writing(out / name))

    tables = _Tables(opened(PREDICTIONS), opened(MEASUREMENTS))
    date = datetime.datetime.now().strftime('%Y-%m-%d %H:%M')
    page = Page(opened(REPORT), prediction_json.signature(model), date) if report else None
    counts = np.zeros(4, int)
    for batch in _batches(sources):
      for document, png, source in _documents(batch, model, spacing_mm):
        _write(out, document, png)
        tables.add(document)
        if page:
          page.add(document, png)
        ok = document['status'] == 'ok'
        refer = document['referral']['refer'] if ok else None
        checks = [landmark['check'] for landmark in document['landmarks']]
        check = True if True in checks else None if None in checks else False
        counts += (1, ok, bool(refer), bool(check) and not refer)
        yield Outcome(source, document['status'], document['reason'] or '', refer, check)
    if page:
      page.end(*map(int, counts))


def _batches(sources: Iterable[Source]) -> Iterator[Sequence[Source]]:
  sources = iter(sources)
  while batch := list(itertools.islice(sources, BATCH)):
    yield batch


def _documents(batch: Sequence[Source], model: Model, spacing_mm: float | None):
  """Yields document, picture (None if refused) and source, in the order of the batch."""
  films = [_film(source, spacing_mm) for source in batch]
  asked = [film for film in films if not isinstance(film, str)]
  answers = iter(_answers(model, asked))
  for source, film in zip(batch, films, strict=True):
    if isinstance(film, str):
      yield prediction_json.refused(source, prediction_json.UNREADABLE, film, model), None, source
      continue
    yield *_answered(source, film, next(answers), model), source


def _film(source: Source, spacing_mm: float | None) -> intake.Film | str:
  """What the model is asked, or why it is not."""
  try:
    if source.reason:
      raise DataError(source.reason)
    return intake.read(source.path, spacing_mm)
  except DataError as error:
    return ' '.join(str(error).split())


def _answers(model: Model, films: Sequence[intake.Film]) -> list[dict | str]:
  """An answer of each film, or the error; what fails together is asked again one by one."""
  if not films:
    return []
  try:
    return model.ask([film.image_bytes for film in films], [film.spacing_mm for film in films])
  except (tf.errors.OpError, UnicodeDecodeError) as error:  # the latter where a message quotes the image
    if len(films) > 1:
      return [_answers(model, [film])[0] for film in films]
    return [' '.join(getattr(error, 'message', str(error)).split())[:160]]


def _answered(source: Source, film: intake.Film, answer: dict | str,
              model: Model) -> tuple[dict, bytes | None]:
  """Document and picture."""
  if isinstance(answer, str):
    return prediction_json.refused(source, prediction_json.FAILED, f'the model failed: {answer}', model), None
  status = answer['status'].decode()
  if status != 'ok':
    reason = prediction_json.REASONS.get(status, status)
    return prediction_json.refused(source, status, reason, model), None
  if not np.isfinite(answer['points_px']).all():
    reason = 'the model answers with points that are not finite'
    return prediction_json.refused(source, prediction_json.FAILED, reason, model), None
  gray = preprocess.decode_gray(tf.constant(film.image_bytes)).numpy()[..., 0]
  document = prediction_json.answered(source, film, gray.shape, answer, model)
  return document, plots.png(overlay.draw(gray, document), overlay.DPI)


def _write(out: pathlib.Path, document: dict, png: bytes | None) -> None:
  """The picture first: who sees a document finds it. A refused image keeps none of an earlier run."""
  picture, text = out / f'{document["name"]}.png', out / f'{document["name"]}.json'
  if png is not None:
    whole_files.write(picture, png)
  elif text.exists():  # else it is somebody else's
    picture.unlink(missing_ok=True)
  whole_files.write(text, prediction_json.text(document))


class _Tables:
  """The answered images as two CSV files: a row per landmark, a row per measurement."""

  def __init__(self, predictions: typing.TextIO, measurements: typing.TextIO):
    self._predictions = csv.DictWriter(predictions, _PREDICTION_FIELDS, lineterminator='\n')
    self._measurements = csv.DictWriter(measurements, _MEASUREMENT_FIELDS, lineterminator='\n')
    self._predictions.writeheader()
    self._measurements.writeheader()

  def add(self, document: dict) -> None:
    if document['status'] != 'ok':
      return
    image = {'name': document['name'], 'file': _plain_cell(document['file']),
             'refer': document['referral']['refer']}
    for landmark in document['landmarks']:
      (x, y), mm, region = landmark['point_px'], landmark['point_mm'], landmark['region']
      self._predictions.writerow(_cells(image | {
          'landmark': landmark['name'], 'x_px': x, 'y_px': y, 'x_mm': mm and mm[0], 'y_mm': mm and mm[1],
          'region_radius_px': region and region['radius_px'],
          'region_radius_mm': region and region['radius_mm'], 'check': landmark['check'],
          'bin': landmark['bin'],
          'total_sd_px': landmark['measures'].get('total_sd_px')}))
    for name, found in document['measurements'].items():
      row = {key: value for key, value in found.items() if key in _MEASUREMENT_FIELDS}
      self._measurements.writerow(_cells(image | {'measurement': name} | row))


def _cells(row: dict) -> dict:
  """Floats with seven digits, as the model has them; nothing for None."""
  def cell(value):
    if isinstance(value, bool):
      return str(value).lower()
    return '' if value is None else f'{value:.7g}' if isinstance(value, float) else value
  return {name: cell(value) for name, value in row.items()}


def _plain_cell(file: str) -> str:
  """A path that no spreadsheet takes for a formula."""
  return f'./{file}' if file[:1] in '=+-@' else file
