"""Which training patients tune the network and which calibrate its uncertainty."""

import collections
from collections.abc import Iterable

from ceph_tf import seeds
from ceph_tf.data.records import DataError


def take(patient_ids: Iterable[str], wanted: dict[str, int], rest: str,
         seed: int) -> dict[str, str]:
  """Divides patients at random, whole patients only.

  Args:
    patient_ids: one entry per image; a patient with three images appears three times.
      Their order does not matter.
    wanted: split -> number of images. Patients are added until the number is reached,
      so a split exceeds it by less than the images of one patient.
    rest: the split of all other patients; at least one is left for it.
    seed: same patients, same seed, same division.

  Returns:
    patient id -> split.

  Raises:
    DataError: when there are too few patients.
  """
  images = collections.Counter(list(patient_ids))  # of a dict, Counter would take the values
  patients = sorted(images)
  order = [patients[i] for i in seeds.rng(seed, 'splits', rest).permutation(len(patients))]
  result = {}
  for split, number in wanted.items():
    taken = 0
    while taken < number and order:
      patient = order.pop()
      result[patient] = split
      taken += images[patient]
    if taken < number or not order:
      asked = ', '.join(f'{value} images for {key}' for key, value in wanted.items())
      raise DataError(f'too few patients: {asked} and at least one patient for {rest} are wanted, '
                      f'but there are {len(patients)} patients with {sum(images.values())} images '
                      '(settings: data.validation_images, data.calibration_images, data.test_fraction)')
  return result | dict.fromkeys(order, rest)


def assign(patient_ids: Iterable[str], validation: int, calibration: int,
           seed: int) -> dict[str, str]:
  """Divides training patients into 'train', 'validation' and 'calibration'.

  Args:
    patient_ids: one entry per training image.
    validation: images wanted for validation.
    calibration: images wanted for calibration; 0 for none.
    seed: same patients, same seed, same division.

  Returns:
    patient id -> split.

  Raises:
    DataError: when no patient would be left to train on.
  """
  return take(patient_ids, {'validation': validation, 'calibration': calibration}, 'train', seed)
