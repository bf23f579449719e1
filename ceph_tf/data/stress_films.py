"""Films of the experiments with changed X-rays: distorted copies, a turning head, what is no X-ray, and
X-rays as another scanner might show them.

A film is a function of its X-ray, its level and the seed (a turned head's of all angles of its series), so it
can be made again, for example to draw a stored prediction on it.
"""

import functools
import pathlib
import typing
from collections.abc import Iterable, Iterator

import numpy as np

from ceph_tf import seeds
from ceph_tf.config import DataConfig, StressConfig
from ceph_tf.data import film as films
from ceph_tf.data import lateral, perturb, phantom_anatomy, preprocess, projection, volumes
from ceph_tf.data.datasets import phantom
from ceph_tf.data.phantom_shape import Shape
from ceph_tf.data.records import Record, truth_points


class Film(typing.NamedTuple):
  """One changed X-ray.

  Attributes:
    image_id: of the X-ray it was made of.
    series: 'elastic', 'rotation', 'condition' or 'scanner'.
    level: magnitude as a fraction of the height, angle in degrees, or 0.
    condition: name in `perturb.CONDITIONS`, 'clean' or 'phantom' in that series; name in
      `perturb.SCANNERS` or 'clean' in that one, else ''.
    image: float32 [h, w].
    truth_px: [L, 2] in its pixels, NaN where unknown.
    spacing_mm: of its pixels.
  """

  image_id: str
  series: str
  level: float
  condition: str
  image: np.ndarray
  truth_px: np.ndarray
  spacing_mm: float


def magnitudes(cfg: StressConfig) -> np.ndarray:
  """[copies] from 0 to `elastic_max`."""
  return np.linspace(0, cfg.elastic_max, cfg.copies)


def angles(cfg: StressConfig) -> np.ndarray:
  """From about -45 to 45 degrees, 0 among them."""
  half = np.arange(0, 45 + 1e-9, cfg.angle_step_deg)
  return np.concatenate([-half[:0:-1], half])


def chosen(records: Iterable[Record], count: int, total: int) -> Iterator[Record]:
  """`count` of `total` records, evenly spread; all if there are no more."""
  rows = set(np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist())
  return (record for i, record in enumerate(records) if i in rows)


def elastic_films(records: Iterable[Record], cfg: StressConfig, truth: str, seed: int) -> Iterator[Film]:
  """`copies` distorted copies of each X-ray, each with a distortion of its own."""
  for record in records:
    image, points, spacing = _prepared(record, cfg, truth)
    for copy, magnitude in enumerate(magnitudes(cfg)):
      drawn = seeds.derive(seed, 'elastic', record.image_id, copy)
      changed, moved = perturb.elastic(image, points, float(magnitude), cfg.elastic_grid, drawn)
      yield Film(record.image_id, 'elastic', float(magnitude), '', changed, moved, spacing)


def condition_films(records: Iterable[Record], cfg: StressConfig, truth: str, seed: int,
                    dataset: str) -> Iterator[Film]:
  """Each X-ray as it is and under every condition; phantoms beside real X-rays."""
  phantoms = _phantoms(cfg, seed) if dataset != 'phantom' else None
  for record in records:
    image, points, spacing = _prepared(record, cfg, truth)
    unknown = np.full_like(points, np.nan)
    yield Film(record.image_id, 'condition', 0.0, 'clean', image, points, spacing)
    for name in perturb.CONDITIONS:
      changed = perturb.condition(name, image, seeds.derive(seed, record.image_id))
      yield Film(record.image_id, 'condition', 0.0, name, changed, unknown, spacing)
    if phantoms:
      yield Film(record.image_id, 'condition', 0.0, 'phantom', *_prepared(next(phantoms), cfg, truth))


def scanner_films(records: Iterable[Record], cfg: StressConfig, truth: str, seed: int) -> Iterator[Film]:
  """Each X-ray as it is and as other scanners might show it."""
  for record in records:
    image, points, spacing = _prepared(record, cfg, truth)
    yield Film(record.image_id, 'scanner', 0.0, 'clean', image, points, spacing)
    for name in perturb.SCANNERS:
      changed, moved = perturb.scanned(name, image, points, seeds.derive(seed, record.image_id))
      yield Film(record.image_id, 'scanner', 0.0, name, changed, moved, spacing)


def _phantoms(cfg: StressConfig, seed: int) -> Iterator[Record]:
  """`cfg.images` films of computed heads."""
  data = DataConfig(phantom_images=4, validation_images=1, calibration_images=0,
                    phantom_test_images=cfg.images, phantom_size_px=cfg.height_px)
  return (record for record in phantom.records(data, seed) if record.split == 'test')


def rotation_films(cfg: StressConfig, landmarks: int, seed: int) -> Iterator[Film]:
  """A head at each angle: of a CT, summed and normalised; or the phantom's, exposed like its data set.

  The phantom's landmarks are known at every angle.
  """
  if cfg.volume:
    source = pathlib.Path(cfg.volume).name
    head = projection.attenuation(volumes.read(cfg.volume, cfg.volume_axes))
    series = lateral.lateral_series(head, angles(cfg))
  else:
    source = 'phantom'
    develop = functools.partial(films.expose, rng=seeds.rng(seed, 'rotation'), variation=0)
    series = lateral.lateral_series(phantom_anatomy.build(Shape()), angles(cfg), develop=develop)
  unknown = np.full((landmarks, 2), np.nan, np.float32)
  for film in series:
    image = preprocess.decode_gray(film.image_bytes).numpy()[..., 0]
    truth = unknown if film.points_px is None else film.points_px
    yield Film(source, 'rotation', float(film.angle_deg), '', image, truth, film.spacing_mm)


def _prepared(record: Record, cfg: StressConfig, truth: str) -> tuple[np.ndarray, np.ndarray, float]:
  image, factors = perturb.reduced(record.image_bytes, cfg.height_px)
  points = perturb.scaled_points(truth_points(record.points_px, truth), factors)
  return image, points.astype(np.float32), float(record.spacing_mm / factors[1])
