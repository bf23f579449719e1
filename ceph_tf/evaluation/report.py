"""An evaluation as one HTML file that needs nothing else: to mail, to read on a phone."""

import base64
import csv
import html
import io
import json
import math

from ceph_tf.evaluation import alarms, metrics, plots
from ceph_tf.evaluation.evaluate import plain
from ceph_tf.evaluation.pictures import Picture

_SUBSETS = {'official': 'official', 'leak_free': 'leak-free'}
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: #1b1f24;
  background: #fff; margin: 0 auto; padding: 1rem; max-width: 72rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #d0d7de; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .5rem 0; }
dt { color: #57606a; } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #e3e7eb; }
td { white-space: nowrap; } td:last-child { white-space: normal; }
th { color: #57606a; font-weight: 600; vertical-align: bottom; min-width: 3.2rem; }
th:first-child, td:first-child { text-align: left; }
tr.main td { background: #eef6ff; font-weight: 600; }
tr.doctors td { color: #57606a; font-style: italic; }
.note { color: #57606a; font-size: .9rem; max-width: 46rem; }
.verdict { display: inline-block; padding: .15rem .6rem; border-radius: 1rem; font-weight: 600; }
.yes { background: #d7f5df; color: #0a5c2b; } .no { background: #ffe1dd; color: #8a1c10; }
.grid { display: grid; gap: 1.2rem; grid-template-columns:
  repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); }
figure { margin: 0; } img { width: 100%; height: auto; }
.charts img { max-width: 34rem; } figcaption { color: #57606a; font-size: .85rem; }
pre { background: #f6f8fa; padding: .8rem; overflow-x: auto; font-size: .8rem; }
"""


def render(
    evaluation: dict,
    blessing: dict,
    charts: list[Picture],
    overlays: list[Picture],
    configuration: dict,
    date: str,
) -> str:
  """The report.

  Args:
    evaluation: see `ceph_tf.evaluation.evaluate`.
    blessing: see `evaluate.bless`.
    charts, overlays: see `ceph_tf.evaluation.pictures`.
    configuration: what made the model, shown as JSON; {} if unknown.
    date: of the evaluation, for people.

  Returns:
    HTML with inline style and pictures; it refers to nothing outside itself.
  """
  title = html.escape(f'{evaluation["title"]}: {evaluation["split"]}')
  parts = [
      f'<h1>{title}</h1>', _header(evaluation, blessing, date),
      '<h2>Summary</h2>', _summary(evaluation),
      f'<h2>Landmarks, against the truth {html.escape(evaluation["truth"])!r}</h2>',
      _landmarks(evaluation),
  ]
  if evaluation['correlations']:
    parts += ['<h2>Uncertainty and error</h2>', _correlations(evaluation['correlations'])]
  if evaluation['alarms']:
    parts += ['<h2>Warnings</h2>', _alarms(evaluation['alarms'])]
  if evaluation['circles']:
    parts += ['<h2>Circles</h2>', _circles(evaluation['circles'])]
  for subset, found in (evaluation.get('clinical') or {}).items():
    parts += [f'<h2>Clinical measurements, {_SUBSETS[subset]}</h2>', _clinical(found)]
  if charts:
    parts += ['<h2>Charts</h2>', gallery(charts, 'grid charts')]
  if overlays:
    parts += ['<h2>Images</h2>', gallery(overlays, 'grid')]
  if configuration:
    text = html.escape(json.dumps(plain(configuration), indent=2))
    parts += ['<h2>Experiment</h2>',
              f'<details><summary>Configuration (JSON)</summary><pre>{text}</pre></details>']
  return page(title, parts)


def page(title: str, parts: list[str]) -> str:
  """A whole HTML page of escaped title and parts, with its style."""
  return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
          '<meta name="viewport" content="width=device-width, initial-scale=1">'
          f'<title>{title}</title><style>{_STYLE}</style></head>\n<body>\n'
          + '\n'.join(parts) + '\n</body></html>\n')


def _header(evaluation: dict, blessing: dict, date: str) -> str:
  spacing = evaluation['spacing_mm']
  known = 'unknown' if spacing is None else (
      f'{spacing["min"]:.4g} mm/px' if spacing['min'] == spacing['max'] else
      f'{spacing["min"]:.4g} to {spacing["max"]:.4g} mm/px')
  if evaluation['images_without_spacing']:
    known += (f'; unknown for {evaluation["images_without_spacing"]} of {evaluation["images"]} '
              'images, which have no figures in mm')
  rows = {
      'Split': evaluation['split'],
      'Truth': f'{evaluation["truth"]} (highlighted below)',
      'Images': str(evaluation['images']),
      'Spacing': known,
      'Time': f'{number(evaluation["milliseconds_per_image"], 0)} ms per image',
      'Date': date,
  }
  items = ''.join(f'<dt>{key}</dt><dd>{html.escape(value)}</dd>' for key, value in rows.items())
  if blessing['blessed']:
    verdict = '<span class="verdict yes">blessed</span>'
  else:
    verdict = ('<span class="verdict no">not blessed</span> '
               + html.escape('; '.join(blessing['reasons'])))
  return f'<p>{verdict}</p><dl>{items}</dl>'


def number(value: float | None, digits: int = 2) -> str:
  """A figure for a table; a dash if it is unknown."""
  return '–' if value is None or not math.isfinite(value) else f'{value:.{digits}f}'


def with_interval(value: float | None, interval: tuple[float, float] | None, scale: float = 1,
                  digits: int = 2) -> str:
  """A figure and its interval, if that is known; a dash if the figure is not."""
  if value is None or value != value:
    return number(value)
  low, high = interval
  text = number(scale * value, digits)
  if low is None or low != low:
    return text
  return f'{text} [{number(scale * low, digits)}, {number(scale * high, digits)}]'


def percent(value: float | None) -> str:
  """A fraction in per cent for a table; a dash if it is unknown."""
  return '–' if value is None or not math.isfinite(value) else f'{100 * value:.1f}'


def _spread(figures: dict) -> str:
  return f'{number(figures["mre_mm"])} ± {number(figures["sd_mm"])}'


def _rates(figures: dict) -> list[str]:
  return [percent(figures[metrics.sdr_key(t)]) for t in metrics.SDR_MM]


def table(head: list[str], rows: list[tuple[str, list[str]]]) -> str:
  """A table of plain texts; each row comes with its CSS class."""
  cells = ''.join(f'<th>{html.escape(cell)}</th>' for cell in head)
  body = ''.join(
      f'<tr class="{css}">' + ''.join(f'<td>{html.escape(c)}</td>' for c in row) + '</tr>'
      for css, row in rows)
  return (f'<div class="wide"><table><thead><tr>{cells}</tr></thead>'
          f'<tbody>{body}</tbody></table></div>')


_RATE_HEADS = [f'SDR {t:g}\N{NO-BREAK SPACE}mm (%)' for t in metrics.SDR_MM]


def _summary(evaluation: dict) -> str:
  pixels = evaluation['images_without_spacing'] > 0
  rows = []
  for truth, subsets in evaluation['results'].items():
    for subset, figures in subsets.items():
      name = truth if len(subsets) == 1 else f'{truth}, {_SUBSETS[subset]}'
      low, high = figures['intervals']['mre_mm']
      css = 'main' if (truth, subset) == (evaluation['truth'], 'official') else ''
      rows.append((css, [
          name, str(figures['images']), str(figures['points']), _spread(figures),
          f'{number(low)} to {number(high)}', number(figures['median_mm']), *_rates(figures),
          *([number(figures['mre_px'])] if pixels else []),
      ]))
      if css:
        rows.append(('', [f'{name}, random errors', '', str(figures['random']['points']),
                          _spread(figures['random']), '', number(figures['random']['median_mm']),
                          *_rates(figures['random']), *([''] if pixels else [])]))
  for subset, figures in (evaluation['between_doctors'] or {}).items():
    rows.append(('doctors', [
        f'junior against senior, {_SUBSETS[subset]}', '', str(figures['points']), _spread(figures),
        '', number(figures['median_mm']), *_rates(figures), *([''] if pixels else [])]))
  head = ['Truth', 'images', 'points', 'MRE ± SD (mm)', '95 % interval', 'median (mm)',
          *_RATE_HEADS, *(['MRE (px)'] if pixels else [])]
  note = ('MRE: mean radial error; SDR: share of landmarks within the distance (Wang et al., '
          'Medical Image Analysis 2016). Intervals: bootstrap over patients. Random errors: what is left '
          'when the mean error of each landmark on the other patients is taken away.')
  if 'leak_free' in evaluation['results'][evaluation['truth']]:
    note += (' Leak-free: without films that also occur among the training images, and without '
             'repetitions within the split.')
  return table(head, rows) + f'<p class="note">{note}</p>'


def _landmarks(evaluation: dict) -> str:
  rows = []
  for figures in evaluation['results'][evaluation['truth']]['official']['per_landmark']:
    rows.append(('', [plots.label(figures['landmark']), str(figures['points']), _spread(figures),
                      number(figures['median_mm']), *_rates(figures),
                      ', '.join(_signed(figures[f'systematic_{axis}_mm']) for axis in 'xy')]))
  return table(['Landmark', 'points', 'MRE ± SD (mm)', 'median (mm)', *_RATE_HEADS,
                'systematic error x, y (mm)'], rows) + (
      '<p class="note">Systematic: the mean of predicted minus true point, x to the right, y down. What the '
      'training images do not show as well may be a habit of those who drew this truth (Houston, American '
      'Journal of Orthodontics 1983).</p>')


def _signed(value: float) -> str:
  return f'+{number(value)}' if value is not None and value >= 0 else number(value)


def _correlations(measures: dict) -> str:
  keys = ('pearson_pooled', 'spearman_pooled', 'pearson_within', 'spearman_within')
  rows = [('', [plots.measure_label(name), *(number(figures[key]) for key in keys)])
          for name, figures in measures.items()]
  return table(['Measure', 'Pearson, pooled', 'Spearman, pooled', 'Pearson, within landmark',
                'Spearman, within landmark'], rows) + (
      '<p class="note">Correlation with the radial error. An uncertainty should correlate '
      'positively, a confidence (MHA) negatively. Within landmark: mean over landmarks of the '
      'correlation over images.</p>')


def _alarms(found: dict) -> str:
  counts = ('gross', 'gross_referred', 'gross_checked')
  rows = [('', [_SUBSETS[subset], percent(row['referred']), percent(row['checked']),
                *(str(row[name]) for name in counts), _first(row['referred_ids'])])
          for subset, row in found.items()]
  above = f'{alarms.DOUBTFUL_MM:g}\N{NO-BREAK SPACE}mm'
  head = ['Images', 'referred (%)', 'landmarks of the others to check (%)', f'errors above {above}',
          'of these on referred images', 'to check', 'referred']
  return table(head, rows) + (
      '<p class="note">An image is referred by the policy of the model; a landmark of another image is to be '
      f'checked if its circle has a radius above {above}. Other errors come without a warning.</p>')


def _circles(found: dict) -> str:
  rows = [('', [_SUBSETS[subset], str(row['points']), percent(row['coverage']),
                number(row['mean_radius_mm'])])
          for subset, row in found.items()]
  return table(['Images', 'points', 'truths inside their circles (%)', 'mean radius (mm)'], rows) + (
      '<p class="note">The model states 90 % unless its calibration says otherwise. Referred images count, '
      'too.</p>')


def _first(names: list[str], shown: int = 10) -> str:
  return ', '.join([*names[:shown], *(['...'] if len(names) > shown else [])])


def _clinical(found: dict) -> str:
  rows = [('', [name, row['unit'] or 'ratio', str(row['images']), number(row['mean_error']),
                percent(row['interval_coverage']), percent(row['success_rate']), number(row['brier']),
                percent(row['decided']), percent(row['success_rate_decided'])])
          for name, row in found['measurements'].items()]
  head = ['Measurement', 'unit', 'images', 'mean error', '90 % interval holds (%)', 'success rate (%)',
          'Brier', 'decided (%)', 'success rate of those (%)']
  return table(head, rows) + (
      f'<p class="note">The second task of the ISBI 2015 challenge against the truth '
      f'{html.escape(found["truth"])!r}: mean success classification rate '
      f'{percent(found["success_rate"])} %. '
      'Intervals carry the covariances of the landmarks through; an image is decided where its interval '
      'spans no threshold.</p>')


def gallery(pictures: list[Picture], css: str) -> str:
  """Pictures with their captions, the bytes inside the page."""
  figures = ''.join(
      f'<figure><img alt="{html.escape(p.caption)}" loading="lazy" '
      f'src="data:image/png;base64,{base64.b64encode(p.png).decode()}">'
      f'<figcaption>{html.escape(p.caption)}</figcaption></figure>' for p in pictures)
  return f'<div class="{css}">{figures}</div>'


def per_landmark_csv(evaluation: dict) -> str:
  """Figures of each landmark for every truth and subset, one row each."""
  text = io.StringIO()
  fields = ['truth', 'subset', 'landmark', 'points', 'mre_mm', 'sd_mm', 'median_mm',
            *map(metrics.sdr_key, metrics.SDR_MM), 'systematic_x_mm', 'systematic_y_mm']
  writer = csv.DictWriter(text, fields, lineterminator='\n')
  writer.writeheader()
  for truth, subsets in evaluation['results'].items():
    for subset, figures in subsets.items():
      for row in figures['per_landmark']:
        writer.writerow({'truth': truth, 'subset': subset} | {
            key: '' if value is None or value != value else value for key, value in row.items()})
  return text.getvalue()
