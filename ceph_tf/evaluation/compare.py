"""Several models in one table, the thesis's figures beside the measured ones.

Schema of `comparison.json` (an unknown figure is null):

    schema_version      1
    truth, split        of all models
    spacing_mm          {min, max}, or null
    under_trained_mm    validation MRE at which the under-trained models stopped
    models              name -> measure (the thesis's for this kind of model), `published`,
                        `under_trained_mre_mm` (test), `correlations` (Pearson of that measure: error,
                        error_under_trained, elastic, rotation), `all_measures`: the same of every
                        measure, and `subsets` -> mre_mm, sdr_2mm, `best` (the measure with the least
                        AURC) and its spearman_within, auroc_gross, aurc_mm, sdr_2mm_kept80,
                        coverage and radius_mean_mm (of plain circles)
"""

import html
from collections.abc import Mapping

from ceph_tf.evaluation import plots, published, report

SCHEMA_VERSION = 1
KINDS = ('error', 'error_under_trained', 'elastic', 'rotation')
_HEADS = ('error', 'error, under-trained', 'elastic', 'rotation')


def _pearson(analysis: Mapping, measure: str) -> float | None:
  if analysis['status'] != 'computed':
    return None
  row = analysis['subsets']['official']['measures'].get(measure)
  return row and row['correlations']['pearson_pooled']['value']


def correlations(measure: str, analysis: Mapping, under_trained: Mapping, stress: Mapping) -> dict:
  """Pearson of one measure in the four experiments."""
  figures = [_pearson(analysis, measure), _pearson(under_trained, measure)]
  figures += [stress[series]['measures'].get(measure, {}).get('pearson')
              for series in ('elastic', 'rotation')]
  return dict(zip(KINDS, figures, strict=True))


def _subset(analysis: Mapping, evaluation: Mapping, subset: str) -> dict:
  figures = evaluation['results'][analysis['truth']][subset]
  found = {'images': figures['images'], 'mre_mm': figures['mre_mm'], 'sdr_2mm': figures['sdr_2mm']}
  if analysis['status'] != 'computed' or not analysis['subsets'][subset]['best']:
    return found
  here = analysis['subsets'][subset]
  best = here['measures'][here['best']]
  gross = f'{analysis["config"]["gross_mm"][-1]:g}mm'
  found |= {'best': here['best'],
            'spearman_within': best['correlations']['spearman_within']['value'],
            'auroc_gross': best['selective']['figures'][f'auroc_{gross}'],
            'aurc_mm': best['selective']['figures']['aurc_mm'],
            'sdr_2mm_kept80': best['selective']['figures']['refer_20pct_sdr_2mm']}
  if here['regions']['status'] == 'computed' and 'circle' in here['regions']['kinds']:
    circle = here['regions']['kinds']['circle']
    found |= {'coverage': circle['coverage'], 'radius_mean_mm': circle['radius_mean_mm']}
  return found


def compare(names: list[str], evaluations: list[Mapping], analyses: list[Mapping],
            stresses: list[Mapping], under_trained: list[Mapping], under_trained_mm: float) -> dict:
  """The table, as documented at the top of this file; all lists are in the order of `names`."""
  models = {}
  for name, evaluation, analysis, stress, early in zip(
      names, evaluations, analyses, stresses, under_trained, strict=True):
    thesis = published.THESIS[name]
    every = list(dict.fromkeys([*stress['elastic']['measures'], *stress['rotation']['measures']]))
    models[name] = {
        'measure': thesis.measure, 'published': {kind: getattr(thesis, kind) for kind in KINDS},
        'under_trained_mre_mm': early['subsets']['official']['mre_mm']
                                if early['status'] == 'computed' else None,
        'correlations': correlations(thesis.measure, analysis, early, stress),
        'all_measures': {m: correlations(m, analysis, early, stress) for m in every},
        'subsets': {subset: _subset(analysis, evaluation, subset)
                    for subset in analysis.get('subsets', ())}}
  return {'schema_version': SCHEMA_VERSION, 'truth': analyses[0]['truth'], 'split': analyses[0]['split'],
          'spacing_mm': evaluations[0]['spacing_mm'], 'under_trained_mm': under_trained_mm,
          'models': models}


def render(found: Mapping) -> str:
  """The table as one HTML page."""
  spacing = found['spacing_mm']
  words = 'unknown spacing' if spacing is None else (
      f'spacing {spacing["min"]:.4g}' + (f' to {spacing["max"]:.4g}' if spacing['min'] != spacing['max']
                                         else '') + ' mm')
  parts = ['<h1>Uncertainty of three models</h1>',
           f'<p>Split {html.escape(found["split"])}, truth {html.escape(found["truth"])}, {words}. '
           f'Under-trained models stopped at a validation MRE of {found["under_trained_mm"]:g} mm.</p>',
           '<h2>Correlations (Pearson), the published one in brackets</h2>', _correlations(found),
           '<h2>Every measure</h2>', _every(found), '<h2>Errors and the best measure</h2>',
           _subsets(found)]
  return report.page('Uncertainty of three models', parts)


def _correlations(found: Mapping) -> str:
  rows = []
  for name, model in found['models'].items():
    cells = [f'{report.number(model["correlations"][kind])} ({model["published"][kind]:.2f})'
             for kind in KINDS]
    rows.append(('', [name, plots.measure_label(model['measure']), *cells,
                      report.number(model['under_trained_mre_mm'])]))
  return report.table(['Model', 'Measure', *_HEADS, 'test MRE, under-trained (mm)'], rows)


def _every(found: Mapping) -> str:
  rows = [('', [name, plots.measure_label(measure), *(report.number(row[kind]) for kind in KINDS)])
          for name, model in found['models'].items() for measure, row in model['all_measures'].items()]
  return report.table(['Model', 'Measure', *_HEADS], rows)


def _subsets(found: Mapping) -> str:
  rows = []
  for name, model in found['models'].items():
    for subset, row in model['subsets'].items():
      rows.append(('', [
          name, subset.replace('_', '-'), str(row['images']), report.number(row['mre_mm']),
          report.percent(row['sdr_2mm']), plots.measure_label(row['best']) if 'best' in row else '–',
          *(report.number(row.get(key)) for key in ('spearman_within', 'auroc_gross', 'aurc_mm')),
          report.percent(row.get('sdr_2mm_kept80')), report.percent(row.get('coverage')),
          report.number(row.get('radius_mean_mm'))]))
  return report.table(
      ['Model', 'Test set', 'Images', 'MRE (mm)', 'SDR 2 mm (%)', 'Best measure',
       'Spearman within landmark', 'AUROC, gross errors', 'AURC (mm)', 'SDR 2 mm of the certain 80 % (%)',
       'Coverage of circles (%)', 'Mean radius (mm)'], rows)
