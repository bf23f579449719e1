"""What a calibration split makes of uncertainties: bins with bounds, regions; numpy.

All functions take the calibration images and the images judged as `Cases`; what
cannot be computed is said in `words`, with `status` 'not_possible' instead of 'computed'.
"""

from collections.abc import Mapping

import numpy as np

from ceph_tf.evaluation import coverage
from ceph_tf.evaluation.evaluate import Cases
from ceph_tf.uncertainty import calibration as binning
from ceph_tf.uncertainty import conformal, highest_density, temperature

_WHEN = {'before': '_before', 'after': ''}  # and what the arrays of `heatmap_inferrer` are called then


def _not_possible(words: str) -> dict:
  return {'status': 'not_possible', 'words': words}


def _mean(values) -> float:
  values = np.asarray(values, np.float64)
  values = values[np.isfinite(values)]
  return float(values.mean()) if values.size else np.nan


def bins(
    u_calibration: np.ndarray,
    error_calibration: np.ndarray,
    u: np.ndarray,
    error: np.ndarray,
    num_bins: int,
    names: tuple[str, ...],
) -> dict:
  """Quantile binning of every landmark (Schobs et al., TMI 2023), and its table.

  Args:
    u_calibration: [N, L] uncertainties, larger is worse.
    error_calibration: [N, L] mm, NaN where missing.
    u, error: [M, L] of the images judged.
    num_bins: 2 or more.
    names: L landmark names.

  Returns:
    `status`, `words`; `left_out`: landmarks without any calibration point; `bins`: for
    each bin, the most certain first, `bin` (from 1), `points`, `mean_error_mm`,
    and the means over landmarks of `jaccard` and `bound_accuracy`; their means over the
    bins as `jaccard`, `bound_accuracy`; `per_landmark`: `thresholds`, `bounds_mm`.
  """
  left_out, rows, found = [], [], []
  index = np.full(u.shape, -1)
  for i, name in enumerate(names):
    pairs = np.isfinite(u_calibration[:, i]) & np.isfinite(error_calibration[:, i])
    if not pairs.any():
      left_out.append(name)
      continue
    try:
      one = binning.quantile_bins(u_calibration[:, i], error_calibration[:, i], u[:, i],
                                  error[:, i], num_bins)
    except ValueError as problem:
      return _not_possible(f'{name}: {problem}')
    found.append(one)
    index[:, i] = one.bins
    rows.append({'landmark': name, 'calibrated': int(pairs.sum()),
                 'thresholds': one.thresholds.tolist(), 'bounds_mm': one.bounds.tolist()})
  if not found:
    return _not_possible('no calibration image has both an uncertainty and a truth')
  table = []
  for k in range(num_bins):
    errors = error[(index == k) & np.isfinite(error)]
    table.append({'bin': k + 1, 'points': int(errors.size), 'mean_error_mm': _mean(errors),
                  'jaccard': _mean([one.jaccard[k] for one in found]),
                  'bound_accuracy': _mean([one.bound_accuracy[k] for one in found])})
  return {'status': 'computed', 'words': '', 'left_out': left_out, 'bins': table,
          'jaccard': _mean([row['jaccard'] for row in table]),
          'bound_accuracy': _mean([row['bound_accuracy'] for row in table]),
          'per_landmark': rows}


def nll_nats(cases: Cases) -> tuple[dict[str, np.ndarray], bool]:
  """Negative log-likelihood of the truths of tempered heatmaps.

  Returns:
    'before' and 'after' tempering -> [N, L], not finite where a truth is unknown or outside; and whether
    that is of a density per mm^2, else it is one per pixel of the heatmap since a spacing is unknown.
  """
  kept = cases.tempering
  in_mm = bool(np.isfinite(kept['pixel_mm2']).all())
  unit = np.log(kept['pixel_mm2'])[:, None] if in_mm else 0.0
  return {when: unit - kept[f'log_density{key}'] for when, key in _WHEN.items()}, in_mm


def tempering(cases: Cases) -> dict:
  """What the temperatures of a model do to its heatmaps as densities, on the images judged.

  Returns:
    `status`, `words`; `unit`: of the density whose logarithm is meant, 'mm2' or, where any spacing is
    unknown, 'heatmap pixel'; `points`; `before`, `after`: `nll_nats`, mean negative log-likelihood
    of the truths inside the heatmap, and `ece`, see `temperature.calibration_error`, of all truths;
    `per_landmark`: `landmark`, `temperature`, `points`, `nll_before_nats`, `nll_after_nats`.
  """
  kept = cases.tempering
  if 'temperature' not in kept:
    return _not_possible('the heatmaps of this model are not tempered')
  nll, in_mm = nll_nats(cases)
  known = np.isfinite(nll['before'])
  if not known.any():
    return _not_possible('no truth lies inside a heatmap')
  found = {when: {'nll_nats': _mean(nll[when]),
                  'ece': temperature.calibration_error(kept[f'truth_score{key}'], kept[f'log_density{key}'])}
           for when, key in _WHEN.items()}
  return {'status': 'computed', 'words': '', 'unit': 'mm2' if in_mm else 'heatmap pixel',
          'points': int(known.sum()), **found,
          'per_landmark': [
              {'landmark': name, 'temperature': float(kept['temperature'][0, i]),
               'points': int(known[:, i].sum()),
               'nll_before_nats': _mean(nll['before'][:, i]), 'nll_after_nats': _mean(nll['after'][:, i])}
              for i, name in enumerate(cases.landmark_names)]}


def _covariance_mm2(cases: Cases) -> np.ndarray:
  return cases.covariance_px2 * np.square(cases.spacing_mm)[:, None, None, None]


def _scores(
    cases: Cases, truth: str, uncertainties: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Kind of region -> conformal score [N, L] of the truths."""
  error = cases.error_mm(truth)
  residual = (cases.truths_px[truth] - cases.points_px) * cases.spacing_mm[:, None, None]
  return {
      'circle': error,
      **{f'circle_{name}': conformal.scaled_score(error, u) for name, u in uncertainties.items()},
      'ellipse': conformal.ellipse_score(residual, _covariance_mm2(cases)),
      **({} if cases.truth_score is None else {'highest_density': cases.truth_score}),
  }


def _area_mm2(cases: Cases, kind: str, quantiles: np.ndarray, u: np.ndarray | None) -> np.ndarray:
  """[N, L] of the regions of one kind with the given quantiles [L]."""
  if kind == 'highest_density':
    index = highest_density.level(np.nan_to_num(quantiles))
    return np.take_along_axis(cases.area_mm2, index[None, :, None], -1)[..., 0]
  if kind == 'ellipse':
    return conformal.ellipse_area_mm2(quantiles, _covariance_mm2(cases))
  radius = quantiles * (np.ones(cases.points_px.shape[:2]) if u is None else conformal.scale(u))
  return conformal.circle_area_mm2(radius)


def _usable(score: np.ndarray, stated: float, patient_ids: list[str]) -> np.ndarray:
  """Landmarks [L] with enough patients, and a finite quantile: a truth beyond the heatmap is in no region."""
  enough = conformal.calibration_sizes(score, patient_ids) >= conformal.needed_patients(stated)
  return np.array([many and np.isfinite(conformal.quantile(column, stated, patient_ids))
                   for many, column in zip(enough, score.T, strict=True)])


def regions(
    calibration: Cases,
    cases: Cases,
    truth: str,
    uncertainties: Mapping[str, tuple[np.ndarray, np.ndarray]],
    stated: float,
) -> dict:
  """Conformal regions of each landmark with a stated coverage, and whether they keep it.

  Args:
    calibration: images no network was trained or tuned on; those of one patient count as one.
    cases: the images judged.
    truth: key of `truths_px` of both.
    uncertainties: name -> values for `calibration` [N, L] and `cases` [M, L], not
      negative: what circles are scaled with, each by itself.
    stated: the coverage.

  Returns:
    `status`, `words`, `stated`, `needed_patients`, `calibration_patients`; `left_out`:
    landmarks with a truth of too few calibration patients; `kinds`: `circle`, `circle_<measure>`,
    `ellipse` and, where heatmaps were looked at, `highest_density` -> `coverage.report`
    with the `quantile` of each landmark (mm for `circle`).
    `smallest`: the kind with the smallest mean radius of those that cover as stated.
  """
  needed, patients = conformal.needed_patients(stated), calibration.patient_id
  scores = _scores(calibration, truth, {k: u for k, (u, _) in uncertainties.items()})
  judged = _scores(cases, truth, {k: u for k, (_, u) in uncertainties.items()})
  sizes = conformal.calibration_sizes(scores['circle'], patients)
  names = np.array(cases.landmark_names)
  enough = (sizes >= needed) & np.isfinite(judged['circle']).any(0)
  head = {'stated': stated, 'needed_patients': needed, 'calibration_patients': int(sizes.max())}
  if not enough.any():
    few = (f'no region with a coverage of {100 * stated:g} % can be stated: it needs at least '
           f'{needed} calibration patients with a truth, there are {sizes.max()}')
    none = 'no landmark with enough calibration images has a truth in the images judged'
    return _not_possible(few if sizes.max() < needed else none) | head
  sd_mm = np.sqrt(np.trace(_covariance_mm2(cases), axis1=-2, axis2=-1))
  kinds, skipped = {}, []
  for kind, score in scores.items():
    known = conformal.calibration_sizes(score, patients)
    usable = enough & np.isfinite(judged[kind]).any(0) & _usable(score, stated, patients)
    if not usable.any():
      skipped.append(kind)
      continue
    quantiles = np.full(len(names), np.nan)
    quantiles[usable] = conformal.calibrate(score[:, usable], stated, tuple(names[usable]), patients)
    if kind == 'highest_density':  # areas are tabulated: the region grows to the next entry
      quantiles[usable] = highest_density.LEVELS[highest_density.level(quantiles[usable])]
    u = uncertainties.get(kind.removeprefix('circle_'), (None, None))[1]
    found = coverage.report(
        conformal.inside(judged[kind], quantiles)[:, usable],
        _area_mm2(cases, kind, quantiles, u)[:, usable], judged['circle'][:, usable],
        (sd_mm if u is None else u)[:, usable], known[usable], stated, tuple(names[usable]))
    for row, quantile in zip(found['per_landmark'], quantiles[usable], strict=True):
      row['quantile'] = float(quantile)
    kinds[kind] = found
  return {'status': 'computed', 'words': '', **head,
          'left_out': names[~enough].tolist(), 'kinds': kinds, 'kinds_left_out': skipped,
          'smallest': min((k for k in kinds if kinds[k]['as_stated']),
                          key=lambda k: kinds[k]['radius_mean_mm'], default=None)}
