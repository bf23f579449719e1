"""The experiments with changed X-rays as pictures and as one HTML page that needs nothing else."""

import html
from collections.abc import Mapping

import numpy as np

from ceph_tf.data.stress_films import Film
from ceph_tf.evaluation import plots, report, stress_plots
from ceph_tf.evaluation.pictures import Picture

ELASTIC = 'standard deviation of the displacement (% of the height)'
ANGLE = 'lateral rotation (degrees)'
_CIRCLES = 'Dots: samples; their mean in orange, with a circle of the total SD; blue crosses: truth.'


def charts(found: dict) -> list[Picture]:
  """Trends and AUROC curves from the content of `stress.json`."""
  elastic, rotation = found['elastic'], found['rotation']
  level = 100 * np.array(elastic['levels'])
  pictures = [Picture(
      'elastic', f'Distorted copies of {elastic["images"]} X-rays: mean of each measure over all '
      'landmarks of all copies of a magnitude, and its Pearson correlation with the magnitude.',
      plots.png(stress_plots.trends(
          level, {k: v['mean'] for k, v in elastic['measures'].items()},
          {k: v['pearson'] for k, v in elastic['measures'].items()}, ELASTIC,
          _known(elastic['error_mm'])))),
      Picture('elastic_auroc', 'A correlation of means hardly discriminates: how well the mean of each '
              'measure over the landmarks tells one distorted X-ray from an undistorted one.',
              plots.png(stress_plots.auroc_curves(
                  level, {k: v['auroc'] for k, v in elastic['measures'].items()}, ELASTIC)))]
  pictures.append(Picture(
      'rotation', f'A turning head ({rotation["source"]}): mean of each measure over the landmarks, and '
      'its Pearson correlation with the absolute angle.',
      plots.png(stress_plots.trends(
          rotation['levels'], {k: v['value'] for k, v in rotation['measures'].items()},
          {k: v['pearson'] for k, v in rotation['measures'].items()}, ANGLE,
          _known(rotation['error_mm'])))))
  return pictures


def _known(values) -> np.ndarray | None:
  values = np.array(np.nan if values is None else values, float)
  return values if np.isfinite(values).any() else None


def overlay(name: str, films: list[Film], predictions: Mapping[str, np.ndarray], rows: list[int],
            titles: list[str]) -> Picture:
  """Films with what was stored of them.

  Args:
    name: of the picture.
    films: a few.
    predictions: the arrays of `stress_inferrer`.
    rows: which row of them each film is.
    titles: above the films.
  """
  figure = stress_plots.overlays(
      [film.image for film in films], [predictions['points_px'][i] for i in rows],
      [predictions['samples_px'][i] for i in rows], [predictions['measure/total_sd_px'][i] for i in rows],
      [predictions['truth_px'][i] for i in rows], titles)
  return Picture(name, _CIRCLES, plots.png(figure))


def render(found: dict, pictures: list[Picture], date: str) -> str:
  """The page.

  Args:
    found: content of `stress.json`.
    pictures: its figures.
    date: for people.
  """
  title = html.escape(f'Changed X-rays: {found["title"]}')
  parts = [f'<h1>{title}</h1>', f'<p>Truth: {html.escape(found["truth"])}; {date}</p>',
           report.gallery(pictures, 'wide'),
           '<h2>Correlation of the mean measure with the change</h2>', _correlations(found),
           '<h2>Telling changed films from unchanged ones</h2>', _separations(found['separation']),
           '<p>Of each measure the area under the ROC curve in %, and in brackets the false positive rate '
           'at 95 % true positives. Rotated heads are compared with the same head turned by at most 5 '
           'degrees.</p>',
           '<h2>As other scanners might show them</h2>', _scanners(found['scanner']),
           '<p>The same X-rays, framed, exposed and processed in other ways: what a model should read, '
           'without an alarm. Coverage: truths inside the circles; OOD: AUROC of the OOD score against the '
           'clean films, 50 % where it sees no difference. Landmarks that are no longer on the film do not '
           'count.</p>',
           '<h2>May the regions be trusted on these sets?</h2>',
           *(f'<p><b>{html.escape(name)}</b>: {html.escape(outcome["words"])}</p>'
             for name, outcome in found['shift'].items())]
  return report.page(title, parts)


def _correlations(found: dict) -> str:
  head = ['Measure', 'Pearson, elastic', 'Spearman', 'Pearson, rotation', 'Spearman', 'Published']
  published = {}
  for row in found['published']:
    published.setdefault(row['measure'], []).append(
        f'{row["model"]}: {row["elastic"]:.2f} / {row["rotation"]:.2f}')
  lines = []
  for name in dict.fromkeys([*found['elastic']['measures'], *found['rotation']['measures']]):
    cells = [report.number(found[series]['measures'].get(name, {}).get(kind))
             for series in ('elastic', 'rotation') for kind in ('pearson', 'spearman')]
    lines.append(('', [plots.measure_label(name), *cells, '; '.join(published.get(name, ['']))]))
  return report.table(head, lines)


def _scanners(scanner: dict) -> str:
  lines = [('', [name, str(row['films']), report.number(row['mre_mm']),
                 *(report.percent(row[key]) for key in ('sdr_2mm', 'coverage', 'referred', 'ood_auroc'))])
           for name, row in scanner.items()]
  return report.table(['Films', 'Number', 'MRE (mm)', 'SDR 2 mm (%)', 'Coverage (%)', 'Referred (%)',
                       'OOD (%)'], lines)


def _separations(separation: dict) -> str:
  names = list(dict.fromkeys(name for row in separation.values() for name in row['scores']))
  lines = []
  for change, row in separation.items():
    cells = []
    for name in names:
      one = row['scores'].get(name)
      cells.append('' if one is None or one['auroc'] is None else
                   f'{100 * one["auroc"]:.0f} ({100 * one["fpr_at_95_tpr"]:.0f})')
    lines.append(('', [change, str(row['films']), report.percent(row['referred']), *cells]))
  return report.table(['Change', 'Films', 'Referred (%)', *map(plots.measure_label, names)], lines)
