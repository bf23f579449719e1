"""Whether one model is better than another: differences of their figures on the same films.

Models find the same films hard, so the intervals of their figures overlap even where one of them is the
better one on nearly all films. Here patients are drawn once for both models (a paired bootstrap: Efron &
Tibshirani, An Introduction to the Bootstrap, 1993). The intervals are about other films, not
about other trainings: two trainings of one model differ, too.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ceph_tf.evaluation import metrics, selective

FIGURES = ('mre_mm', 'sdr_2mm', 'nll_nats', 'aurc_mm', 'excess_aurc_mm')


class Judged(NamedTuple):
  """One model on N images; NaN where unknown.

  Attributes:
    error_mm: [N, L].
    uncertainty: [N, L], larger is worse.
    nll_nats: [N, L], of the truths.
  """

  error_mm: np.ndarray
  uncertainty: np.ndarray
  nll_nats: np.ndarray


def differences(models: Sequence[Judged], patient_ids: Sequence[str], rng: np.random.Generator,
                resamples: int = 1000, level: float = 0.95) -> list[dict[str, dict]]:
  """What each model but the first has more than the first, of each of `FIGURES`.

  Args:
    models: one or more, on the same N images; the same resamples are drawn for all.
    patient_ids: N names; equal names are one patient, drawn as a whole.
    rng: the only source of randomness.
    resamples: how many.
    level: coverage of the intervals.

  Returns:
    Of each, figure -> `value` and `interval` (low, high); NaN where either model has no such figure, and
    intervals with fewer than two patients.

  Raises:
    ValueError: shapes that do not fit.
  """
  shape = models[0].error_mm.shape
  for array in itertools.chain(*models):
    if array.shape != shape or len(patient_ids) != shape[0]:
      raise ValueError(f'{len(patient_ids)} patient ids, arrays {shape} and {array.shape}: must be one id '
                       'per image and equal shapes [N, L]')
  names, patient = np.unique(np.asarray(patient_ids, dtype=str), return_inverse=True)
  drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
  # The first row is the images themselves.
  times = np.concatenate([np.ones((1, shape[0])), drawn[:, patient]])

  def difference(more: np.ndarray) -> dict:
    value, *draws = more
    known = len(names) > 1 and np.isfinite(draws).all()
    return {'value': float(value),
            'interval': metrics.percentile_interval(draws if known else [], level)}

  first, *others = (_figures(judged, times) for judged in models)
  return [{figure: difference(other[figure] - first[figure]) for figure in FIGURES} for other in others]


def _figures(judged: Judged, times: np.ndarray) -> dict[str, np.ndarray]:
  """Figure -> [R], of images of which each counts `times` [R, N]."""
  error = judged.error_mm
  detected = np.where(np.isfinite(error), error <= 2 + metrics.TOLERANCE_MM, np.nan)
  found = {'mre_mm': _mean(error, times), 'sdr_2mm': _mean(detected, times),
           'nll_nats': _mean(judged.nll_nats, times)}
  # Only where there is an uncertainty, a perfect ranking is one of the same errors.
  ranked = np.where(np.isfinite(judged.uncertainty), error, np.nan)
  if not np.isfinite(ranked).any():
    return found | dict.fromkeys(('aurc_mm', 'excess_aurc_mm'), np.full(len(times), np.nan))
  aurc = selective.aurc_mm(judged.uncertainty, ranked, times)
  return found | {'aurc_mm': aurc, 'excess_aurc_mm': aurc - selective.aurc_mm(ranked, ranked, times)}


def _mean(values: np.ndarray, times: np.ndarray) -> np.ndarray:
  """[R] means of what is known of [N, L]; NaN where nothing is."""
  known = np.isfinite(values)
  count = times @ known.sum(1)
  total = times @ np.where(known, values, 0).sum(1)
  return np.divide(total, count, out=np.full(len(times), np.nan), where=count > 0)
