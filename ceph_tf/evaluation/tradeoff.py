"""What models cost against what their uncertainty is worth: one table and one figure.

Schema of `tradeoff.json` (lengths in mm, rates are fractions; an unknown figure is null):

    schema_version  1
    truth, split    of all models
    models          name ->
      cost            networks, parameters (of all networks that answer together), training_minutes
                      (likewise, and of their teachers), milliseconds_per_image and its
                      milliseconds_range, peak_memory_mib
      subsets         `official`, and `leak_free` where films repeat -> images, mre_mm, sdr_2mm; nll_nats
                      (of the truths, mean heatmap as a density per mm^2, tempered), nll_untempered_nats,
                      ece; `best` (the measure with the least AURC) and its spearman_within, auroc_gross,
                      aurc_mm; radius_mean_mm (of plain circles)
      ood             elastic, rotation: AUROC of the OOD score, for the weakest change of each kind under
                      `separation` in `stress.json`
      gain            share of the ensemble's gain over the baseline, by official figure: aurc_mm,
                      nll_nats; null unless both are in the table and the ensemble is the better one
"""

import html
from collections.abc import Mapping, Sequence

from ceph_tf.evaluation import plots, report, tradeoff_plots
from ceph_tf.evaluation.pictures import Picture

SCHEMA_VERSION = 1
GAINS = ('aurc_mm', 'nll_nats')
_QUALITIES = {'aurc_mm': 'AURC (mm)', 'nll_nats': 'NLL (nats)', 'mre_mm': 'MRE (mm)'}
_COSTS = {'milliseconds_per_image': 'prediction (ms per image)', 'parameters': 'parameters (millions)'}


def _subset(analysis: Mapping, evaluation: Mapping, subset: str) -> dict:
  figures = evaluation['results'][analysis['truth']][subset]
  here = analysis['subsets'][subset]
  found = {'images': figures['images'], 'mre_mm': figures['mre_mm'], 'sdr_2mm': figures['sdr_2mm'],
           **_density(here['temperature']), 'best': here['best']}
  if here['best']:
    best = here['measures'][here['best']]
    gross = f'{analysis["config"]["gross_mm"][-1]:g}mm'
    found |= {'spearman_within': best['correlations']['spearman_within']['value'],
              'auroc_gross': best['selective']['figures'][f'auroc_{gross}'],
              'aurc_mm': best['selective']['figures']['aurc_mm']}
  circle = here['regions'].get('kinds', {}).get('circle')
  return found | {'radius_mean_mm': circle and circle['radius_mean_mm']}


def _density(tempering: Mapping) -> dict:
  """Of `calibrated.tempering`: figures of the heatmap as a density, null where no spacing is known."""
  known = tempering['status'] == 'computed' and tempering['unit'] == 'mm2'
  before, after = (tempering[when] if known else {} for when in ('before', 'after'))
  return {'nll_nats': after.get('nll_nats'), 'nll_untempered_nats': before.get('nll_nats'),
          'ece': after.get('ece')}


def _ood(stress: Mapping) -> dict:
  found = {}
  for kind in ('elastic', 'rotation'):
    changes = [change for change in stress['separation'] if change.startswith(kind)]
    score = stress['separation'][changes[0]]['scores'].get('ood_score') if changes else None
    found[kind] = score and score['auroc']
  return found


def _gain(models: Mapping, name: str) -> dict:
  """(baseline - model) / (baseline - ensemble), of the figures of `GAINS`."""
  found = {}
  for figure in GAINS:
    value, low, high = (models.get(one, {}).get('subsets', {}).get('official', {}).get(figure)
                        for one in (name, 'baseline', 'ensemble'))
    known = None not in (value, low, high) and low > high
    found[figure] = (low - value) / (low - high) if known else None
  return found


def tradeoff(names: Sequence[str], costs: Sequence[Mapping], evaluations: Sequence[Mapping],
             analyses: Sequence[Mapping], stresses: Sequence[Mapping]) -> dict:
  """The table, as documented at the top of this file; everything in the order of `names`.

  Args:
    names: of the models, each once.
    costs: as under `cost` above.
    evaluations, analyses, stresses: see `evaluation.evaluate`, `.analyze` and `.stress`; of one truth and
      split.
  """
  models = {}
  for name, cost, evaluation, analysis, stress in zip(
      names, costs, evaluations, analyses, stresses, strict=True):
    models[name] = {'cost': dict(cost), 'ood': _ood(stress), 'subsets': {
        subset: _subset(analysis, evaluation, subset) for subset in analysis.get('subsets', ())}}
  for name, model in models.items():
    model['gain'] = _gain(models, name)
  return {'schema_version': SCHEMA_VERSION, 'truth': analyses[0]['truth'], 'split': analyses[0]['split'],
          'models': models}


def frontier(cost: Sequence[float], quality: Sequence[float]) -> list[int]:
  """Positions, the cheapest first, of those that no other is both cheaper and better than.

  Args:
    cost, quality: smaller is better.
  """
  kept = []
  for k in sorted(range(len(cost)), key=lambda k: (cost[k], quality[k])):
    if not kept or quality[k] < quality[kept[-1]]:
      kept.append(k)
  return kept


def charts(found: Mapping) -> list[Picture]:
  """Each quality against each cost, with the line of those that no other model beats in both."""
  panels = []
  for quality, quality_label in _QUALITIES.items():
    for cost, cost_label in _COSTS.items():
      scale = 1e6 if cost == 'parameters' else 1
      points = {name: (model['cost'][cost] / scale, model['subsets']['official'][quality])
                for name, model in found['models'].items()
                if model['subsets'].get('official', {}).get(quality) is not None}
      if points:
        best = frontier(*zip(*points.values(), strict=True))
        panels.append((cost_label, quality_label, points, [list(points)[k] for k in best]))
  if not panels:
    return []
  caption = ('Cost against quality, test images: lower and further left is better; the line joins models '
             'that no other beats in both.')
  return [Picture('cost_quality', caption, plots.png(tradeoff_plots.panels(panels)))]


def render(found: Mapping, pictures: Sequence[Picture]) -> str:
  """Table and figure as one HTML page."""
  title = 'What uncertainty costs'
  parts = [f'<h1>{title}</h1>', f'<p>Split {html.escape(found["split"])}, truth '
           f'{html.escape(found["truth"])}. The figures of uncertainty are those of each model\'s best '
           'measure, the one with the least area under the risk-coverage curve (AURC).</p>',
           _costs(found), _figures(found), report.gallery(list(pictures), 'wide')]
  return report.page(title, parts)


def _costs(found: Mapping) -> str:
  rows = []
  for name, model in found['models'].items():
    cost = model['cost']
    low, high = cost['milliseconds_range']
    rows.append(('', [name, str(cost['networks']), report.number(cost['parameters'] / 1e6),
                      report.number(cost['training_minutes'], 1),
                      f'{report.number(cost["milliseconds_per_image"], 0)} '
                      f'({report.number(low, 0)} to {report.number(high, 0)})',
                      report.number(cost['peak_memory_mib'], 0),
                      *(report.percent(model['gain'][figure]) for figure in GAINS)]))
  return '<h2>Cost</h2>' + report.table(
      ['Model', 'Networks', 'Parameters (millions)', 'Training (minutes)', 'Prediction (ms per image)',
       'Peak memory (MiB)', "Share of the ensemble's gain in AURC (%)", '... in NLL (%)'], rows)


def _figures(found: Mapping) -> str:
  rows = []
  for name, model in found['models'].items():
    for subset, row in model['subsets'].items():
      rows.append(('', [
          name, subset.replace('_', '-'), str(row['images']), report.number(row['mre_mm']),
          report.percent(row['sdr_2mm']),
          f'{report.number(row["nll_untempered_nats"])} / {report.number(row["nll_nats"])}',
          report.percent(row['ece']),
          plots.measure_label(row['best']) if row['best'] else '–',
          *(report.number(row.get(key)) for key in ('spearman_within', 'auroc_gross', 'aurc_mm')),
          report.number(row['radius_mean_mm']), *(report.percent(model['ood'][kind])
                                                  for kind in ('elastic', 'rotation'))]))
  return '<h2>Quality</h2>' + report.table(
      ['Model', 'Test set', 'Images', 'MRE (mm)', 'SDR 2 mm (%)', 'NLL before / after tempering (nats)',
       'ECE (%)', 'Best measure',
       'Spearman within landmark', 'AUROC, gross errors', 'AURC (mm)', 'Mean radius of circles (mm)',
       'OOD AUROC, elastic (%)', 'OOD AUROC, rotation (%)'], rows)
