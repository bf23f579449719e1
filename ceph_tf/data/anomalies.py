"""What can be wrong with one record, with numbers of records, with pairs of films.

Pure functions that return `Anomaly`s; `validate` puts them together and decides.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from ceph_tf.data import codec, preprocess
from ceph_tf.data.datasets import isbi2015
from ceph_tf.data.records import TEST_SPLITS, TRAINING_SPLITS, DataError, Record

MIN_SIDE_PX = 32
# One point, clicked or typed for two landmarks. No more than that: the tips of upper and
# lower incisor may lie within a pixel of each other.
SAME_PLACE_PX = 1e-3


@dataclasses.dataclass(frozen=True)
class Anomaly:
  """One finding. `kind` is a key of `POLICIES`; `image_id` may be empty."""

  kind: str
  image_id: str
  split: str
  detail: str


@dataclasses.dataclass(frozen=True)
class Expected:
  """What is known about a dataset.

  Attributes:
    counts: split -> number of images; 'train' includes validation and calibration.
    size_hw: height and width of every image, or None.
    may_miss: landmarks may be missing.
    shares_films: its official splits share films, so that leaks cannot stop it.
  """

  counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
  size_hw: tuple[int, int] | None = None
  may_miss: bool = False
  shares_films: bool = False


EXPECTED = {
    'csv': Expected(may_miss=True),
    'isbi2015': Expected(counts=isbi2015.COUNTS, size_hw=isbi2015.SIZE_HW, shares_films=True),
}


def expected_of(dataset: str) -> Expected:
  """What is known about a dataset; nothing for one without an entry."""
  return EXPECTED.get(dataset, Expected())


def decode(data: bytes) -> np.ndarray:
  """All pixels of an image as gray values, or why they cannot be had.

  Returns:
    [h, w], uint8 for JPEG, else float32 in 0..1.

  Raises:
    DataError: the file is truncated, damaged or of another format.
  """
  codec.check_whole(data)
  kind = codec.image_format(data)
  try:
    if kind == 'jpeg':  # luma alone: parses the whole file in a sixth of the time
      return tf.io.decode_jpeg(data, channels=1).numpy()[..., 0]
    return preprocess.decode_gray(data).numpy()[..., 0]
  except tf.errors.OpError as error:
    reason = re.sub(r'\{\{.*?\}\} ?| ?\[Op:.*', '', str(error.message).splitlines()[0])
    raise DataError(f'the {kind.upper()} image cannot be decoded: {reason}') from None


def image_anomalies(record: Record, gray: np.ndarray, expected: Expected) -> list[Anomaly]:
  """Blank, tiny and wrongly sized images.

  Args:
    record: the X-ray.
    gray: [h, w], its decoded pixels.
    expected: what is known about its dataset.
  """
  size, found = (record.height_px, record.width_px), []
  text = f'{gray.shape[1]} x {gray.shape[0]} px'
  if gray.shape != size or expected.size_hw not in (None, size):
    right = expected.size_hw or size
    found.append(('wrong_size', f'{text}; allowed is {right[1]} x {right[0]}'))
  if min(gray.shape) < MIN_SIDE_PX:
    found.append(('small_image', f'{text}; allowed is {MIN_SIDE_PX} or more on each side'))
  if gray.min() == gray.max():
    found.append(('blank_image', f'all pixels have the value {gray.flat[0]}'))
  return [Anomaly(kind, record.image_id, record.split, detail) for kind, detail in found]


def point_anomalies(record: Record, expected: Expected) -> list[Anomaly]:
  """Missing points, points outside the image, two landmarks at one place; unknown spacing."""
  found = []
  names = np.array(record.landmark_names)
  limit = np.array([record.width_px, record.height_px]) - 0.5
  for truth, points in record.points_px.items():
    missing = np.isnan(points).any(1)
    if missing.all():
      found.append(('no_points', f'{truth}: not a single landmark'))
    elif missing.any():
      kind = 'expected_missing_point' if expected.may_miss else 'missing_point'
      found.append((kind, f'{truth}: {", ".join(names[missing])}'))
    for i in np.flatnonzero(((points < -0.5) | (points > limit)).any(1)):
      found.append(('point_outside', f'{truth}: {names[i]} at {_place(points[i])}; the image is '
                    f'{record.width_px} x {record.height_px} px'))
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    for i, j in np.argwhere(np.triu(distance < SAME_PLACE_PX, 1)):
      found.append(('points_at_same_place',
                    f'{truth}: {names[i]} and {names[j]} at {_place(points[i])}'))
  if np.isnan(record.spacing_mm):
    found.append(('unknown_spacing', 'errors in mm cannot be told'))
  return [Anomaly(kind, record.image_id, record.split, detail) for kind, detail in found]


def _place(point: np.ndarray) -> str:
  return f'({point[0]:g}, {point[1]:g})'


def count_anomalies(counts: Mapping[str, int], expected: Expected, trained: bool = True) -> list[Anomaly]:
  """Splits without images (only what is `trained` needs those of training), and numbers not the dataset's."""
  found = []
  for split in ('train', 'validation') if trained else ():
    if not counts.get(split):
      found.append(Anomaly('wrong_count', '', split, 'no images; allowed is 1 or more'))
  if not any(counts.get(split) for split in TEST_SPLITS):
    found.append(Anomaly('wrong_count', '', 'test', 'no images in any test split'))
  for split, number in expected.counts.items():
    parts = TRAINING_SPLITS if split == 'train' else (split,)
    images = sum(counts.get(part, 0) for part in parts)
    if images not in (0, number):
      found.append(Anomaly('wrong_count', '', split, f'{images} images in {"+".join(parts)}; '
                           f'the complete dataset has {number}'))
  return found


def film_anomalies(pairs: Sequence[tuple[str, str, float]],
                   split_of: Mapping[str, str]) -> list[Anomaly]:
  """Pairs of images of one film, within a split or across.

  Args:
    pairs: (image id, image id, score) of `films.same_films`.
    split_of: image id -> split.
  """
  found = []
  for first, second, score in pairs:
    same = split_of[first] == split_of[second]
    found.append(Anomaly(
        'same_film_in_split' if same else 'same_film_in_two_splits', first, split_of[first],
        f'the same film as {second} of {split_of[second]} (score {score:.3f})'))
  return found
