"""Which pictures an evaluation shows, drawn from saved predictions, as PNG files."""

import dataclasses
from collections.abc import Iterable

import cv2
import numpy as np

from ceph_tf.data import preprocess
from ceph_tf.data.records import DataError, Record
from ceph_tf.evaluation import metrics, plots
from ceph_tf.evaluation.evaluate import Cases

OVERLAY_PX = 1000  # height an X-ray is reduced to before it is drawn
OVERLAY_DPI = 120  # twelve X-rays then make a report of about 8 MB


@dataclasses.dataclass(frozen=True)
class Picture:
  """A PNG file with the words below it."""

  name: str
  caption: str
  png: bytes


@dataclasses.dataclass(frozen=True)
class Choice:
  """An image worth showing: why, and its place among the cases."""

  group: str
  index: int


def charts(cases: Cases, truth: str) -> list[Picture]:
  """The error curve, the errors of each landmark and errors against each measure.

  Charts are in mm: without a known spacing there is none.

  Args:
    cases: see `evaluate.align`.
    truth: the truth behind all charts but the curve, which shows every truth.
  """
  error_mm = cases.error_mm(truth)
  if not np.isfinite(error_mm).any():
    return []
  curves = {name: cases.error_mm(name) for name in cases.truths_px}
  pictures = [
      Picture('error_curve', 'Landmarks within each distance of the truth; the vertical lines '
              'are the thresholds of the detection rates.',
              plots.png(plots.cumulative_error(curves))),
      Picture('landmarks', f'Radial error of each landmark against the truth {truth!r}. Boxes '
              'span the quartiles, whiskers end at the 95th percentile.',
              plots.png(plots.landmark_errors(error_mm, cases.landmark_names))),
  ]
  for name, measure in cases.measures.items():
    pictures.append(Picture(
        f'error_against_{name}', f'Radial error against {plots.measure_label(name)}.',
        plots.png(plots.error_against_measure(measure, error_mm, name))))
  return pictures


def _row_means(values: np.ndarray) -> np.ndarray:
  seen = np.isfinite(values)
  count = seen.sum(axis=1)
  total = np.where(seen, values, 0).sum(axis=1)
  return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def image_errors(cases: Cases, truth: str) -> tuple[np.ndarray, str]:
  """Mean error of each image [N] and its unit: mm, or px if no spacing is known."""
  error_mm = _row_means(cases.error_mm(truth))
  if np.isfinite(error_mm).any():
    return error_mm, 'mm'
  return _row_means(metrics.radial_error_px(cases.points_px, cases.truths_px[truth])), 'px'


def image_uncertainties(cases: Cases) -> np.ndarray:
  """Mean radius of the total covariance of each image [N], px of the source."""
  return _row_means(np.sqrt(np.trace(cases.covariance_px2, axis1=-2, axis2=-1)))


def choose(cases: Cases, truth: str, count: int) -> list[Choice]:
  """At most `count` different images: best, median, worst and most uncertain, in equal parts."""
  errors, _ = image_errors(cases, truth)
  order = np.argsort(errors, kind='stable')[:np.isfinite(errors).sum()]
  middle = order[np.argsort(np.abs(np.arange(len(order)) - (len(order) - 1) / 2), kind='stable')]
  uncertain = image_uncertainties(cases)
  queues = {
      'Worst': list(order[::-1]),
      'Most uncertain': [i for i in np.argsort(-uncertain, kind='stable')
                         if np.isfinite(uncertain[i])],
      'Median': list(middle),
      'Best': list(order),
  }
  chosen: dict[int, str] = {}
  while len(chosen) < count and any(queues.values()):
    for group, queue in queues.items():
      while queue and queue[0] in chosen:
        queue.pop(0)
      if queue and len(chosen) < count:
        chosen[queue.pop(0)] = group
  groups = ('Best', 'Median', 'Worst', 'Most uncertain')
  return [Choice(group, int(i)) for group in groups for i, g in chosen.items() if g == group]


def overlays(
    cases: Cases, truth: str, choices: list[Choice], records: Iterable[Record]
) -> list[Picture]:
  """The chosen X-rays with everything that is known about their landmarks.

  Args:
    cases: see `evaluate.align`.
    truth: the truth drawn.
    choices: see `choose`.
    records: a second pass over the records of `cases`, for the images.

  Raises:
    DataError: a chosen image is not among the records.
  """
  wanted = {cases.image_id[c.index] for c in choices}
  images = {r.image_id: _reduced(r) for r in records if r.image_id in wanted}
  if wanted - set(images):
    raise DataError(f'image {sorted(wanted - set(images))[0]!r} is not among the examples')
  errors, unit = image_errors(cases, truth)
  uncertain = image_uncertainties(cases)
  pictures = []
  for number, choice in enumerate(choices, 1):
    i, (image, size_px) = choice.index, images[cases.image_id[choice.index]]
    radius = uncertain[i] * (cases.spacing_mm[i] if unit == 'mm' else 1)
    caption = (f'{choice.group}: image {cases.image_id[i]}, mean error '
               f'{_amount(errors[i], unit)}, mean uncertainty {_amount(radius, unit)}')
    figure = plots.overlay(
        image, size_px, cases.points_px[i], cases.truths_px[truth][i], cases.samples_px[i],
        cases.covariance_px2[i], cases.landmark_names)
    slug = choice.group.lower().replace(' ', '_')
    png = plots.png(figure, OVERLAY_DPI)
    pictures.append(Picture(f'overlay_{number:02d}_{slug}', caption, png))
  return pictures


def _amount(value: float, unit: str) -> str:
  return f'{value:.2f} {unit}' if np.isfinite(value) else 'unknown'


def _reduced(record: Record) -> tuple[np.ndarray, tuple[int, int]]:
  """The image [h, w], small enough to draw, and the size of the source image."""
  gray = preprocess.decode_gray(record.image_bytes).numpy()[..., 0]
  height, width = gray.shape
  scale = min(1.0, OVERLAY_PX / height)
  small = cv2.resize(gray, (max(1, round(width * scale)), max(1, round(height * scale))),
                     interpolation=cv2.INTER_AREA)
  return small, (height, width)
