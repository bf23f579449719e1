"""Systematic and random errors of landmarks.

Whoever places landmarks has habits: a network has those of the doctors it learned from, and others who judge
it have their own. The mean error of a landmark is the systematic one, what scatters around it the random one
(Houston, "The analysis of errors in orthodontic measurements", American Journal of Orthodontics 83 (1983),
382-390). A random error that is small beside a large systematic one says that habits differ, not that the
network guesses.
"""

from collections.abc import Sequence

import numpy as np


def error_xy_mm(points_px: np.ndarray, truth_px: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
  """Errors as vectors, predicted minus true point: [N, L, 2] in mm, NaN where unknown.

  Args:
    points_px, truth_px: [N, L, 2], x to the right and y down.
    spacing_mm: [N] mm per pixel.
  """
  return (np.asarray(points_px, float) - truth_px) * np.asarray(spacing_mm, float)[:, None, None]


def systematic_error_mm(error_mm: np.ndarray) -> np.ndarray:
  """The mean error of each landmark, [L, 2], of errors [N, L, 2]; NaN where none is known."""
  total, count = _sums(error_mm)
  return _ratio(total.sum(0), count.sum(0)[:, None])


def random_error_mm(error_mm: np.ndarray, patient_ids: Sequence[str]) -> np.ndarray:
  """Radial errors once the mean error of each landmark on all other patients is taken away.

  Other patients', since a mean that an error is part of takes some of that error away as well.

  Args:
    error_mm: [N, L, 2], see `error_xy_mm`.
    patient_ids: N names; equal names are one patient.

  Returns:
    [N, L], NaN where an error is unknown or no other patient has one of this landmark.

  Raises:
    ValueError: shapes that do not fit.
  """
  error_mm = np.asarray(error_mm, float)
  if error_mm.ndim != 3 or error_mm.shape[2] != 2 or len(patient_ids) != len(error_mm):
    raise ValueError(f'errors {error_mm.shape}, {len(patient_ids)} patient ids: must be [N, L, 2] and N')
  names, patient = np.unique(np.asarray(patient_ids, dtype=str), return_inverse=True)
  total, count = _sums(error_mm)
  own_total, own_count = np.zeros((len(names), *total.shape[1:])), np.zeros((len(names), count.shape[1]))
  np.add.at(own_total, patient, total)
  np.add.at(own_count, patient, count)
  others = _ratio(total.sum(0) - own_total, (count.sum(0) - own_count)[..., None])
  return np.linalg.norm(error_mm - others[patient], axis=-1)


def _sums(error_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """What is known of errors [N, L, 2], else 0, and 1 where it is: [N, L]."""
  known = np.isfinite(error_mm).all(-1)
  return np.where(known[..., None], error_mm, 0), known.astype(float)


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
  return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
