"""The figure of cost against quality, drawn like those of `plots`."""

from collections.abc import Mapping, Sequence

import numpy as np

from ceph_tf.evaluation import label_places
from ceph_tf.evaluation.plots import SERIES, log_ticks, new_panels

_FONT, _MARK = 8, 6  # points


def panels(content: Sequence[tuple[str, str, Mapping[str, tuple[float, float]], Sequence[str]]]):
  """One panel per pair of a cost and a quality, two beside each other.

  Args:
    content: of each panel: label of the cost, label of the quality, model -> (cost, quality), and the
      models that the line joins.
  """
  columns = min(2, len(content))
  rows = -(-len(content) // columns)
  figure, axes = new_panels(4.6 * columns, 3.0 * rows, rows, columns)
  for one, (cost, quality, points, line) in zip(axes, content, strict=False):
    one.plot(*zip(*(points[name] for name in line), strict=True), '-', color='0.6', linewidth=1.0)
    for k, (x, y) in enumerate(points.values()):
      one.plot(x, y, 'o', color=SERIES[k % len(SERIES)], markersize=_MARK)
    one.set(xscale='log', xlabel=cost, ylabel=quality)
    one.margins(x=0.15, y=0.15)
    log_ticks(one.xaxis)
  for one in axes[len(content):]:
    one.set_visible(False)
  figure.draw_without_rendering()  # names need to know where the points have come to lie
  for one, (_, _, points, line) in zip(axes, content, strict=False):
    _name(one, points, line)
  return figure


def _name(axes, points: Mapping[str, tuple[float, float]], line: Sequence[str]) -> None:
  """Names beside points, off each other; a thin line leads to those that had to go far."""
  names, dot = [name.replace('_', ' ') for name in points], axes.figure.dpi / 72
  corner, size = axes.bbox.min, axes.bbox.size
  places = axes.transData.transform(list(points.values())) - corner
  along = axes.transData.transform([points[name] for name in line]) - corner
  along = np.concatenate([np.linspace(a, b, 40) for a, b in zip(along, along[1:], strict=False)] or [along])
  centres, led = label_places.place(
      places, names, (0.62 * _FONT * dot, 1.2 * _FONT * dot), size, np.full((len(names), 2), _MARK / 2 * dot),
      along, np.zeros((0, 4)))
  for name, place, centre, far in zip(names, places, centres, led, strict=True):
    arrow = {'arrowstyle': '-', 'linewidth': 0.5, 'color': '0.4', 'shrinkB': 3} if far else None
    axes.annotate(name, place / size, xytext=centre / size, xycoords='axes fraction', fontsize=_FONT,
                  textcoords='axes fraction', ha='center', va='center', arrowprops=arrow)
