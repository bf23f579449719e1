"""The figures of the experiments with changed X-rays, drawn like those of `plots`."""

from collections.abc import Mapping, Sequence

import numpy as np

from ceph_tf.evaluation.plots import DASHES, PREDICTED, SAMPLE, SERIES, TRUTH, measure_label, new_panels


def trends(level: np.ndarray, values: Mapping[str, np.ndarray], rho: Mapping[str, float], xlabel: str,
           error_mm: np.ndarray | None):
  """Each measure against magnitude or angle, its Pearson correlation above; last the error.

  Args:
    level: [K].
    values: measure -> [K].
    rho: measure -> correlation, None or NaN where it is unknown.
    xlabel: what the level is.
    error_mm: [K], or None where no truth is known.
  """
  shown = dict(values)
  if error_mm is not None:
    shown['radial error (mm)'] = error_mm
  columns = max(1, min(4, len(shown)))
  rows = max(1, -(-len(shown) // columns))
  figure, axes = new_panels(2.5 * columns, 2.1 * rows, rows, columns)
  for one, (name, value) in zip(axes, shown.items(), strict=False):
    known = name in values
    one.plot(level, value, 'o-', color=SERIES[0] if known else SERIES[1], markersize=2.5, linewidth=0.8)
    unknown = known and (rho[name] is None or np.isnan(rho[name]))
    title = name if not known else f'{measure_label(name)}, \u03c1 ' + (
        'unknown' if unknown else f'= {rho[name]:.2f}')
    one.set_title(title, fontsize=8.5)
    one.tick_params(labelsize=7.5)
  for one in axes[len(shown):]:
    one.set_visible(False)
  figure.supxlabel(xlabel, fontsize=9)
  return figure


def auroc_curves(level: np.ndarray, auroc: Mapping[str, Sequence[float]], xlabel: str):
  """How well each score tells the X-rays of each level from the unchanged ones."""
  figure, (axes,) = new_panels(7.2, 3.6, 1, 1)
  axes.axhline(50, color='0.6', linewidth=0.9, linestyle=':')
  for i, (name, values) in enumerate(auroc.items()):
    axes.plot(level, 100 * np.asarray(values, float), color=SERIES[i % len(SERIES)],
              linestyle=DASHES[(i // len(SERIES) + i) % len(DASHES)], linewidth=1.5,
              label=measure_label(name))
  axes.set(xlabel=xlabel, ylabel='AUROC against unchanged X-rays (%)', ylim=(None, 101))
  axes.legend(frameon=False, fontsize=8, loc='center left', bbox_to_anchor=(1.0, 0.5))
  return figure


def overlays(images: Sequence[np.ndarray], points_px: Sequence[np.ndarray],
             samples_px: Sequence[np.ndarray], radius_px: Sequence[np.ndarray],
             truth_px: Sequence[np.ndarray], titles: Sequence[str]):
  """Changed X-rays side by side: samples, their mean, a circle of the uncertainty, the truth.

  Args:
    images: [h, w] each.
    points_px: [L, 2] each, likewise below.
    samples_px: [S, L, 2] each.
    radius_px: [L] each.
    truth_px: [L, 2] each; NaN are left out.
    titles: above the images.
  """
  height, width = images[0].shape
  figure, axes = new_panels(2.9 * len(images), 2.9 * height / width + 0.3, 1, len(images))
  turn = np.linspace(0, 2 * np.pi, 40)
  for one, image, points, samples, radii, truth, title in zip(
      axes, images, points_px, samples_px, radius_px, truth_px, titles, strict=True):
    one.imshow(image, cmap='gray', interpolation='bilinear')
    if len(samples) > 1:
      one.plot(*samples.reshape(-1, 2).T, '.', color=SAMPLE, alpha=0.5, markersize=1.2)
    for (x, y), radius in zip(points, radii, strict=True):
      one.plot(x + radius * np.cos(turn), y + radius * np.sin(turn), color=PREDICTED, linewidth=0.7)
    one.plot(*points.T, 'o', color=PREDICTED, markersize=1.8)
    one.plot(*truth.T, '+', color=TRUTH, markersize=4, mew=0.8)
    one.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    one.set_title(title, fontsize=9)
  return figure
