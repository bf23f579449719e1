"""What is known of one X-ray as a document of strict JSON: its schema, versioned and checked.

What is not known is null; there is no NaN. Points are (x, y) in pixels of the source image, x right,
y down, pixel centres at integers. Measurements draw the landmarks 1000 times from the model's total
covariance; the draws have a fixed seed, so that a document depends on image, spacing and model alone.

`prediction_schema` lists all fields.
"""

import json
import math
from collections.abc import Mapping

import numpy as np

from ceph_tf import seeds
from ceph_tf.data.records import LANDMARKS
from ceph_tf.evaluation import clinical, overlay
from ceph_tf.serving import intake
from ceph_tf.serving.prediction_schema import SCHEMA, VERSION, validate
from ceph_tf.serving.saved_model import Model

UNREADABLE, FAILED = 'unreadable', 'failed'  # no model was asked; it gave no answer. Others are the model's
REASONS = {
    'not_an_image': 'neither JPEG, PNG nor BMP',
    'damaged': 'the image is truncated or cannot be decoded',
    'too_small': 'a side of the image is below 32 pixels',
    'too_large': 'the image has more than 2^26 pixels',
    'blank': 'the image has no contrast',
    'not_finite': 'gray values that are not finite',
    'bad_spacing': 'the spacing is no length',
}
_REGION = ('region_radius_px', 'region_radius_mm')
UNDECIDED = 'cannot be decided'


def refused(source: intake.Source, status: str, reason: str, model: Model) -> dict:
  """The document of an image without answer: what it is, and why."""
  return {
      'schema': {'name': SCHEMA, 'version': VERSION}, 'file': intake.shown(source.path), 'name': source.name,
      'status': status, 'reason': reason, 'model': signature(model), 'image': None, 'referral': None,
      'landmarks': [], 'measurements': {}}


def answered(source: intake.Source, film: intake.Film, size_hw: tuple[int, int],
             answer: Mapping[str, np.ndarray], model: Model) -> dict:
  """The document of an image with an answer.

  Args:
    source: the file.
    film: what was asked.
    size_hw: height and width in pixels.
    answer: of `Model.ask`.
    model: which answered.
  """
  spacing = number(film.spacing_mm)
  refer = bool(answer['refer']) if 'refer' in answer else None
  p_values = {name: number(answer.get(name)) for name in ('ood_p_value', 'uncertainty_p_value')}
  return refused(source, 'ok', '', model) | {
      'reason': None,
      'image': {'width_px': size_hw[1], 'height_px': size_hw[0], 'spacing_mm': spacing,
                'spacing_origin': film.spacing_origin},
      'referral': {
          'refer': refer, 'reason': overlay.why(p_values, signature(model)['refer']) if refer else None,
          'ood_score': number(answer.get('ood_score')), **p_values},
      'landmarks': [_landmark(k, name, answer, model, spacing) for k, name in enumerate(model.landmarks)],
      'measurements': _measurements(answer, film.spacing_mm, refer) if model.landmarks == LANDMARKS else {}}


def text(document: dict) -> str:
  """A document as strict JSON. Raises `ValueError` where it is not as `prediction_schema` says."""
  validate(document)
  return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + '\n'


def number(value) -> float | None:
  """A float for JSON; None where it is missing or not finite."""
  return float(value) if value is not None and math.isfinite(value) else None


def _numbers(values) -> list:
  return [_numbers(v) if np.ndim(v) else number(v) for v in values]


def _in_mm(values: list | None, spacing_mm: float | None) -> list | None:
  if values is None or spacing_mm is None or None in values:
    return None
  return [v * spacing_mm for v in values]


def signature(model: Model) -> dict:
  """Who answers, and what it says about itself."""
  return {'name': model.name, 'version': model.version, 'lineage_sha256': model.lineage_sha256,
          'coverage': model.coverage, 'bins': model.bins,
          'regions': model.calibration.get('regions', 'absent: nothing was calibrated'),
          'refer': model.calibration.get('refer', 'absent: nothing was calibrated')}


def _landmark(k: int, name: str, answer: Mapping, model: Model, spacing_mm: float | None) -> dict:
  measures = {key: number(value[k]) for key, value in sorted(answer.items()) if key not in _REGION
              and np.shape(value) == (len(model.landmarks),) and value.dtype.kind == 'f'}
  point = _numbers(answer['points_px'][k])
  region = _region(k, answer, model.coverage, spacing_mm)
  return {'name': name, 'point_px': point, 'point_mm': _in_mm(point, spacing_mm), 'measures': measures,
          'covariance_px2': _numbers(answer['covariance_px2'][k]),
          'bin': int(answer['bin'][k]) if 'bin' in answer else None,
          'region': region, 'check': overlay.is_doubtful(region)}


def _region(k: int, answer: Mapping, coverage: float | None, spacing_mm: float | None) -> dict | None:
  """Circle and ellipse of a stated coverage; None where the model states none for this landmark."""
  if 'region_radius_px' not in answer or not np.isfinite(answer['region_ellipse_px2'][k]).all():
    return None
  matrix = np.asarray(answer['region_ellipse_px2'][k], np.float64)
  axes_px, angle_deg = ellipse(matrix)
  radius = number(answer['region_radius_px'][k])
  return {'coverage': coverage, 'radius_px': radius,
          'radius_mm': None if None in (radius, spacing_mm) else radius * spacing_mm,
          'ellipse': {'semi_axes_px': list(axes_px), 'semi_axes_mm': _in_mm(list(axes_px), spacing_mm),
                      'angle_deg': angle_deg, 'matrix_px2': _numbers(matrix)}}


def ellipse(matrix_px2: np.ndarray) -> tuple[tuple[float, float], float]:
  """Semi-axes, the longer first, and the angle of the longer, of r' C^-1 r <= 1.

  The angle is in degrees from the x axis towards the y axis, which points down, in (-90, 90].
  """
  variances, vectors = np.linalg.eigh(matrix_px2)
  long, short = np.sqrt(np.maximum(variances[::-1], 0))
  angle = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1]))
  return (float(long), float(short)), 90 - (90 - angle) % 180


def _measurements(answer: Mapping, spacing_mm: float, refer: bool | None) -> dict:
  """All of them; of an image that is referred none is decided, for its intervals are not to be trusted."""
  found = clinical.propagate(answer['points_px'][None], answer['covariance_px2'][None],
                             np.array([spacing_mm]), seeds.rng(0, 'measurements'))
  return {name: _measurement(name, {key: value[0] for key, value in values.items()}, refer)
          for name, values in found.items()}


def _measurement(name: str, found: Mapping, refer: bool | None) -> dict:
  norm = clinical.MEASUREMENTS[name]
  known = math.isfinite(found['value'])
  class_ = int(found['class']) if known else None
  decided = bool(found['decided']) and not refer
  return {'value': number(found['value']), 'unit': norm.unit, 'sd': number(found['sd']),
          'low': number(found['low']), 'high': number(found['high']), 'interval': clinical.INTERVAL,
          'class': class_, 'decided': decided if known else None, 'finding': finding(norm, class_, decided),
          'class_probabilities': ({str(k): float(p) for k, p in enumerate(found['probability'])}
                                  if known else None),
          'normal': list(norm.normal), 'norm_source': norm.source}


def finding(norm: clinical.Measurement, class_: int | None, decided: bool) -> str:
  """A class in words: against the norm, or why nothing is said."""
  if class_ is None:
    return 'unknown: no spacing' if norm.unit == 'mm' else 'unknown'
  if not decided:
    return UNDECIDED
  if norm.name == 'MW' and class_ == 2:
    return 'edge to edge'
  return {1: 'normal', norm.above: 'above the norm', norm.below: 'below the norm'}.get(class_, UNDECIDED)

