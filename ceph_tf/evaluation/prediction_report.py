"""Predictions as one HTML file that needs nothing else; written while they come, held in memory never."""

import base64
import html
import math
import typing

import cv2
import numpy as np

from ceph_tf.evaluation import overlay, plots, report

PICTURE_PX = 1100  # height of a picture in the page
_MARK = '<!-- here -->'
_FINDINGS = {'above the norm': 'no', 'below the norm': 'no', 'edge to edge': 'no'}


class Page:
  """A page that is written image by image.

  Args:
    file: a text file, open for writing.
    model: of a document, see `serving.prediction_schema`.
    date: for people.
  """

  def __init__(self, file: typing.TextIO, model: dict, date: str):
    self._file = file
    version = '' if model['version'] is None else f', version {model["version"]}'
    title = html.escape(f'Landmarks by {model["name"]}{version}')
    head, self._tail = report.page(title, [
        f'<h1>{title}</h1>', _facts(model, date),
        '<p class="note">For research, not a medical device: computed, and to be checked by a '
        'doctor. Positions are those of the JSON file of each image; a summary is at the end.</p>',
        _MARK]).split(_MARK)
    file.write(head)

  def add(self, document: dict, png: bytes | None) -> None:
    """An image: the picture, its measurements and its landmarks, or why there are none."""
    self._file.write(f'<h2>{html.escape(document["file"])}</h2>\n')
    if document['status'] != 'ok':
      self._file.write(f'<p><span class="verdict no">refused</span> {html.escape(document["reason"])}</p>\n')
      return
    self._file.write(_referral(document) + '<div class="grid">' + _picture(png, document['name'])
                     + '<div>' + _measurements(document) + _landmarks(document) + '</div></div>\n')

  def end(self, read: int, answered: int, referred: int, check: int) -> None:
    """The summary, and the end of the page; `check`: how many others have landmarks to check."""
    rows = [('', [name, str(count)]) for name, count in (
        ('read', read), ('answered', answered), ('refused', read - answered), ('referred', referred),
        ('not referred, with landmarks to check', check))]
    self._file.write('<h2>Summary</h2>' + report.table(['Images', ''], rows) + self._tail)


def _facts(model: dict, date: str) -> str:
  rows = {'Regions': model['regions'] if model['coverage'] is None else
                     f'are meant to hold the true point with {100 * model["coverage"]:g} % probability, '
                     'on X-rays like those of the calibration; how often they did is in its evaluation.json',
          'Referral rule': model['refer'], 'Lineage': model['lineage_sha256'] or 'unknown', 'Date': date}
  items = ''.join(f'<dt>{key}</dt><dd>{html.escape(value)}</dd>' for key, value in rows.items())
  return f'<dl>{items}</dl>'


def _referral(document: dict) -> str:
  refer = document['referral']['refer']
  css, words = {True: ('no', 'refer: a doctor must check every point'),
                False: ('yes', 'not referred'), None: ('no', 'no referral policy')}[refer]
  rows = [('OOD score', 'ood_score'), ('p-value of it', 'ood_p_value'),
          ('p-value of its uncertainty', 'uncertainty_p_value')]
  if refer:
    words += f'. {document["referral"]["reason"]}'
  elif far := overlay.doubtful(document):
    css, words = 'no', f'{words}; check {", ".join(far)}'
  elif document['image']['spacing_mm'] is None:
    words += '; landmarks not checked: no spacing'
  elif bare := overlay.without_region(document):
    css, words = 'no', f'{words}; not checked, for want of a region: {", ".join(bare)}'
  figures = '; '.join(f'{words} {report.number(document["referral"][key], 3)}' for words, key in rows)
  spacing = document['image']
  known = (f'{spacing["spacing_mm"]:.4g} mm per pixel' if spacing['spacing_mm'] is not None else '')
  return (f'<p><span class="verdict {css}">{html.escape(words)}</span></p>'
          f'<p class="note">{html.escape(figures)}. Spacing: '
          f'{html.escape(" ".join((known, "(" + spacing["spacing_origin"] + ")")).strip())}.</p>')


def _picture(png: bytes, name: str) -> str:
  pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
  scale = min(1.0, PICTURE_PX / pixels.shape[0])
  small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
  jpeg = cv2.imencode('.jpg', small, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
  return (f'<figure><img alt="{html.escape(name)}" loading="lazy" '
          f'src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"></figure>')


def _measurements(document: dict) -> str:
  rows = []
  for name, found in document['measurements'].items():
    digits = 1 if found['unit'] else 2  # of a ratio
    value, low, high, *normal = (
        report.number(v, digits) for v in (found['value'], found['low'], found['high'], *found['normal']))
    unit = {'deg': '\u00b0', '': ''}.get(found['unit'], f'\u00a0{found["unit"]}')
    known = found['value'] is not None
    rows.append(('main' if found['finding'] in _FINDINGS else '', [
        name.replace('_', ' '), value + unit * known, f'{low} to {high}' if known else value,
        ' to '.join(normal), found['finding']]))
  if not rows:
    return ''
  return report.table(['Measurement', 'value', '90 % interval', 'norm', 'finding'], rows)


def _landmarks(document: dict) -> str:
  unit, spacing = ('px', 1.0) if document['image']['spacing_mm'] is None else (
      'mm', document['image']['spacing_mm'])
  rows = []
  for landmark in document['landmarks']:
    region = landmark['region']
    rows.append(('', [
        plots.label(landmark['name']), *(_amount(value) for value in landmark['point_px']),
        report.number(region and region['radius_px'] and region['radius_px'] * spacing),
        '\u2013' if landmark['bin'] is None else str(landmark['bin'])]))
  return '<details><summary>Landmarks</summary>' + report.table(
      ['Landmark', 'x (px)', 'y (px)', f'radius of the region ({unit})', 'bin'], rows) + '</details>'


def _amount(value: float | None) -> str:
  return '\u2013' if value is None or not math.isfinite(value) else f'{value:.4g}'
