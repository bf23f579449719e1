"""The fields of a prediction's JSON document. `VERSION` rises when one changes or goes; new ones may come.

    schema        name and version of this list
    file, name    the image as it was given; its outputs are called <name>.json and <name>.png
    status        `ok`, `unreadable` (no model was asked), `failed` (it gave no answer), or the model's
                  status of an image that it refuses
    reason        why there is no answer; null if there is one
    model         which one answered: folder, version, SHA-256 of its lineage.json; `coverage` of the
                  regions, number of `bins`; what it says in words about `regions` and `refer`
    image         its size and spacing, and where the spacing is from; null if there is no answer
    referral      `refer`: must a doctor look; null where the model has no policy. Its `reason` in words,
                  null where nobody must, and the figures behind it
    landmarks     position; `measures`: all that the model answers; total covariance; `bin`, 1 the most
                  certain; `region`: a circle and an ellipse, each holding the truth with `coverage`,
                  null where the model states none. Ellipse: r' C^-1 r <= 1 with C = `matrix_px2`;
                  its angle is that of the longer semi-axis, from x towards y (down). `check`: the
                  circle's radius is above 4 mm, so this point is to be checked though the image may not
                  be referred; null where the radius is unknown
    measurements  value, standard deviation, the interval `low`..`high` of probability `interval`,
                  `class` of the value, a number of the challenge (1 normal; above and below are 2 or 3
                  as ceph_tf/evaluation/clinical.py lists them) and the probabilities of all classes;
                  `decided`: all of the interval is of one class, and the image is not referred;
                  `finding` in words; the `normal` range and its source. Empty where the landmarks are
                  not the 19 of the norm

Lengths in mm are null where the spacing is unknown.
"""

import dataclasses
import math

SCHEMA, VERSION = 'ceph_tf.prediction', 1


@dataclasses.dataclass(frozen=True)
class _Maybe:
  """What may be null."""

  of: object


@dataclasses.dataclass(frozen=True)
class _Named:
  """An object of any names, each with what is described."""

  of: object


@dataclasses.dataclass(frozen=True)
class _Row:
  """A list of `length` items (any number if None)."""

  of: object
  length: int | None = None


_PAIR = _Row(float, 2)
_REGION = {
    'coverage': _Maybe(float), 'radius_px': _Maybe(float), 'radius_mm': _Maybe(float),
    'ellipse': {'semi_axes_px': _PAIR, 'semi_axes_mm': _Maybe(_PAIR), 'angle_deg': float,
                'matrix_px2': _Row(_PAIR, 2)}}
_LANDMARK = {
    'name': str, 'point_px': _PAIR, 'point_mm': _Maybe(_PAIR), 'measures': _Named(_Maybe(float)),
    'covariance_px2': _Row(_Row(_Maybe(float), 2), 2), 'bin': _Maybe(int), 'region': _Maybe(_REGION),
    'check': _Maybe(bool)}
_MEASUREMENT = {
    'value': _Maybe(float), 'unit': str, 'sd': _Maybe(float), 'low': _Maybe(float), 'high': _Maybe(float),
    'interval': float, 'class': _Maybe(int), 'decided': _Maybe(bool), 'finding': str,
    'class_probabilities': _Maybe(_Named(float)), 'normal': _PAIR, 'norm_source': str}
_DOCUMENT = {
    'schema': {'name': str, 'version': int}, 'file': str, 'name': str, 'status': str, 'reason': _Maybe(str),
    'model': {'name': str, 'version': _Maybe(int), 'lineage_sha256': _Maybe(str), 'coverage': _Maybe(float),
              'bins': _Maybe(int), 'regions': str, 'refer': str},
    'image': _Maybe({'width_px': int, 'height_px': int, 'spacing_mm': _Maybe(float), 'spacing_origin': str}),
    'referral': _Maybe({'refer': _Maybe(bool), 'reason': _Maybe(str), 'ood_score': _Maybe(float),
                        'ood_p_value': _Maybe(float), 'uncertainty_p_value': _Maybe(float)}),
    'landmarks': _Row(_LANDMARK), 'measurements': _Named(_MEASUREMENT)}


def validate(document: dict) -> None:
  """Raises `ValueError`, which names the field and what is allowed, unless a document is of this schema."""
  _check(document, _DOCUMENT, 'document')
  stated = document['schema']
  if stated != {'name': SCHEMA, 'version': VERSION}:
    raise ValueError(f'schema={stated}: allowed is {SCHEMA}, version {VERSION}')
  ok = document['status'] == 'ok'
  for field in ('image', 'referral', 'landmarks'):
    if bool(document[field]) != ok:
      raise ValueError(f'status={document["status"]!r}, but {field} is {"there" if not ok else "missing"}')
  if (document['reason'] is None) != ok:
    raise ValueError(f'status={document["status"]!r}, but reason={document["reason"]!r}')


def _check(value, wanted, where: str) -> None:
  if isinstance(wanted, _Maybe):
    if value is not None:
      _check(value, wanted.of, where)
  elif isinstance(wanted, dict):
    _check_type(value, dict, where)
    if set(value) != set(wanted):
      raise ValueError(f'{where}: missing {sorted(set(wanted) - set(value))}, '
                       f'unexpected {sorted(set(value) - set(wanted))}')
    for name, kind in wanted.items():
      _check(value[name], kind, f'{where}.{name}')
  elif isinstance(wanted, _Named):
    _check_type(value, dict, where)
    for name, item in value.items():
      _check(item, wanted.of, f'{where}.{name}')
  elif isinstance(wanted, _Row):
    _check_type(value, list, where)
    if wanted.length not in (None, len(value)):
      raise ValueError(f'{where} has {len(value)} items; allowed is {wanted.length}')
    for k, item in enumerate(value):
      _check(item, wanted.of, f'{where}[{k}]')
  else:
    _check_type(value, wanted, where)


def _check_type(value, wanted: type, where: str) -> None:
  # A number may be written as an integer; a bool is an int for Python, but none for us.
  fits = isinstance(value, (int, float) if wanted is float else wanted)
  if not fits or (isinstance(value, bool) and wanted is not bool):
    raise ValueError(f'{where}={value!r}: allowed is {wanted.__name__}')
  if isinstance(value, float) and not math.isfinite(value):
    raise ValueError(f'{where}={value!r}: allowed is a finite number or null')
