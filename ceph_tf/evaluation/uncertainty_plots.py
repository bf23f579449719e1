"""Figures of an analysis of uncertainties, drawn like those of `plots`."""

from collections.abc import Mapping, Sequence

import numpy as np

from ceph_tf.evaluation.plots import DASHES, SERIES, label, measure_label, new_axes

_MARKERS = ('o', 's', '^', 'D')


def risk_coverage(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    areas_mm: Mapping[str, float],
    mre_mm: float,
    best: str,
):
  """Mean error of the points kept against their share, one curve per measure.

  Args:
    curves: name -> share kept [G] and mean error [G]; `perfect` is drawn in gray.
    areas_mm: name -> area under the curve, for the legend.
    mre_mm: mean error of all points.
    best: the curve drawn boldest.
  """
  figure, axes = new_axes(7.2, 3.8)
  axes.axhline(mre_mm, color='0.6', linewidth=0.9, linestyle=':', zorder=0)
  axes.annotate('no ranking', (100, mre_mm), xytext=(4, -3), textcoords='offset points',
                fontsize=8, color='0.4', annotation_clip=False)
  highest = mre_mm
  ranked = sorted((name for name in curves if name != 'perfect'), key=areas_mm.get)
  for i, name in enumerate(ranked):
    kept, risk = _readable(*curves[name])
    highest = max(highest, risk.max())
    axes.plot(100 * kept, risk, color=SERIES[i % len(SERIES)], linestyle=DASHES[i % len(DASHES)],
              linewidth=2.2 if name == best else 1.3, zorder=3 if name == best else 2,
              label=f'{measure_label(name)}: {areas_mm[name]:.2f} mm')
  if 'perfect' in curves:
    kept, risk = _readable(*curves['perfect'])
    axes.plot(100 * kept, risk, color='0.6', linewidth=0.9,
              label=f'by the error itself: {areas_mm["perfect"]:.2f} mm')
  axes.set(xlim=(0, 100), ylim=(0, 1.12 * highest), xlabel='points kept, the most certain first (%)',
           ylabel='mean radial error of those kept (mm)')
  axes.legend(frameon=False, fontsize=8, loc='lower left', bbox_to_anchor=(1.0, 0.0),
              title='area under the curve', title_fontsize=8, alignment='left')
  return figure


def _readable(kept: np.ndarray, risk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """A curve without its first percent, which is the noise of a few points."""
  shown = kept >= min(0.01, kept[-1])
  return kept[shown], risk[shown]


def error_per_bin(errors_mm: Mapping[str, Sequence[np.ndarray]]):
  """Box plots of the errors in each bin, a panel per measure; whiskers from 5 to 95 %.

  Args:
    errors_mm: name -> errors of each bin, the most certain first.
  """
  columns = min(4, len(errors_mm))
  rows = -(-len(errors_mm) // columns)
  figure, axes = new_axes(max(3.2, 2.15 * columns), 2.5 * rows + 0.2, rows, columns)
  panels = np.ravel(axes)
  highest = 1.0
  for panel, (name, bins) in zip(panels, errors_mm.items(), strict=False):
    boxes = panel.boxplot(list(bins), whis=(5, 95), widths=0.66, showfliers=False,
                          showmeans=True, patch_artist=True, medianprops={'color': 'black'},
                          meanprops={'marker': 'D', 'markerfacecolor': SERIES[1],
                                     'markeredgecolor': 'none', 'markersize': 4})
    for box in boxes['boxes']:
      box.set(facecolor='#9ecae1', edgecolor='0.2', linewidth=0.8)
    highest = max([highest, *(np.percentile(e, 95) for e in bins if len(e))])
    panel.set_title(measure_label(name), fontsize=9)
    panel.set_xticks(range(1, len(bins) + 1), [str(k + 1) for k in range(len(bins))], fontsize=8)
    panel.tick_params(labelsize=8, labelbottom=True)
  for panel in panels[len(errors_mm):]:
    panel.set_visible(False)
  panels[0].set_ylim(0, 1.05 * highest)
  figure.supxlabel('bin, the most certain first', fontsize=9)
  figure.supylabel('radial error (mm)', fontsize=9)
  return figure


def landmark_coverage(
    kinds: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, tuple[float, float]],
    stated: float,
):
  """Coverage of each landmark's regions beside what its calibration set lets expect.

  Args:
    kinds: words for a kind of region -> landmark -> coverage; at most four.
    intervals: landmark -> the interval that holds the counted coverage with 95 %.
    stated: the coverage wanted.
  """
  names = list(intervals)
  figure, axes = new_axes(5.6, max(2.6, 1.0 + 0.27 * len(names)))
  low, high = 100 * np.array(list(intervals.values())).T
  rows = np.arange(len(names))
  axes.barh(rows, high - low, left=low, height=0.72, color='0.9', zorder=0,
            label='expected, 95 %')
  axes.axvline(100 * stated, color='0.4', linewidth=0.9, linestyle='--', zorder=1,
               label=f'stated, {100 * stated:g} %')
  apart = np.linspace(-0.2, 0.2, len(kinds)) if len(kinds) > 1 else [0.0]
  lowest = low.min()
  for i, (kind, values) in enumerate(kinds.items()):
    found = 100 * np.array([values.get(name, np.nan) for name in names])
    lowest = min(lowest, np.nanmin(found, initial=100))
    axes.plot(found, rows + apart[i], _MARKERS[i], color=SERIES[i], markersize=4.2, label=kind)
  axes.set(xlim=(max(0, lowest - 4), 101), ylim=(len(names) - 0.4, -0.6),
           xlabel='true points inside their region (%)')
  axes.set_yticks(rows, [label(name) for name in names], fontsize=8)
  axes.legend(fontsize=8, frameon=False, loc='lower center', bbox_to_anchor=(0.4, 1.0), ncols=3)
  return figure
