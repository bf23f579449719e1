"""What a site's doctors do differently: the systematic part of a model's errors there, to be taken out.

A landmark's mean error over n films (Houston 1983, see `evaluation.systematic`) is the habit that is looked
for, and chance, whose variance v falls with n. So of each mean a share t / (t + v) is believed, where t is
what the squared means of all landmarks have above their v on average: the normal means of empirical Bayes
(Efron & Morris, JASA 68, 1973). Where doctors have the model's habits, t is small or 0, and so are changes.

Errors are measured in sizes of the head as its landmarks show it, so that they hold for films of any
resolution and of unknown spacing.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

PATIENTS = 5  # with a landmark; the variance of fewer is itself chance


def size_px(points_px: tf.Tensor) -> tf.Tensor:
  """The root mean squared distance of landmarks from their middle: [B] of points [B, L, 2]."""
  from_middle = points_px - tf.reduce_mean(points_px, 1, keepdims=True)
  return tf.sqrt(tf.reduce_mean(tf.reduce_sum(tf.square(from_middle), -1), 1))


def fit(errors: np.ndarray, patient_ids: Sequence[str]) -> np.ndarray:
  """The habit of each landmark.

  Args:
    errors: [N, L, 2] predicted minus true point, NaN where unknown.
    patient_ids: N names; films of one patient, of one name, count as one by their mean.

  Returns:
    [L, 2] in the unit of `errors`; 0 for a landmark that fewer than `PATIENTS` show.

  Raises:
    ValueError: shapes that do not fit.
  """
  by_patient = mean(*patient_sums(errors, patient_ids)[:2])
  total, count = (one.sum(0) for one in sums(by_patient))
  means = mean(total, count)
  seen = count >= PATIENTS
  result = np.zeros(means.shape)
  if seen.any():
    means, count, scatter = means[seen], count[seen], by_patient[:, seen] - means[seen]
    chance = np.nansum(np.square(scatter), (0, 2)) / (count * (count - 1))
    habit = max(0, np.average(np.square(means).sum(-1) - chance, weights=count))
    share = np.divide(habit, habit + chance, out=np.zeros(len(means)), where=habit > 0)
    result[seen] = share[:, None] * means
  return result


def of_others(errors: np.ndarray, patient_ids: Sequence[str]) -> np.ndarray:
  """What `fit` finds without the patient of each film, [N, L, 2]: it flatters no error of that film."""
  patients = np.asarray(patient_ids, dtype=str)
  without = {name: fit(errors[patients != name], patients[patients != name])
             for name in set(patients.tolist())}
  return np.stack([without[name] for name in patients.tolist()])


def patient_sums(errors: np.ndarray,
                 patient_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Known errors of each of P patients: their sum [P, L, 2], their number [P, L]; whose each film is: [N].

  Args, Raises: as for `fit`.
  """
  errors = np.asarray(errors, float)
  if errors.ndim != 3 or errors.shape[2] != 2 or len(patient_ids) != len(errors):
    raise ValueError(f'errors {errors.shape}, {len(patient_ids)} patient ids: must be [N, L, 2] and N')
  names, patient = np.unique(np.asarray(patient_ids, dtype=str), return_inverse=True)
  known = sums(errors)
  total, count = own = [np.zeros((len(names), *one.shape[1:])) for one in known]
  for one, of_films in zip(own, known, strict=True):
    np.add.at(one, patient, of_films)
  return total, count, patient


def sums(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """What is known of errors [N, L, 2], else 0, and 1 where it is: [N, L]."""
  known = np.isfinite(errors).all(-1)
  return np.where(known[..., None], errors, 0), known.astype(float)


def mean(total: np.ndarray, count: np.ndarray) -> np.ndarray:
  """[..., 2] of sums [..., 2] of so many errors [...]; NaN of none."""
  count = count[..., None]
  return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
