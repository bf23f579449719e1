"""An analysis of uncertainties as one HTML file that needs nothing else."""

import html

from ceph_tf.evaluation import analyze, association, plots, report, selective
from ceph_tf.evaluation.analyze_pictures import kind_label
from ceph_tf.evaluation.pictures import Picture

_SUBSETS = {'official': 'official test set', 'leak_free': 'leak-free test set'}
_LEVELS = {'pooled': 'pooled', 'within': 'within landmark', 'image': 'per image'}
_CORRELATIONS = [f'{kind.capitalize()}, {words}' for words in _LEVELS.values()
                 for kind in ('pearson', 'spearman')]


def render(analysis: dict, pictures: list[Picture], date: str) -> str:
  """The page.

  Args:
    analysis: see `ceph_tf.evaluation.analyze`.
    pictures: its figures.
    date: of the analysis, for people.
  """
  title = html.escape(f'Uncertainty: {analysis["title"]}: {analysis["split"]}')
  parts = [f'<h1>{title}</h1>']
  if analysis['status'] != 'computed':
    return report.page(title, [*parts, f'<p>Not analysed: {html.escape(analysis["words"])}.</p>',
                               *_shift(analysis)])
  parts += [_header(analysis, date), *_shift(analysis)]
  for name, found in analysis['subsets'].items():
    parts += [f'<h2>{_SUBSETS[name].capitalize()}: {found["images"]} images</h2>',
              *_subset(found, analysis, pictures if name == 'official' else [])]
  return report.page(title, parts)


def _header(analysis: dict, date: str) -> str:
  calibration = analysis['calibration']
  images = str(calibration['images'])
  if calibration['left_out']:
    images += (f'; left out, because their film is among the training images: '
               f'{", ".join(calibration["left_out"])}')
  idle = [f'{plots.measure_label(name)}: ' + (
      f'constant ({facts["value"]:g}), it ranks nothing' if facts['status'] == 'constant'
      else 'missing') for name, facts in analysis['measures'].items() if facts['status'] != 'used']
  rows = {'Truth': analysis['truth'], 'Calibration images': images,
          'Measures left out': '; '.join(idle) or 'none', 'Date': date}
  items = ''.join(f'<dt>{key}</dt><dd>{html.escape(value)}</dd>' for key, value in rows.items())
  return (f'<dl>{items}</dl><p class="note">Computed from stored predictions. Intervals are 95 % '
          'bootstrap intervals over patients. Highlighted: the measure with the smallest area '
          'under the risk-coverage curve.</p>')


def _shift(analysis: dict) -> list[str]:
  """May the regions be trusted on this set? In words."""
  shift = analysis.get('shift')
  if not shift:
    return []
  words = [f'<p><b>{html.escape(shift["words"])}</b></p>']
  if shift['strange_ids']:
    words.append(_note(f'Strange by themselves (p at most {shift["alpha"]:g}, '
                       f'{shift["strange_by_chance"]:.0f} expected by chance): '
                       f'{", ".join(shift["strange_ids"])}.'))
  return words


def _note(words: str) -> str:
  return f'<p class="note">{html.escape(words)}</p>'


def _subset(found: dict, analysis: dict, pictures: list[Picture]) -> list[str]:
  if not found['measures']:
    return [_note('No measure varies: there is nothing to rank errors by.'),
            *_regions(found['regions'], analysis), *_temperature(found['temperature'])]
  return [
      '<h3>Correlation with the radial error</h3>', _correlations(found, analysis['published']),
      '<h3>Selective prediction</h3>', _selective(found, analysis['config']['gross_mm']),
      _referral(found), '<h3>Quantile bins</h3>', _bins(found),
      *_regions(found['regions'], analysis),
      *_recalibrated(found['recalibrated']), *_temperature(found['temperature']),
      *(['<h3>Figures</h3>', report.gallery(pictures, 'grid charts')] if pictures else []),
  ]


def _css(name: str, found: dict) -> str:
  return 'main' if name == found['best'] else ''


def _correlations(found: dict, published: list[dict]) -> str:
  rows = []
  for name, facts in analyze.ranked(found['measures']):
    theirs = '; '.join(f'{row["pearson_pooled"]:.2f} ({row["model"]})' for row in published
                       if row['measure'] == name)
    rows.append((_css(name, found), [
        plots.measure_label(name), theirs,
        *(report.with_interval(**facts['correlations'][key]) for key in association.KEYS)]))
  head = ['Measure', 'published: Pearson, pooled', *_CORRELATIONS]
  return report.table(head, rows) + _note(
      'An uncertainty should correlate positively, a confidence (MHA, E-MHA) negatively. Pooled '
      'over all points; within landmark: mean over landmarks of the correlation over images; per '
      f'image: of the means over its landmarks. Published: {published[0]["source"]}.')


def _selective(found: dict, gross_mm: tuple[float, ...]) -> str:
  keys = ['aurc_mm', 'augrc_mm', *(f'{kind}_{t:g}mm' for t in gross_mm
                                   for kind in ('auroc', 'aupr'))]
  rows = [(_css(name, found), [
      plots.measure_label(name),
      *(report.with_interval(facts['selective']['figures'][key], facts['selective']['intervals'][key])
        for key in keys)]) for name, facts in analyze.ranked(found['measures'])]
  head = ['Measure', 'AURC (mm)', 'AUGRC (mm)',
          *(f'{kind} > {t:g} mm' for t in gross_mm for kind in ('AUROC', 'AUPR'))]
  gross = next(iter(found['measures'].values()))['selective']['gross_units']
  counts = ', '.join(f'{n} above {key.replace("mm", " mm")}' for key, n in gross.items())
  return report.table(head, rows) + _note(
      f'AURC: area under the risk-coverage curve (Geifman & El-Yaniv, 2017), {found["mre_mm"]:.2f} '
      f'mm without ranking, {found["perfect_aurc_mm"]:.2f} mm by the error itself; AUGRC: Traub et '
      f'al., 2024. AUROC, AUPR: finding gross errors; of {found["points"]} points {counts}.')


def _referral(found: dict) -> str:
  rows = []
  for name, facts in analyze.ranked(found['measures']):
    figures, intervals = facts['selective']['figures'], facts['selective']['intervals']
    for fraction in selective.REFERRED:
      key = f'refer_{100 * fraction:g}pct_'
      if fraction == 0 and name != found['best']:
        continue  # the same for every measure
      rows.append((_css(name, found), [
          'any' if fraction == 0 else plots.measure_label(name),
          report.percent(figures[key + 'referred']),
          report.with_interval(figures[key + 'mre_mm'], intervals[key + 'mre_mm']),
          report.with_interval(figures[key + 'sdr_2mm'], intervals[key + 'sdr_2mm'], 100, 1),
          report.with_interval(figures[key + 'worst_mm'], intervals[key + 'worst_mm'], 1, 1)]))
  head = ['Measure', 'points referred (%)', 'MRE of the rest (mm)', 'SDR 2 mm of the rest (%)',
          'worst of the rest (mm)']
  return ('<details><summary>Referral: what remains when the most uncertain points are read by a '
          f'doctor</summary>{report.table(head, rows)}</details>')


def _bins(found: dict) -> str:
  rows, notes = [], []
  for name, facts in analyze.ranked(found['measures']):
    bins, label = facts['bins'], plots.measure_label(name)
    if bins['status'] != 'computed':
      notes.append(f'{label}: {bins["words"]}')
      continue
    columns = [(row['mean_error_mm'], row['jaccard'], row['bound_accuracy'])
               for row in bins['bins']]
    errors, jaccard, accuracy = zip(*columns, strict=True)
    rows.append((_css(name, found), [
        label, ' / '.join(map(report.number, errors)),
        ' / '.join(map(report.percent, jaccard)), report.percent(bins['jaccard']),
        ' / '.join(map(report.percent, accuracy)), report.percent(bins['bound_accuracy'])]))
  head = ['Measure', 'mean error per bin (mm)', 'Jaccard per bin (%)', 'mean',
          'bound accuracy per bin (%)', 'mean']
  words = ('Bins of each landmark, the most certain first; thresholds and error bounds come from '
           'the calibration images (Schobs et al., TMI 2023).')
  return (report.table(head, rows) if rows else '') + _note(' '.join([words, *notes]))


def _regions(regions: dict, analysis: dict) -> list[str]:
  stated = f'{100 * analysis["config"]["coverage"]:g} %'
  head = f'<h3>Regions that hold the truth with {stated}</h3>'
  if regions['status'] != 'computed':
    return [head, f'<p>{html.escape(regions["words"].capitalize())}.</p>']
  rows = []
  for kind, facts in regions['kinds'].items():
    low, high = facts['beta_interval']
    strays = [row['landmark'] for row in facts['per_landmark'] if not row.get('as_stated', True)]
    rows.append(('main' if kind == regions['smallest'] else '', [
        kind_label(kind), report.percent(facts['coverage']),
        f'{report.percent(low)} to {report.percent(high)}',
        report.number(facts['radius_mean_mm']), report.number(facts['area_mean_mm2'], 1),
        report.number(facts['area_median_mm2'], 1), report.number(facts['adaptivity']['pooled']),
        report.number(facts['adaptivity']['within']),
        ' / '.join(report.percent(row['coverage']) for row in facts['per_tercile']),
        ', '.join(plots.short_name(name) for name in strays) or 'none']))
  columns = ['Region', 'coverage (%)', 'expected (%)', 'mean radius (mm)', 'mean area (mm²)',
             'median area (mm²)', 'adaptivity, pooled', 'adaptivity, within landmark',
             'coverage per tercile (%)', 'landmarks not as stated']
  words = ('Split-conformal, per landmark. Expected: the exact 95 % interval of the coverage '
           f'in the long run with {regions["calibration_patients"]} calibration patients. Radius: of '
           'the circle of equal area. Adaptivity: Spearman of area and error. Terciles: the most '
           'certain third of each landmark first. Highlighted: the smallest mean radius.')
  if regions['left_out']:
    words += (f' Without regions, for lack of calibration patients (at least '
              f'{regions["needed_patients"]}): {", ".join(regions["left_out"])}.')
  return [head, report.table(columns, rows), _note(words)]


def _recalibrated(regions: dict) -> list[str]:
  """What the labels of this very set would make of the regions, in a sentence."""
  if regions['status'] != 'computed':
    return []
  kinds = ', '.join(f'{kind}: {report.percent(facts["coverage"])} %, mean radius '
                    f'{report.number(facts["radius_mean_mm"])} mm'
                    for kind, facts in regions['kinds'].items())
  return [_note(f'Calibrated on every second patient of this set ({regions["calibration_patients"]}) and '
                f'judged on the others: {kinds}.')]


def _temperature(found: dict) -> list[str]:
  """Heatmaps as densities, before and after tempering."""
  head = '<h3>Heatmaps as densities</h3>'
  if found['status'] != 'computed':
    return [head, _note(f'{found["words"].capitalize()}.')]
  unit = found['unit'].replace('mm2', 'mm²')
  whole = report.table(
      ['Heatmaps', f'NLL (nats, density per {unit})', 'ECE (%)'],
      [('', [words, report.number(found[when]['nll_nats'], 3), report.percent(found[when]['ece'])])
       for when, words in (('before', 'as the network gives them'), ('after', 'tempered'))])
  each = report.table(['Landmark', 'temperature', 'points', 'NLL before', 'NLL tempered'], [
      ('', [row['landmark'], report.number(row['temperature']), str(row['points']),
            report.number(row['nll_before_nats']), report.number(row['nll_after_nats'])])
      for row in found['per_landmark']])
  return [head, whole, f'<details><summary>Per landmark</summary>{each}</details>', _note(
      'One temperature per landmark, of the validation images (Guo et al., 2017), is part of the '
      'SavedModel: above 1 heatmaps were too sharp. NLL: mean over truths inside the heatmap, lower is '
      'better. ECE: mean distance of the share of truths in a highest-density region from its mass. '
      'Highest-density regions are of tempered heatmaps.')]
