"""What is fitted on training, validation and calibration images and travels inside the SavedModel.

For each image the exported model answers, besides the measures:

    region_radius_px    [B, L]  circle that holds the truth with the stated coverage: its radius
                                is the landmark's conformal quantile times `total_sd_px`
    region_ellipse_px2  [B, L, 2, 2]  matrix C of the ellipse r' C^-1 r <= 1 of that coverage:
                                the conformal quantile^2 times the total covariance
    bin                 [B, L]  1 (most certain) to Q: quantile bin of the entropy
    ood_score           [B]     distance of the image from the training images, see `ood`
    ood_p_value         [B]     conformal p-value of that score among the calibration images, each as it
                                is and (but where a model is fitted anew) as another scanner might show it
    uncertainty_p_value [B]     likewise of the mean entropy over the landmarks: a little doubt about a
                                turned or dark film is nothing that a doctor must be called for
    refer               [B]     bool, the policy: a doctor must look where a p-value is at most its
                                multiple of alpha, `ALARMS`

What it gives out as the density of a heatmap is tempered, see `temperature`. Measures are not: they
keep the definitions of their papers, and bins and p-values are fitted on them as they are.

The policy needs no spacing and has a known price: of images like the calibration images it
refers at most a share of 3 alpha. All quantities are scale-free or in source pixels, so they hold
for any spacing. Images of one patient count together as one, see `conformal`. What the calibration set cannot
support is absent: regions where it has fewer patients than coverage / (1 - coverage), `refer` where it has
fewer than 1 / alpha - 1.
"""

import dataclasses
import math
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ceph_tf.uncertainty import conformal, ood
from ceph_tf.uncertainty.ood import Density

RADIUS_MEASURE = 'total_sd_px'
BIN_MEASURE = 'entropy_nats'
# The p-values that raise an alarm, and their share of alphas. That of the uncertainty is the better one: at
# one alpha of copies that also are less certain it is silent about heads turned by 15 degrees, see BUILD.md.
ALARMS = {'ood_p_value': 1, 'uncertainty_p_value': 2}
FLOOR_PX = 0.1  # samples may fall on one pixel, see conformal.FLOOR_MM


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
  """The numbers behind the answers above.

  Attributes:
    coverage: what regions state.
    alpha: of which the levels of the alarms are multiples.
    radius_quantiles, ellipse_quantiles: [L], NaN where the calibration set is too small.
    thresholds: [L, Q - 1] of `BIN_MEASURE`, not decreasing.
    images: N, the number of calibration images.
    patients: P, whose they are.
    ood_scores: [N * C] of the calibration images and their copies, C of each.
    image_uncertainties: [N * C], mean over landmarks of `BIN_MEASURE`.
    shares: [N * C], of its patient, what each of these values counts for; the sum is P.
    density: of the features of the training images and their copies; None of a model that is fitted anew,
      since it knows its own.
    temperatures: [L], of validation images, 1 where those say nothing; None likewise.
  """

  coverage: float
  alpha: float
  radius_quantiles: np.ndarray
  ellipse_quantiles: np.ndarray
  thresholds: np.ndarray
  images: int
  patients: int
  ood_scores: np.ndarray
  image_uncertainties: np.ndarray
  shares: np.ndarray
  density: Density | None = None
  temperatures: np.ndarray | None = None

  @property
  def has_regions(self) -> bool:
    return bool(np.isfinite(self.radius_quantiles).any())

  @property
  def refers(self) -> bool:
    return self.patients >= _needed_to_refer(self.alpha)


def needed_patients(coverage: float, alpha: float) -> int:
  """Calibration images of how many patients support regions and referral: 19 for 0.9 and 0.05."""
  return max(conformal.needed_patients(coverage), _needed_to_refer(alpha))


def _needed_to_refer(alpha: float) -> int:
  return math.ceil(1 / alpha - 1e-9) - 1  # 1 / (1 / 49) is above 49


def _quantiles(scores: np.ndarray, coverage: float, patient_ids: Sequence[str]) -> np.ndarray:
  enough = conformal.calibration_sizes(scores, patient_ids) >= conformal.needed_patients(coverage)
  found = np.full(scores.shape[1], np.nan)
  if enough.any():
    found[enough] = conformal.calibrate(scores[:, enough], coverage, patient_ids=patient_ids)
  return found


def fit(
    train_features: np.ndarray,
    features: np.ndarray,
    residual_px: np.ndarray,
    covariance_px2: np.ndarray,
    bin_measure: np.ndarray,
    coverage: float,
    bins: int,
    alpha: float,
    temperatures: np.ndarray | None = None,
    patient_ids: Sequence[str] | None = None,
) -> Fitted:
  """Fits everything.

  Args:
    train_features: [M, F] of the training images and their copies.
    features: [N, C, F] of N calibration images, those of all that follows, and of C - 1 copies of each.
    residual_px: [N, L, 2] truth minus prediction, source pixels, NaN where missing.
    covariance_px2: [N, L, 2, 2] total covariance.
    bin_measure: [N, C, L] `BIN_MEASURE`, of the images and their copies, as `features`.
    coverage: of the regions.
    bins: Q.
    alpha: see `ALARMS`.
    temperatures: [L] of `temperature.fit`; None leaves heatmaps as they are.
    patient_ids: N names, of the calibration images; None: of different patients.

  Raises:
    ValueError: no calibration image, other shapes, or values that are not finite.
  """
  if features.ndim != 3 or bin_measure.shape[:-1] != features.shape[:2]:
    raise ValueError(f'features {features.shape}, bin_measure {bin_measure.shape}: allowed are [N, C, F] and '
                     '[N, C, L], of each image and its copies')
  if not np.isfinite(features).all():
    raise ValueError('features of a calibration image are not finite')
  if temperatures is None:
    temperatures = np.ones(bin_measure.shape[-1])
  if temperatures.shape != bin_measure.shape[-1:] or not (
      np.isfinite(temperatures).all() and (temperatures > 0).all()):
    raise ValueError(f'temperatures {temperatures}: allowed is one positive number for each of '
                     f'{bin_measure.shape[-1]} landmarks')
  density = ood.fit(train_features)
  scores = ood.score(tf.constant(features.reshape(-1, features.shape[-1]), tf.float32), density).numpy()
  fitted = refit(scores.reshape(features.shape[:2]), residual_px, covariance_px2, bin_measure, coverage, bins,
                 alpha, patient_ids)
  return dataclasses.replace(fitted, density=density, temperatures=temperatures)


def refit(ood_scores: np.ndarray, residual_px: np.ndarray, covariance_px2: np.ndarray,
          bin_measure: np.ndarray, coverage: float, bins: int, alpha: float,
          patient_ids: Sequence[str] | None = None) -> Fitted:
  """What is fitted on calibration images, for a model that already has OOD scores and tempered heatmaps.

  Args:
    ood_scores: [N, C] of N calibration images and C - 1 copies of each.
    residual_px, covariance_px2, bin_measure, coverage, bins, alpha, patient_ids: as for `fit`.

  Raises:
    ValueError: no calibration image, other shapes, or values that are not finite.
  """
  if not len(bin_measure):
    raise ValueError('no calibration image: thresholds and regions need at least one')
  for name, values in ((BIN_MEASURE, bin_measure), ('covariance_px2', covariance_px2),
                       ('ood_score', ood_scores)):
    if not np.isfinite(values).all():
      raise ValueError(f'{name} of a calibration image is not finite')
  ids = conformal.patients(patient_ids, len(bin_measure))
  error = np.linalg.norm(residual_px, axis=-1)
  sd = np.sqrt(np.trace(covariance_px2, axis1=-2, axis2=-1))
  copies = ood_scores.shape[1]
  return Fitted(
      coverage, alpha,
      _quantiles(conformal.scaled_score(error, sd, FLOOR_PX), coverage, ids),
      _quantiles(conformal.ellipse_score(residual_px, covariance_px2, FLOOR_PX), coverage, ids),
      np.quantile(bin_measure[:, 0], np.arange(1, bins) / bins, axis=0).T,
      len(bin_measure), len(np.unique(ids)), ood_scores.ravel(), bin_measure.mean(-1).ravel(),
      np.repeat(conformal.shares(ids) / copies, copies))


def p_value(values: tf.Tensor, calibration: np.ndarray, shares: np.ndarray) -> tf.Tensor:
  """(1 + number of calibration patients at least as large) / (P + 1), float32 [B].

  Of a patient with several values, of his images and their copies, the share of those that are as large
  counts, which keeps the p-value of a single value of a new patient valid (see `conformal`).

  Args:
    values: [B].
    calibration: [M] of all values.
    shares: [M], what each counts for, with a sum of 1 for each of the P patients.
  """
  as_large = tf.cast(calibration[None] >= values[:, None], tf.float32)
  return (1.0 + tf.linalg.matvec(as_large, shares.astype(np.float32))) / (1.0 + round(shares.sum()))


def answers(fitted: Fitted, measures: dict[str, tf.Tensor], covariance_px2: tf.Tensor,
            ood_score: tf.Tensor) -> dict[str, tf.Tensor]:
  """The outputs documented above, in a graph.

  Args:
    fitted: of this model.
    measures: name -> [B, L], in source pixels.
    covariance_px2: [B, L, 2, 2], likewise.
    ood_score: [B], of `ood.score`.
  """
  u = measures[BIN_MEASURE]
  # Not `>`: what is not a number is not certain.
  above = tf.cast(tf.logical_not(u[..., None] <= fitted.thresholds[None].astype(np.float32)), tf.int32)
  found = {'bin': 1 + tf.reduce_sum(above, -1)}
  if fitted.has_regions:
    radius = fitted.radius_quantiles.astype(np.float32)
    shape = covariance_px2 + FLOOR_PX**2 * tf.eye(2)
    squared = np.square(fitted.ellipse_quantiles).astype(np.float32)[:, None, None]
    found['region_radius_px'] = radius * tf.maximum(measures[RADIUS_MEASURE], FLOOR_PX)
    found['region_ellipse_px2'] = squared * shape
  found['ood_score'] = ood_score
  found['ood_p_value'] = p_value(ood_score, fitted.ood_scores, fitted.shares)
  found['uncertainty_p_value'] = p_value(
      tf.reduce_mean(u, 1), fitted.image_uncertainties.astype(np.float32), fitted.shares)
  if fitted.refers:  # 1 / 20 in float32 is above 0.05
    found['refer'] = tf.reduce_any(
        [found[name] <= level + 1e-6 for name, level in levels(fitted.alpha).items()], 0)
  return found


def levels(alpha: float) -> dict[str, float]:
  """The p-values at which each alarm is raised."""
  return {name: multiple * alpha for name, multiple in ALARMS.items()}


def summary(fitted: Fitted, names: list[str]) -> dict:
  """For people and `assets.extra/calibration.json`: the policy and the numbers of each landmark."""
  def plain(values):
    return [None if not np.isfinite(v) else float(v) for v in values]
  found = {
      'coverage': fitted.coverage,
      'calibration_images': fitted.images,
      'calibration_patients': fitted.patients,
      'regions': 'stated' if fitted.has_regions else
                 f'absent: a coverage of {fitted.coverage:g} needs '
                 f'{conformal.needed_patients(fitted.coverage)} calibration patients',
      'refer': ' or '.join(f'{name} <= {level:g}' for name, level in levels(fitted.alpha).items())
               if fitted.refers else
               f'absent: alpha={fitted.alpha:g} needs {_needed_to_refer(fitted.alpha)} '
               'calibration patients',
      'landmarks': names,
      'radius_quantiles': plain(fitted.radius_quantiles),
      'ellipse_quantiles': plain(fitted.ellipse_quantiles),
      'bin_measure': BIN_MEASURE,
      'thresholds': fitted.thresholds.tolist(),
  }
  return found if fitted.temperatures is None else found | {'temperatures': fitted.temperatures.tolist()}


def save(fitted: Fitted, path: pathlib.Path) -> None:
  """Writes one .npz file."""
  density = {f'density_{name}': value for name, value in fitted.density._asdict().items()}
  fields = {f.name: getattr(fitted, f.name) for f in dataclasses.fields(fitted) if f.name != 'density'}
  np.savez(path, **fields, **density)


def load(path: pathlib.Path) -> Fitted:
  """The inverse of `save`."""
  with np.load(path, allow_pickle=False) as arrays:
    stored = dict(arrays)
  density = Density(*(stored.pop(f'density_{name}') for name in Density._fields))
  scalars = {name: stored.pop(name).item() for name in ('coverage', 'alpha', 'images', 'patients')}
  return Fitted(**scalars, **stored, density=density)
