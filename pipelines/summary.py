"""What a run prints at its end: the figures, and where everything is."""

import math
from collections.abc import Iterable, Iterator

from ceph_tf.evaluation.alarms import DOUBTFUL_MM
from ceph_tf.evaluation.plots import measure_label
from pipelines.artifacts import (
    Artifact,
    Comparison,
    Evaluation,
    Improvement,
    ServableModel,
    StressAnalysis,
    Tradeoff,
    UncertaintyAnalysis,
)


def lines(artifacts: Iterable[Artifact]) -> Iterator[str]:
  """Lines for people about the artifacts of a run, those they want to open.

  Args:
    artifacts: of a whole run, in the order in which they were made.
  """
  artifacts = list(artifacts)
  servables = [a for a in artifacts if isinstance(a, ServableModel)]
  if any(servable.calibrated for servable in servables):  # the others were a step towards these
    artifacts = [a for a in artifacts if a not in servables or a.calibrated]
  for artifact in artifacts:
    if isinstance(artifact, Evaluation):
      yield from figures(artifact.read())
    elif isinstance(artifact, UncertaintyAnalysis):
      yield from uncertainty(artifact.read())
    elif isinstance(artifact, StressAnalysis):
      yield stress(artifact.read())
    elif isinstance(artifact, Improvement):
      yield from improvement(artifact.read())
    elif isinstance(artifact, Comparison):
      yield from comparison(artifact.read())
    elif isinstance(artifact, Tradeoff):
      yield from tradeoff(artifact.read())
  evaluations = [a for a in artifacts if isinstance(a, Evaluation)]
  for artifact in artifacts:
    if shown := artifact.shown():
      label, place = shown
      whose = f' ({artifact.read()["title"]})' if len(evaluations) > 1 and artifact in evaluations else ''
      yield f'{label + ":":18}{place}{whose}'


def figures(evaluation: dict) -> Iterator[str]:
  """The headline figures of an `evaluation.json`: one line per truth and subset."""
  yield f'{evaluation["title"]}: {evaluation["images"]} images of {evaluation["split"]}'
  for truth, subsets in evaluation['results'].items():
    for subset, result in subsets.items():
      where = f'  against {truth}, {subset.replace("_", "-")} ({result["images"]} images): '
      if result['mre_px'] is None:
        yield f'{where}no landmark has a known truth'
        continue
      if result['mre_mm'] is None:
        yield f'{where}MRE {result["mre_px"]:.1f} px (no spacing is known)'
        continue
      low, high = result['intervals']['mre_mm']
      interval = '' if low is None else f' [{low:.2f}, {high:.2f}]'  # of a single patient there is none
      of = f' ({result["points"]} points with a spacing)' if evaluation['images_without_spacing'] else ''
      yield (f'{where}MRE {result["mre_mm"]:.2f} mm{interval}, '
             f'SDR 2 mm {100 * result["sdr_2mm"]:.1f} %{of}')
      random = result['random']
      if (truth, subset) == (evaluation['truth'], 'official') and random['points']:
        yield (f'    without the mean error of each landmark: MRE {random["mre_mm"]:.2f} mm, '
               f'SDR 2 mm {100 * random["sdr_2mm"]:.1f} %')
  if evaluation['alarms']:
    found = evaluation['alarms']['official']
    named = found['gross_referred'] + found['gross_checked']
    worth = '' if evaluation['spacing_mm'] is None else (
        f'; of {found["gross"]} errors above {DOUBTFUL_MM:g} mm {named} are of these or of landmarks to '
        'check')
    yield f'  refers {100 * found["referred"]:.1f} % of the images{worth}'
  if evaluation['circles'] and evaluation['circles']['official']['points']:
    found = evaluation['circles']['official']
    radius = '' if found['mean_radius_mm'] is None else f', mean radius {found["mean_radius_mm"]:.2f} mm'
    yield f'  circles hold {100 * found["coverage"]:.1f} % of the truths{radius}'


def improvement(found: dict) -> Iterator[str]:
  """The differences of an `improvement.json`, and the landmarks that were moved the farthest."""
  words = []
  for figure, name, factor, unit in (('mre_mm', 'MRE', 1, 'mm'), ('sdr_2mm', 'SDR 2 mm', 100, '%'),
                                     ('aurc_mm', 'AURC', 1, 'mm')):
    one = found['difference'][figure]
    if one['value'] is not None:
      digits = 1 if unit == '%' else 2
      low, high = one['interval']
      interval = '' if low is None else f' [{factor * low:+.{digits}f}, {factor * high:+.{digits}f}]'
      words.append(f'{name} {factor * one["value"]:+.{digits}f} {unit}{interval}')
  yield (f'Difference on {found["images"]} images of {found["split"]}, against {found["truth"]}: '
         f'{", ".join(words) or "unknown (no spacing is known)"}')
  moved = {name: math.hypot(*way) for name, way in found['moved_mm'].items() if None not in way}
  if moved:
    most = [name for name in sorted(moved, key=moved.get, reverse=True)[:3] if moved[name] >= 0.005]
    words = ', '.join(f'{name} {moved[name]:.2f} mm' for name in most)
    yield f'  moved the farthest: {words or "no landmark was moved"}'


def uncertainty(analysis: dict) -> Iterator[str]:
  """The headline figures of an `analysis.json`: the best measure, the regions."""
  if analysis['status'] != 'computed':
    yield f'  uncertainty: not analysed: {analysis["words"]}'
    return
  found = analysis['subsets']['official']
  if best := found['best']:
    row = found['measures'][best]
    figures = row['selective']['figures']
    gross = f'{analysis["config"]["gross_mm"][-1]:g}mm'
    yield (f'  best measure, {measure_label(best)}: AURC {figures["aurc_mm"]:.2f} mm '
           f'(MRE {found["mre_mm"]:.2f}), within-landmark Spearman '
           f'{_known(row["correlations"]["spearman_within"]["value"])}, '
           f'AUROC > {gross.removesuffix("mm")} mm {_known(figures["auroc_" + gross])}, SDR 2 mm '
           f'of the most certain 80 %: {100 * figures["refer_20pct_sdr_2mm"]:.1f} %')
  else:
    yield '  uncertainty: no measure varies, nothing can be ranked'
  regions = found['regions']
  if regions['status'] != 'computed':
    yield f'  regions: {regions["words"]}'
  elif kind := regions['smallest']:
    row = regions['kinds'][kind]
    yield (f'  {100 * regions["stated"]:g} % regions ({kind.replace("_", " ", 1)}): coverage '
           f'{100 * row["coverage"]:.1f} %, mean radius {row["radius_mean_mm"]:.2f} mm')
  else:
    yield f'  regions: no kind covers {100 * regions["stated"]:g} % as stated'


def stress(found: dict) -> str:
  """The headline figures of a `stress.json`: the measure that follows each change best."""
  words = []
  for series in ('elastic', 'rotation'):
    rho = {name: row['pearson'] for name, row in found[series]['measures'].items()
           if row['pearson'] is not None}
    best = max(rho, key=lambda name: abs(rho[name]), default=None)
    words.append(f'{series} ' + ('unknown' if best is None else f'{rho[best]:.2f} ({measure_label(best)})'))
  return f'  correlation with the change, best measure: {", ".join(words)}'


def comparison(found: dict) -> Iterator[str]:
  """The thesis's table: measured correlations, the published ones in brackets."""
  yield f'Pearson on {found["split"]}, truth {found["truth"]} (published):'
  for name, model in found['models'].items():
    cells = ', '.join(f'{kind.replace("_", " ")} {_known(value)} ({model["published"][kind]:.2f})'
                      for kind, value in model['correlations'].items())
    yield f'  {name}, {measure_label(model["measure"])}: {cells}'


def tradeoff(found: dict) -> Iterator[str]:
  """What each model costs and is worth, on the official test images."""
  yield f'Cost and quality on {found["split"]}, truth {found["truth"]}:'
  for name, model in found['models'].items():
    cost, row = model['cost'], model['subsets'].get('official', {})
    yield (f'  {name}: {cost["parameters"] / 1e6:.1f} M parameters, {cost["milliseconds_per_image"]:.0f} ms, '
           f'{cost["peak_memory_mib"]:.0f} MiB; MRE {_known(row.get("mre_mm"))} mm, AURC '
           f'{_known(row.get("aurc_mm"))} mm, NLL {_known(row.get("nll_nats"))} nats')


def _known(value: float | None) -> str:
  return 'unknown' if value is None else f'{value:.2f}'
