"""What models cost against what their uncertainty is worth: one table and one figure.

Schema of `tradeoff.json` (lengths in mm, rates are fractions; an unknown figure is null):

    schema_version  3
    truth, split    of all models
    models          name ->
      cost            networks, parameters (of all networks that answer together), training_minutes
                      (likewise, and of their teachers), milliseconds_per_image and its
                      milliseconds_range, peak_memory_mib
      subsets         `official`, and `leak_free` where films repeat -> images, mre_mm, sdr_2mm; nll_nats
                      (of the truths, mean heatmap as a density per mm^2, tempered), nll_untempered_nats,
                      ece, ece_untempered. By `MEASURE`, the same for all models, so that none is chosen by
                      the errors that it is judged by: spearman_within, auroc_gross, aurc_mm and its
                      aurc_interval_mm, excess_aurc_mm (what is left of AURC without that of a perfect
                      ranking of the same errors: Geifman et al., ICLR 2019). aurc_by_mm: AURC by each of
                      `OWN`, null where it is constant. radius_mean_mm, coverage: of plain circles
      ood             elastic, rotation: AUROC of the OOD score, for the weakest change of each kind under
                      `separation` in `stress.json`
      gain            share of the ensemble's gain over the baseline, by official figure: aurc_mm,
                      nll_nats; null unless both are in the table and the ensemble is the better one
      difference      to the first model, which has none: figure -> value and interval, see
                      `paired.differences`, official

AURC falls when errors do, too; excess AURC and Spearman's correlation are about the ranking alone.
"""

import html
from collections.abc import Mapping, Sequence

import numpy as np

from ceph_tf import seeds
from ceph_tf.evaluation import calibrated, paired, plots, report, tradeoff_plots
from ceph_tf.evaluation.evaluate import Cases
from ceph_tf.evaluation.pictures import Picture

SCHEMA_VERSION = 3
MEASURE = 'entropy_nats'  # every model has it, and it is the best or nearly so of every model known to us
OWN = ('spread_mm', 'total_sd_mm')  # disagreement of samples; with what heatmaps or a head say, too
GAINS = ('aurc_mm', 'nll_nats')
_QUALITIES = {'aurc_mm': 'AURC (mm)', 'nll_nats': 'NLL (nats)', 'mre_mm': 'MRE (mm)'}
_DIFFERENCES = {  # label, scale, digits
    'mre_mm': ('MRE (mm)', 1, 3), 'sdr_2mm': ('SDR 2 mm (%)', 100, 1), 'nll_nats': ('NLL (nats)', 1, 3),
    'aurc_mm': ('AURC (mm)', 1, 3), 'excess_aurc_mm': ('Excess AURC (mm)', 1, 3)}
_COSTS = {'milliseconds_per_image': 'prediction (ms per image)', 'parameters': 'parameters (millions)'}


def _subset(analysis: Mapping, evaluation: Mapping, subset: str) -> dict:
  figures = evaluation['results'][analysis['truth']][subset]
  here = analysis['subsets'][subset]
  found = {'images': figures['images'], 'mre_mm': figures['mre_mm'], 'sdr_2mm': figures['sdr_2mm'],
           **_density(here['temperature']), **_ranking(here, analysis['config']['gross_mm'][-1])}
  circle = here['regions'].get('kinds', {}).get('circle', {})
  return found | {'radius_mean_mm': circle.get('radius_mean_mm'), 'coverage': circle.get('coverage')}


def _ranking(here: Mapping, gross_mm: float) -> dict:
  """How well `MEASURE` ranks errors, and the AURC by others."""
  by = {name: here['measures'][name]['selective']['figures']['aurc_mm'] if name in here['measures'] else None
        for name in OWN}
  if MEASURE not in here['measures']:
    return {'aurc_by_mm': by}
  measure = here['measures'][MEASURE]
  selective = measure['selective']
  aurc_mm = selective['figures']['aurc_mm']
  return {'spearman_within': measure['correlations']['spearman_within']['value'],
          'auroc_gross': selective['figures'][f'auroc_{gross_mm:g}mm'],
          'aurc_mm': aurc_mm, 'aurc_interval_mm': selective['intervals']['aurc_mm'],
          'excess_aurc_mm': aurc_mm - here['perfect_aurc_mm'], 'aurc_by_mm': by}


def _density(tempering: Mapping) -> dict:
  """Of `calibrated.tempering`: figures of the heatmap as a density, null where no spacing is known."""
  known = tempering['status'] == 'computed' and tempering['unit'] == 'mm2'
  before, after = (tempering[when] if known else {} for when in ('before', 'after'))
  return {'nll_nats': after.get('nll_nats'), 'nll_untempered_nats': before.get('nll_nats'),
          'ece': after.get('ece'), 'ece_untempered': before.get('ece')}


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


def differences(cases: Sequence[Cases], truth: str, seed: int, resamples: int) -> list[dict]:
  """What each model has more than the first one, for `tradeoff`.

  Args:
    cases: of each model, with what `heatmap_inferrer` keeps; of the same images.
    truth: the errors are against it.
    seed: of the resamples.
    resamples: how many.
  """
  return paired.differences(
      [_judged(one, truth) for one in cases], cases[0].patient_id, seeds.rng(seed, 'paired'), resamples)


def _judged(cases: Cases, truth: str) -> paired.Judged:
  error = cases.error_mm(truth)
  unknown = np.full(error.shape, np.nan)
  nll, in_mm = calibrated.nll_nats(cases) if 'temperature' in cases.tempering else ({}, False)
  return paired.Judged(error, cases.measures.get(MEASURE, unknown), nll['after'] if in_mm else unknown)


def tradeoff(names: Sequence[str], costs: Sequence[Mapping], evaluations: Sequence[Mapping],
             analyses: Sequence[Mapping], stresses: Sequence[Mapping], more: Sequence[Mapping]) -> dict:
  """The table, as documented at the top of this file; everything in the order of `names`.

  Args:
    names: of the models, each once.
    costs: as under `cost` above.
    evaluations, analyses, stresses: see `evaluation.evaluate`, `.analyze` and `.stress`; of one truth and
      split.
    more: of all models but the first, see `differences`.
  """
  models = {}
  for name, cost, evaluation, analysis, stress, difference in zip(
      names, costs, evaluations, analyses, stresses, [{}, *more], strict=True):
    models[name] = {'cost': dict(cost), 'ood': _ood(stress), 'difference': dict(difference), 'subsets': {
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
             'that no other beats in both, by however little. AURC: by the entropy of the mean heatmap.')
  return [Picture('cost_quality', caption, plots.png(tradeoff_plots.panels(panels)))]


def render(found: Mapping, pictures: Sequence[Picture]) -> str:
  """Table and figure as one HTML page."""
  title = 'What uncertainty costs'
  parts = [f'<h1>{title}</h1>', f'<p>Split {html.escape(found["split"])}, truth '
           f'{html.escape(found["truth"])}. Figures of uncertainty are by the entropy of the mean heatmap, '
           'unless said otherwise, that of AURC with its 95 % interval over patients; two trainings of one '
           'model differ, too. AURC, the area under the risk-coverage curve, falls when errors fall: '
           'excess AURC is what a perfect ranking of the same errors would save.</p>',
           _costs(found), _figures(found), _differences(found), report.gallery(list(pictures), 'wide')]
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
          f'{report.percent(row["ece_untempered"])} / {report.percent(row["ece"])}',
          *(report.number(row.get(key)) for key in ('spearman_within', 'auroc_gross')),
          report.with_interval(row.get('aurc_mm'), row.get('aurc_interval_mm')),
          report.number(row.get('excess_aurc_mm')),
          *(report.number(row['aurc_by_mm'][name]) for name in OWN),
          f'{report.number(row["radius_mean_mm"])} / {report.percent(row["coverage"])}',
          *(report.percent(model['ood'][kind]) for kind in ('elastic', 'rotation'))]))
  return '<h2>Quality</h2>' + report.table(
      ['Model', 'Test set', 'Images', 'MRE (mm)', 'SDR 2 mm (%)', 'NLL before / after tempering (nats)',
       'ECE before / after (%)', 'Spearman within landmark', 'AUROC, gross errors', 'AURC (mm)',
       'Excess AURC (mm)', *(f'AURC by {plots.measure_label(name)}' for name in OWN),
       'Plain circles: mean radius (mm) / coverage (%)',
       'OOD AUROC, elastic (%)', 'OOD AUROC, rotation (%)'], rows)


def _differences(found: Mapping) -> str:
  """Empty for a single model."""
  first, *others = found['models'].items()
  if not others:
    return ''
  rows = []
  for name, model in others:
    rows.append(('', [name, *(
        report.with_interval(model['difference'][figure]['value'], model['difference'][figure]['interval'],
                             scale, digits) for figure, (_, scale, digits) in _DIFFERENCES.items())]))
  words = ('Official test set, 95 % intervals over patients who are drawn for both models at once. An '
           'interval without 0 tells these two trainings apart on films of this kind; another training of '
           'the same model is another matter.')
  return (f'<h2>Differences to {html.escape(first[0])}</h2><p>{words}</p>'
          + report.table(['Model', *(label for label, _, _ in _DIFFERENCES.values())], rows))
