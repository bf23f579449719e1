"""Systematic and random errors of landmarks.

Whoever places landmarks has habits: a network has those of the doctors it learned from, and others who judge
it have their own. The mean error of a landmark is the systematic one, what scatters around it the random one
(Houston, "The analysis of errors in orthodontic measurements", American Journal of Orthodontics 83 (1983),
382-390). A random error that is small beside a large systematic one says that habits differ, not that the
network guesses.
"""

from collections.abc import Sequence

import numpy as np

from ceph_tf.uncertainty import habits


def error_xy_mm(points_px: np.ndarray, truth_px: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
  """Errors as vectors, predicted minus true point: [N, L, 2] in mm, NaN where unknown.

  Args:
    points_px, truth_px: [N, L, 2], x to the right and y down.
    spacing_mm: [N] mm per pixel.
  """
  return (np.asarray(points_px, float) - truth_px) * np.asarray(spacing_mm, float)[:, None, None]


def systematic_error_mm(error_mm: np.ndarray) -> np.ndarray:
  """The mean error of each landmark, [L, 2], of errors [N, L, 2]; NaN where none is known."""
  return habits.mean(*(one.sum(0) for one in habits.sums(error_mm)))


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
  total, count, patient = habits.patient_sums(error_mm, patient_ids)
  others = habits.mean(total.sum(0) - total, count.sum(0) - count)
  return np.linalg.norm(error_mm - others[patient], axis=-1)
