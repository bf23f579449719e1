"""The embedded dataset: films of computed heads, with exact landmarks and no files.

Every image is another person. Training persons are divided into train, validation and
calibration; test persons come from seeds of their own, so their number changes nothing
about the others.
"""

from collections.abc import Iterator

import numpy as np

from ceph_tf import seeds
from ceph_tf.config import DataConfig
from ceph_tf.data import film, phantom, phantom_anatomy
from ceph_tf.data.datasets import splits
from ceph_tf.data.records import Record

FIELD_MM = 240.0  # height of the film, as in ISBI 2015
_BLUR_MM = 0.3


def records(cfg: DataConfig, seed: int) -> Iterator[Record]:
  """Yields `phantom_images` training-side and `phantom_test_images` test records.

  Args:
    cfg: the numbers of images and their height; the width is 0.8 of it.
    seed: of persons, poses, films and splits.

  Raises:
    DataError: when validation and calibration leave nothing to train on.
  """
  training = [f'phantom_{i:04d}' for i in range(cfg.phantom_images)]
  split_of = splits.assign(training, cfg.validation_images, cfg.calibration_images, seed)
  for person in training:
    yield _record(person, split_of[person], cfg.phantom_size_px, seed)
  for i in range(cfg.phantom_test_images):
    yield _record(f'phantom_test_{i:04d}', 'test', cfg.phantom_size_px, seed)


def _record(person: str, split: str, height_px: int, seed: int) -> Record:
  rng = seeds.rng(seed, 'phantom', person)
  spacing_mm = FIELD_MM / height_px
  width_px = round(0.8 * height_px)
  anatomy = phantom_anatomy.subject(rng)
  lateral, nod, tilt = rng.normal(size=3).clip(-2.5, 2.5) * (1.5, 4.0, 1.0)
  shift_px = rng.normal(size=2).clip(-2, 2) * 4.0 / spacing_mm
  sella_px = np.array([0.418 * width_px, 0.435 * height_px]) + shift_px
  line_integrals, points_px = phantom.project(
    anatomy, phantom.rotation(lateral, nod, tilt), (height_px, width_px), spacing_mm, sella_px
  )
  image = film.expose(line_integrals, rng, blur_px=_BLUR_MM / spacing_mm)
  return Record(
    image_id=person,
    image_bytes=film.png(image),
    spacing_mm=spacing_mm,
    split=split,
    patient_id=person,
    points_px={'truth': points_px},
    height_px=height_px,
    width_px=width_px,
  )
