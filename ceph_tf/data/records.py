"""What every dataset yields: one `Record` per X-ray, and which truth is read from it."""

import dataclasses
from collections.abc import Mapping

import numpy as np

# L1..L19 of the ISBI 2015 challenge (Wang et al., Medical Image Analysis 31, 2016), in its order.
LANDMARKS = (
    'sella', 'nasion', 'orbitale', 'porion', 'subspinale', 'supramentale', 'pogonion', 'menton',
    'gnathion', 'gonion', 'lower_incisor', 'upper_incisor', 'upper_lip', 'lower_lip',
    'subnasale', 'soft_pogonion', 'pns', 'ans', 'articulare',
)
SPLITS = ('train', 'validation', 'calibration', 'test', 'test1', 'test2')
TRAINING_SPLITS = ('train', 'validation', 'calibration')  # what a network has been shown
TEST_SPLITS = ('test', 'test1', 'test2')


class DataError(ValueError):
  """Data that cannot be used. The message names the file, the value and what is allowed."""


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
  """One X-ray with its landmarks.

  Attributes:
    image_id: unique within the dataset.
    image_bytes: an encoded image that TensorFlow decodes (JPEG, PNG or BMP).
    spacing_mm: millimetres per source pixel; NaN where unknown.
    split: one of `SPLITS`.
    patient_id: images of one patient never lie on two sides of a split.
    points_px: truth name -> [L, 2] float32, (x, y) in source pixels, pixel centres
      at integers, NaN where the landmark is missing.
    height_px, width_px: size of the source image.
    landmark_names: the L names.
  """

  image_id: str
  image_bytes: bytes
  spacing_mm: float
  split: str
  patient_id: str
  points_px: Mapping[str, np.ndarray]
  height_px: int
  width_px: int
  landmark_names: tuple[str, ...] = LANDMARKS

  def __post_init__(self):
    where = f'record {self.image_id!r}'
    if self.split not in SPLITS:
      raise DataError(f'{where}: split={self.split!r}: allowed is {", ".join(SPLITS)}')
    if not self.points_px:
      raise DataError(f'{where}: no truth; at least one set of points is needed')
    points = {}
    for name, value in self.points_px.items():
      points[name] = np.array(value, np.float32)
      if points[name].shape != (len(self.landmark_names), 2):
        raise DataError(f'{where}: points {name!r} have the shape {points[name].shape}: '
                        f'allowed is {(len(self.landmark_names), 2)}')
      points[name].setflags(write=False)
    object.__setattr__(self, 'points_px', points)


def truth_points(points_by_name: Mapping[str, np.ndarray], truth: str) -> np.ndarray:
  """The points of one truth.

  Args:
    points_by_name: truth name -> array or tensor [..., L, 2], NaN where missing.
    truth: a key, or 'mean' for the mean of all doctors present (NaN where any of
      them misses the landmark). A dataset with the single truth 'truth' answers
      with it to every name.

  Returns:
    An array of the shape of one entry.

  Raises:
    DataError: when there is no such truth.
  """
  if set(points_by_name) == {'truth'}:
    return points_by_name['truth']
  if truth == 'mean':
    doctors = [points for name, points in points_by_name.items() if name != 'truth']
    return sum(doctors) / len(doctors)
  if truth not in points_by_name:
    raise DataError(f'truth={truth!r}: allowed is {", ".join([*points_by_name, "mean"])}')
  return points_by_name[truth]
