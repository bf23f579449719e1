"""Arrays to matplotlib figures; the only module that imports matplotlib.

Figures are made with the object API, so nothing here touches pyplot's global state.
Colours are those of Okabe and Ito, distinguishable with colour-blindness.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ceph_tf.evaluation import metrics

SHORT_NAMES = {
    'sella': 'S', 'nasion': 'N', 'orbitale': 'Or', 'porion': 'Po', 'subspinale': 'A',
    'supramentale': 'B', 'pogonion': 'Pog', 'menton': 'Me', 'gnathion': 'Gn', 'gonion': 'Go',
    'lower_incisor': 'LI', 'upper_incisor': 'UI', 'upper_lip': 'UL', 'lower_lip': 'LL',
    'subnasale': 'Sn', 'soft_pogonion': "Pog'", 'pns': 'PNS', 'ans': 'ANS', 'articulare': 'Ar',
}
TRUTH, PREDICTED, SAMPLE = '#56d3ff', '#ffb000', '#ff5fa2'
SERIES = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#000000')
DASHES = ('-', '--', '-.', ':')
# Radius, in standard deviations, of the ellipse that holds 95 % of a 2-D Gaussian.
ELLIPSE_SD = float(np.sqrt(-2 * np.log(0.05)))
_OUTLINE = [patheffects.withStroke(linewidth=2.0, foreground='black')]


def short_name(name: str) -> str:
  """The abbreviation of an ISBI landmark; other names stay as they are."""
  return SHORT_NAMES.get(name, name)


def label(name: str) -> str:
  """A landmark for the reader of a chart or table: `S  sella`, `PNS`, `my point`."""
  words, short = name.replace('_', ' '), short_name(name)
  return f'{short}  {words}' if name in SHORT_NAMES and short != words.upper() else (
      short if name in SHORT_NAMES else words)


def measure_label(name: str) -> str:
  """A measure for the reader of a chart or table: `spread (mm)`, `MHA`, `entropy (nats)`."""
  unit = next((unit for unit in ('mm', 'nats') if name.endswith(f'_{unit}')), '')
  words = name.removesuffix(f'_{unit}').replace('e_mha', 'E-MHA').replace('_', ' ')
  words = ' '.join(w.upper() if w in ('mha', 'sd', 'ere', 'ood') else w for w in words.split())
  return f'{words} ({unit})' if unit else words


def png(figure: Figure, dpi: int = 150) -> bytes:
  """A figure as the bytes of a PNG file, without metadata that changes between runs."""
  buffer = io.BytesIO()
  FigureCanvasAgg(figure).print_figure(buffer, dpi=dpi, format='png', metadata={'Software': None})
  return buffer.getvalue()


def new_axes(width: float, height: float, rows: int = 1, columns: int = 1):
  """A figure of inches, and its axes: one, or [rows, columns] of equal scales."""
  figure = Figure(figsize=(width, height), layout='constrained')
  axes = figure.subplots(rows, columns, sharex=True, sharey=True)
  for one in np.ravel(axes):
    one.spines[['top', 'right']].set_visible(False)
  return figure, axes


def new_panels(width: float, height: float, rows: int, columns: int):
  """A figure of inches, and a flat list of axes, each with scales of its own."""
  figure = Figure(figsize=(width, height), layout='constrained')
  axes = list(np.ravel(figure.subplots(rows, columns)))
  for one in axes:
    one.spines[['top', 'right']].set_visible(False)
  return figure, axes


class _LogTicks(LogLocator):
  """At 1, 2, 5, 10 ...; where these would be one or none, as on a linear axis."""

  def tick_values(self, vmin, vmax):
    ticks = super().tick_values(vmin, vmax)
    shown = ((vmin <= ticks) & (ticks <= vmax)).sum()
    return ticks if shown > 1 else MaxNLocator(4).tick_values(vmin, vmax)


def log_ticks(axis) -> None:
  """Plain numbers at 1, 2, 5, 10 ... of a log axis."""
  axis.set_major_locator(_LogTicks(subs=(1, 2, 5)))
  axis.set_major_formatter(lambda value, _: f'{value:g}')
  axis.set_minor_formatter(NullFormatter())


def overlay(
    image: np.ndarray,
    size_px: tuple[int, int],
    points_px: np.ndarray,
    truth_px: np.ndarray | None = None,
    samples_px: np.ndarray | None = None,
    covariance_px2: np.ndarray | None = None,
    names: Sequence[str] = (),
    title: str = '',
) -> Figure:
  """An X-ray with true and predicted landmarks, samples and 95 % ellipses.

  Args:
    image: [h, w] gray, any range; may be smaller than the source image.
    size_px: (height, width) of the source image, whose pixels all points are in.
    points_px: [L, 2] predictions; NaN are left out, here and below.
    truth_px: [L, 2].
    samples_px: [S, L, 2]; drawn when there are at least two.
    covariance_px2: [L, 2, 2] total covariance.
    names: L landmark names.
    title: above the image.
  """
  height, width = size_px
  figure = Figure(figsize=(6.4, 6.4 * height / width + (0.3 if title else 0)), layout='constrained')
  axes = figure.add_subplot()
  low, high = np.percentile(image, (0.5, 99.5))
  axes.imshow(image, cmap='gray', vmin=low, vmax=max(high, low + 1e-6), interpolation='bilinear',
              extent=(-0.5, width - 0.5, height - 0.5, -0.5))
  axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
  axes.set_title(title, fontsize=10)
  handles = []
  if samples_px is not None and len(samples_px) > 1:
    axes.plot(*samples_px.reshape(-1, 2).T, '.', color=SAMPLE, alpha=0.5, markersize=1.5)
    handles.append(Line2D([], [], marker='.', ls='', color=SAMPLE, markersize=4, label='samples'))
  if covariance_px2 is not None:
    handles += _ellipses(axes, points_px, covariance_px2)
  if truth_px is not None:
    pairs = np.stack([truth_px, points_px], axis=1)
    axes.plot(pairs[..., 0].T, pairs[..., 1].T, '-', color='white', linewidth=0.7)
    handles += axes.plot(*truth_px.T, '+', color=TRUTH, markersize=6, mew=1.1, label='truth')
  handles += axes.plot(*points_px.T, 'o', color=PREDICTED, markersize=2.6, label='predicted')
  _labels(axes, points_px, [short_name(n) for n in names], size_px)
  legend = axes.legend(handles=handles, loc='lower left', fontsize=8, labelcolor='white',
                       facecolor='black', framealpha=0.6, edgecolor='none')
  legend.set_zorder(10)
  return figure


def _ellipses(axes, points_px: np.ndarray, covariance_px2: np.ndarray) -> list[Line2D]:
  drawn = False
  for point, covariance in zip(points_px, covariance_px2, strict=True):
    if not (np.isfinite(point).all() and np.isfinite(covariance).all()):
      continue
    variances, vectors = np.linalg.eigh(covariance)
    major, minor = 2 * ELLIPSE_SD * np.sqrt(np.maximum(variances[::-1], 0))
    angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    axes.add_patch(Ellipse(point, major, minor, angle=angle, fill=False, edgecolor=PREDICTED,
                           linewidth=0.9))
    drawn = True
  return [Line2D([], [], color=PREDICTED, linewidth=0.9, label='95 % ellipse')] if drawn else []


def _labels(axes, points_px: np.ndarray, names: list[str], size_px: tuple[int, int]) -> None:
  """Writes each name beside its point, on the side with most room (greedy)."""
  height, width = size_px
  letter, line = width * 0.017, width * 0.03
  turns = np.radians(np.arange(0, 360, 45))
  directions = np.stack([np.cos(turns), np.sin(turns)], axis=-1)
  taken = points_px[np.isfinite(points_px).all(-1)]
  for point, name in zip(points_px, names, strict=False):
    if not np.isfinite(point).all():
      continue
    centres = point + directions * (letter * len(name) / 2 + line * 0.7, line)
    others = taken[(taken != point).any(-1)]
    away = (centres[:, None] - others) / (max(len(name) / 2, 1), 1)
    room = np.linalg.norm(away, axis=-1).min(axis=1, initial=np.inf)
    room[((centres < line) | (centres > (width - line, height - line))).any(-1)] = -1
    best = centres[np.argmax(room)]
    taken = np.concatenate([taken, best[None]])
    axes.text(*best, name, color='white', fontsize=8.5, ha='center', va='center',
              path_effects=_OUTLINE, clip_on=True)


def cumulative_error(errors_mm: Mapping[str, np.ndarray]) -> Figure:
  """Share of landmarks within each distance, one curve per entry, with SDR thresholds.

  The axis ends at 6 mm, so that figures of good models compare; of bad ones it
  ends where most of the landmarks are found.
  """
  figure, axes = new_axes(5.2, 3.6)
  everything = np.concatenate([np.ravel(error) for error in errors_mm.values()])
  everything = everything[np.isfinite(everything)]
  ninety = np.percentile(everything, 90) if everything.size else 0.0
  for threshold in metrics.SDR_MM:
    axes.axvline(threshold, color='0.85', linewidth=0.8, zorder=0)
  for i, (series, error) in enumerate(errors_mm.items()):
    values = np.sort(error[np.isfinite(error)])
    share = 100 * np.arange(1, values.size + 1) / max(values.size, 1)
    axes.step(np.concatenate([[0], values]), np.concatenate([[0], share]), where='post',
              color=SERIES[i % len(SERIES)], linestyle=DASHES[i % len(DASHES)],
              linewidth=1.6, label=f'{series} (n = {values.size})')
  axes.set(xlim=(0, max(6.0, ninety)), ylim=(0, 100), xlabel='radial error (mm)',
           ylabel='landmarks within (%)')
  if ninety <= 6:
    ticks = [0, 1, *metrics.SDR_MM, 5, 6]
    axes.set_xticks(ticks, [f'{t:g}' for t in ticks])
  axes.legend(loc='lower right' if ninety <= 6 else 'upper left', frameon=False, fontsize=8)
  return figure


def landmark_errors(error_mm: np.ndarray, names: Sequence[str]) -> Figure:
  """Box plots of the radial error of each landmark; whiskers end at the 95th percentile.

  Args:
    error_mm: [N, L], NaN where missing.
    names: L landmark names.
  """
  figure, axes = new_axes(5.2, max(2.6, 0.6 + 0.25 * len(names)))
  columns = [column[np.isfinite(column)] for column in error_mm.T]
  boxes = axes.boxplot(columns, orientation='horizontal', whis=(0, 95), widths=0.62,
                       patch_artist=True, showmeans=True,
                       meanprops={'marker': 'D', 'markerfacecolor': SERIES[1],
                                  'markeredgecolor': 'none', 'markersize': 4},
                       medianprops={'color': 'black'},
                       flierprops={'marker': '.', 'markersize': 3, 'alpha': 0.5,
                                   'markeredgecolor': '0.3'})
  for box in boxes['boxes']:
    box.set(facecolor='#9ecae1', edgecolor='0.2', linewidth=0.8)
  axes.axvline(2.0, color='0.6', linewidth=0.8, linestyle='--', zorder=0)
  everything = np.concatenate(columns)
  limit = 1.1 * np.percentile(everything, 99.5) if everything.size else 1.0
  beyond = int((everything > limit).sum())
  axes.set(xlim=(0, max(limit, 2.2)), xlabel='radial error (mm)' +
           (f'; {beyond} beyond the axis' if beyond else ''))
  axes.set_yticks(range(1, len(names) + 1), [label(n) for n in names], fontsize=8)
  axes.invert_yaxis()
  axes.legend(handles=[boxes['medians'][0], boxes['means'][0]], labels=['median', 'mean'],
              loc='lower right', fontsize=8, framealpha=0.9)
  return figure


def error_against_measure(measure: np.ndarray, error_mm: np.ndarray, name: str) -> Figure:
  """Every landmark's error over its uncertainty, and the median error in ten equal groups.

  Args:
    measure: [N, L]; names ending in `_mm` are lengths and drawn on a log axis.
    error_mm: [N, L].
    name: of the measure.
  """
  figure, axes = new_axes(4.6, 3.6)
  both = np.isfinite(measure) & np.isfinite(error_mm) & (error_mm > 0)
  length = name.endswith('_mm')
  both &= (measure > 0) if length else True
  x, y = measure[both], error_mm[both]
  axes.plot(x, y, '.', color=SERIES[0], alpha=0.25, markersize=3, markeredgecolor='none',
            rasterized=True)
  if x.size >= 20:
    groups = np.array_split(np.argsort(x, kind='stable'), 10)
    axes.plot([np.median(x[g]) for g in groups], [np.median(y[g]) for g in groups], 'o-',
              color=SERIES[1], markersize=4, linewidth=1.4, label='median of each tenth')
  scale = 'log' if x.size else 'linear'
  axes.set(yscale=scale, xscale=scale if length else 'linear', ylabel='radial error (mm)',
           xlabel=measure_label(name))
  for axis in (axes.xaxis, axes.yaxis):
    if axis.get_scale() == 'log':
      log_ticks(axis)
  axes.set_title(f'Spearman {metrics.spearman(measure, error_mm):+.2f}', fontsize=10)
  if x.size >= 20:
    axes.legend(frameon=False, fontsize=8)
  return figure
