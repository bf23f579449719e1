"""The figure of cost against quality, drawn like those of `plots`."""

import math
from collections.abc import Mapping, Sequence

from ceph_tf.evaluation.plots import SERIES, log_ticks, new_panels


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
    middle = math.sqrt(math.prod(f(x for x, _ in points.values()) for f in (min, max)))
    for k, (name, (x, y)) in enumerate(points.items()):
      left = x > middle  # a name goes towards the middle, where there is room for it
      one.plot(x, y, 'o', color=SERIES[k % len(SERIES)], markersize=6)
      one.annotate(name.replace('_', ' '), (x, y), xytext=(-6 if left else 6, 4), fontsize=8,
                   textcoords='offset points', ha='right' if left else 'left')
    one.set(xscale='log', xlabel=cost, ylabel=quality)
    one.margins(x=0.15, y=0.15)
    log_ticks(one.xaxis)
  for one in axes[len(content):]:
    one.set_visible(False)
  return figure
