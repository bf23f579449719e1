"""The figures of an analysis, from the cases and what `analyze` found in them."""

import numpy as np

from ceph_tf.evaluation import analyze, plots, selective, uncertainty_plots
from ceph_tf.evaluation.evaluate import Cases
from ceph_tf.evaluation.pictures import Picture
from ceph_tf.uncertainty import calibration as binning


def charts(cases: Cases, analysis: dict) -> list[Picture]:
  """Figures of the official test images; those that cannot be drawn are left out.

  Args:
    cases: the test images.
    analysis: of `analyze.analyze`.
  """
  found = analysis['subsets'].get('official')
  if not found or not found['measures']:
    return []
  error = cases.error_mm(analysis['truth'])
  pictures = [_risk_coverage(cases, error, found)]
  boxes = {name: _binned_errors(name, cases, error, facts['bins'])
           for name, facts in analyze.ranked(found['measures'])
           if facts['bins']['status'] == 'computed'}
  if boxes:
    pictures.append(Picture(
        'error_per_bin', 'Radial error in the quantile bins of each measure; thresholds per '
        'landmark, from the calibration images. Boxes span the quartiles, whiskers 5 to 95 %; '
        'diamonds are means.', plots.png(uncertainty_plots.error_per_bin(boxes))))
  if found['regions']['status'] == 'computed':
    pictures.append(_coverage(found['regions'], found['best']))
  return pictures


def _risk_coverage(cases: Cases, error: np.ndarray, found: dict) -> Picture:
  curves, areas = {}, {}
  for name, facts in found['measures'].items():
    kept, risk, _ = selective.risk_coverage(
        analyze.uncertainty(name, cases.measures[name]), error)
    curves[name], areas[name] = (kept, risk), facts['selective']['figures']['aurc_mm']
  curves['perfect'] = selective.risk_coverage(error, error)[:2]
  areas['perfect'] = found['perfect_aurc_mm']
  figure = uncertainty_plots.risk_coverage(curves, areas, found['mre_mm'], found['best'])
  return Picture('risk_coverage', 'Mean error of the points that remain when the most uncertain are '
                 'referred. The lower the curve, the better the measure.', plots.png(figure))


def _binned_errors(name: str, cases: Cases, error: np.ndarray, bins: dict) -> list[np.ndarray]:
  u = analyze.binned(name, cases.measures[name])
  index = np.full(u.shape, -1)
  for row in bins['per_landmark']:
    i = cases.landmark_names.index(row['landmark'])
    index[:, i] = binning.assign(u[:, i], row['thresholds'])
  return [error[(index == k) & np.isfinite(error)] for k in range(len(bins['bins']))]


def _coverage(regions: dict, best: str) -> Picture:
  shown = {kind: regions['kinds'][kind] for kind in ('circle', f'circle_{best}', 'ellipse', 'highest_density')
           if kind in regions['kinds']}
  values, intervals = {}, {}
  for kind, facts in shown.items():
    known = [row for row in facts['per_landmark'] if row['images']]
    values[kind_label(kind)] = {row['landmark']: row['coverage'] for row in known}
    intervals |= {row['landmark']: row['counted_interval'] for row in known}
  figure = uncertainty_plots.landmark_coverage(values, intervals, regions['stated'])
  return Picture('coverage', 'Share of true points inside their region, per landmark. Gray: where '
                 'it lies with 95 % probability if calibration and test images are alike.',
                 plots.png(figure))


def kind_label(kind: str) -> str:
  """A kind of region for the reader: `circle`, `circle by spread (mm)`, `ellipse`."""
  measure = kind.removeprefix('circle_')
  return kind.replace('_', ' ') if measure == kind else f'circle by {plots.measure_label(measure)}'
