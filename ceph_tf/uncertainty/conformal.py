"""Split-conformal regions: circles and ellipses with a stated coverage; pure numpy.

A score says how badly a region must be widened to hold the truth. Its
ceil((n + 1) * coverage)-th smallest value over n calibration images, per landmark, is
the size that holds the truth of a new image with at least that probability,
whatever the network and the distribution, if the images are exchangeable (Vovk et
al. 2005; Lei et al., JASA 2018; Angelopoulos & Bates 2023).

    region            score                      region of a new image
    circle            error                      radius = quantile
    scaled circle     error / scale              radius = quantile * scale
    ellipse           Mahalanobis distance       distance <= quantile
    highest density   see `highest_density`      pixels with score <= quantile

Images of one patient are alike and so count as one: by equal shares of it, which keeps the probability for an
image of a new patient (Lee, Barber & Willett, "Distribution-free inference with hierarchical data", arXiv
2306.06342). n is then the number of patients. Where no patients are given, each image is of another one.

Lengths are millimetres. A missing landmark is NaN and takes part in nothing.
"""

import math
from collections.abc import Sequence

import numpy as np

# Samples may fall on one pixel: without a floor that would ask for an infinite score.
FLOOR_MM = 0.01
_ROUNDING = 1e-9  # (n + 1) * 0.9 may come out just above a whole number


def needed_patients(coverage: float) -> int:
  """Of how many patients calibration images must be to support a coverage: 9 for 0.9, 19 for 0.95."""
  if not 0 < coverage < 1:
    raise ValueError(f'coverage={coverage!r}: allowed is 0 < coverage < 1')
  return math.ceil(coverage / (1 - coverage) - _ROUNDING)


def rank(n: int, coverage: float) -> int:
  """k = ceil((n + 1) * coverage): the k-th smallest of n scores is the quantile.

  Raises:
    ValueError: k > n, so that no finite region has this coverage.
  """
  needed = needed_patients(coverage)
  if n < needed:
    raise ValueError(f'a coverage of {coverage:.6g} cannot be stated from {n} calibration patients: '
                     f'it needs at least {needed}')
  return math.ceil((n + 1) * coverage - _ROUNDING)


def patients(patient_ids: Sequence[str] | None, images: int) -> np.ndarray:
  """Whose each of N images is: [N]; without names each is another patient's."""
  return np.arange(images) if patient_ids is None else np.asarray(patient_ids, dtype=str)


def shares(patient_ids: Sequence[str]) -> np.ndarray:
  """Of its patient, for each of N images: [N], with a sum for each patient of 1."""
  _, patient, images = np.unique(np.asarray(patient_ids, dtype=str), return_inverse=True, return_counts=True)
  return 1.0 / images[patient]


def quantile(scores: np.ndarray, coverage: float, patient_ids: Sequence[str] | None = None) -> float:
  """The conformal quantile of one landmark, which may be infinite.

  Args:
    scores: [N], NaN where the truth is missing.
    coverage: wanted probability that a region holds the truth.
    patient_ids: N names; None: of different patients.

  Raises:
    ValueError: too few patients with a truth.
  """
  known = ~np.isnan(scores)
  ids = patients(patient_ids, len(scores))
  order = np.argsort(scores[known])
  below = np.cumsum(shares(ids[known])[order])
  n = len(np.unique(ids[known]))
  rank(n, coverage)  # refuses too few
  return float(scores[known][order][np.searchsorted(below, (n + 1) * coverage - _ROUNDING)])


def calibrate(scores: np.ndarray, coverage: float, names: tuple[str, ...] | None = None,
              patient_ids: Sequence[str] | None = None) -> np.ndarray:
  """The conformal quantile of each landmark.

  Args:
    scores: [N, L] of the calibration images, NaN where the truth is missing.
    coverage, patient_ids: as for `quantile`.
    names: L landmark names, for errors.

  Returns:
    [L] float64.

  Raises:
    ValueError: a landmark with too few patients, or an infinite quantile.
  """
  scores = np.asarray(scores, np.float64)
  if scores.ndim != 2:
    raise ValueError(f'scores {scores.shape}: must be [N, L], images by landmarks')
  names = names or tuple(f'landmark {i}' for i in range(scores.shape[1]))
  quantiles = []
  for name, column in zip(names, scores.T, strict=True):
    try:
      value = quantile(column, coverage, patient_ids)
    except ValueError as error:
      raise ValueError(f'{name}: {error}') from None
    if np.isinf(value):
      raise ValueError(f'{name}: the score at coverage {coverage:.6g} is infinite: '
                       f'{np.isinf(column).sum()} of {np.sum(~np.isnan(column))} truths are outside '
                       'every region')
    quantiles.append(value)
  return np.array(quantiles, np.float64)


def calibration_sizes(scores: np.ndarray, patient_ids: Sequence[str] | None = None) -> np.ndarray:
  """Patients each landmark was calibrated on: int [L] from scores [N, L]."""
  ids = patients(patient_ids, len(scores))
  return np.array([len(np.unique(ids[column])) for column in ~np.isnan(scores).T], int)


def inside(scores: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
  """[N, L]: 1 where the region holds the truth, 0 where not, NaN where it is unknown."""
  scores = np.asarray(scores, np.float64)
  return np.where(np.isnan(scores), np.nan, scores <= quantiles)


def scale(uncertainty: np.ndarray, floor: float = FLOOR_MM) -> np.ndarray:
  """What the radius of a scaled circle is proportional to: the uncertainty, at least `floor`.

  Constant uncertainties, zero included, give the plain circle of each landmark.

  Args:
    uncertainty: any shape; larger is worse, so not a confidence.
    floor: above 0, in the unit of `uncertainty`.

  Raises:
    ValueError: a negative or infinite uncertainty, a floor that is not positive.
  """
  uncertainty = np.asarray(uncertainty, np.float64)
  bad = (uncertainty < 0) | np.isinf(uncertainty)
  if bad.any():
    raise ValueError(f'uncertainty {uncertainty[bad][0]:g} at {_first(bad)}: allowed are finite '
                     f'numbers >= 0 (a confidence must be inverted first), and NaN for missing')
  if not floor > 0:
    raise ValueError(f'floor={floor!r}: allowed is > 0')
  return np.maximum(uncertainty, floor)


def scaled_score(
    error_mm: np.ndarray, uncertainty: np.ndarray, floor: float = FLOOR_MM
) -> np.ndarray:
  """Error over `scale`, [N, L]: the score of circles with normalised radius."""
  return np.asarray(error_mm, np.float64) / scale(uncertainty, floor)


def circle_area_mm2(radius_mm: np.ndarray) -> np.ndarray:
  """pi r^2."""
  return np.pi * np.square(np.asarray(radius_mm, np.float64))


def ellipse_shape_mm2(covariance_mm2: np.ndarray, floor_mm: float = FLOOR_MM) -> np.ndarray:
  """The matrix of the ellipses, [..., 2, 2]: the covariance plus floor^2 on its diagonal.

  The region is r' C^-1 r <= quantile^2; its half axes are the quantile times the
  square roots of the eigenvalues of C.

  Raises:
    ValueError: a covariance with a variance below zero or a correlation outside -1..1.
  """
  covariance = np.asarray(covariance_mm2, np.float64)
  if covariance.shape[-2:] != (2, 2):
    raise ValueError(f'covariance {covariance.shape}: must be [..., 2, 2]')
  if not floor_mm > 0:
    raise ValueError(f'floor_mm={floor_mm!r}: allowed is > 0')
  shape = covariance + floor_mm**2 * np.eye(2)
  bad = (np.linalg.det(shape) <= 0) | (np.trace(shape, axis1=-2, axis2=-1) <= 0)
  if bad.any():
    raise ValueError(f'covariance {covariance[bad][0].tolist()} at {_first(bad)} is not that of '
                     f'any distribution: its eigenvalues must be >= 0')
  return shape


def ellipse_score(
    residual_mm: np.ndarray, covariance_mm2: np.ndarray, floor_mm: float = FLOOR_MM
) -> np.ndarray:
  """Mahalanobis distance of the truth from the prediction.

  Args:
    residual_mm: [N, L, 2] truth minus prediction, NaN where missing.
    covariance_mm2: [N, L, 2, 2], the total covariance.
    floor_mm: see `ellipse_shape_mm2`.

  Returns:
    [N, L], without unit.
  """
  x, y = np.moveaxis(np.asarray(residual_mm, np.float64), -1, 0)
  shape = ellipse_shape_mm2(covariance_mm2, floor_mm)
  across = shape[..., 0, 1] + shape[..., 1, 0]
  squared = shape[..., 1, 1] * x**2 - across * x * y + shape[..., 0, 0] * y**2
  return np.sqrt(squared / np.linalg.det(shape))


def ellipse_area_mm2(
    quantiles: np.ndarray, covariance_mm2: np.ndarray, floor_mm: float = FLOOR_MM
) -> np.ndarray:
  """pi q^2 sqrt(det C) of the ellipses, [N, L]."""
  return (circle_area_mm2(quantiles)
          * np.sqrt(np.linalg.det(ellipse_shape_mm2(covariance_mm2, floor_mm))))


def _first(bad: np.ndarray) -> tuple[int, ...]:
  return tuple(int(i) for i in np.argwhere(bad)[0])
