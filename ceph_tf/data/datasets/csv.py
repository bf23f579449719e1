"""Own data: a folder of images and one CSV, one row per landmark.

Columns `image` (file name relative to the folder), `spacing_mm` (empty: unknown),
`landmark` (one of `records.LANDMARKS`), `x`, `y` (source pixels, pixel centres at
integers), and if wanted `patient` (default: every image is a patient) and `split`
(train, validation, calibration or test). A landmark with empty x and y, or without
a row, is missing. The CSV is `landmarks.csv`, or the only CSV of the folder.

Without `split`, `data.test_fraction` of the images, whole patients of them, are taken for testing. Unless
the column marks validation or calibration images, both are taken out of the training images.

Where nothing is to be trained (`data.test_fraction=1`) all images test but those that the column marks
otherwise. Training and validation images are left out then, and calibration images, unless there are
some, are taken out of the test images.
"""

import csv
import dataclasses
import math
import pathlib
from collections.abc import Iterator

import numpy as np

from ceph_tf import seeds
from ceph_tf.config import DataConfig
from ceph_tf.data import codec
from ceph_tf.data.datasets import splits
from ceph_tf.data.records import LANDMARKS, DataError, Record

REQUIRED = ('image', 'spacing_mm', 'landmark', 'x', 'y')
OPTIONAL = ('patient', 'split')
SPLITS = ('train', 'validation', 'calibration', 'test')


@dataclasses.dataclass
class _Image:
  """The rows of one image: `facts` are the columns that are equal in all of them."""

  facts: dict[str, str]
  line: int
  points: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)


def root(cfg: DataConfig) -> pathlib.Path:
  """The folder with the images and the CSV."""
  if not cfg.data_dir:
    raise DataError('csv needs data.data_dir (--data_dir): a folder of images and one CSV')
  folder = pathlib.Path(cfg.data_dir).expanduser()
  if not folder.is_dir():
    raise DataError(f'data.data_dir={cfg.data_dir!r}: no such folder')
  return folder


def table_path(folder: pathlib.Path) -> pathlib.Path:
  """`landmarks.csv`, or the only CSV of the folder."""
  tables = sorted(path for path in folder.iterdir() if path.suffix.lower() == '.csv')
  named = [path for path in tables if path.name == 'landmarks.csv']
  if len(named or tables) != 1:
    raise DataError(f'{folder}: {len(tables)} CSV files ({", ".join(p.name for p in tables[:5])}); '
                    'allowed is exactly one, or one named landmarks.csv')
  return (named or tables)[0]


def read_table(path: pathlib.Path) -> dict[str, _Image]:
  """The images of a CSV, in order of appearance; errors name file and line."""
  images: dict[str, _Image] = {}
  try:
    with path.open(encoding='utf-8-sig', newline='') as file:
      reader = csv.DictReader(file, strict=True)
      columns = reader.fieldnames or []
      _check_columns(path, columns)
      for row in reader:
        _add_row(images, row, f'{path}:{reader.line_num}', reader.line_num)
  except UnicodeDecodeError as error:
    raise DataError(f'{path}: not UTF-8 text (byte {error.start}); '
                    'save the table as UTF-8') from None
  except csv.Error as error:
    raise DataError(f'{path}: not a CSV: {error}') from None
  if not images:
    raise DataError(f'{path}: no rows below the header')
  return images


def _check_columns(path: pathlib.Path, columns: list[str]) -> None:
  missing = [name for name in REQUIRED if name not in columns]
  unknown = [name for name in columns if name not in REQUIRED + OPTIONAL]
  if missing or unknown or len(set(columns)) != len(columns):
    raise DataError(f'{path}:1: columns {", ".join(map(str, columns)) or "(none)"}; needed, '
                    f'separated by commas, are {", ".join(REQUIRED)}; '
                    f'allowed besides: {", ".join(OPTIONAL)}')


def _add_row(images: dict[str, _Image], row: dict, where: str, line: int) -> None:
  if None in row or None in row.values():
    raise DataError(f'{where}: more or fewer cells than columns; use a point for decimals '
                    'and commas between cells')
  row = {key: value.strip() for key, value in row.items()}
  facts = {key: row[key] for key in ('spacing_mm', *OPTIONAL) if key in row}
  if not row['image']:
    raise DataError(f'{where}: image is empty; allowed is the name of a file in the folder')
  name = pathlib.PurePosixPath(row['image'])
  if str(name) != row['image'] or name.is_absolute() or '..' in name.parts:
    raise DataError(f'{where}: image={row["image"]!r}; allowed is the name of a file in the folder '
                    f'of the table, without ./ and ../')
  image = images.setdefault(row['image'], _Image(facts, line))
  for key, value in facts.items():
    if value != image.facts[key]:
      raise DataError(f'{where}: {key}={value!r} for image {row["image"]!r}, but line '
                      f'{image.line} says {image.facts[key]!r}; allowed is one value per image')
  if row['landmark'] not in LANDMARKS:
    raise DataError(f'{where}: landmark={row["landmark"]!r}; allowed are {", ".join(LANDMARKS)}')
  if row['landmark'] in image.points:
    raise DataError(f'{where}: a second row for landmark {row["landmark"]!r} of image '
                    f'{row["image"]!r}')
  image.points[row['landmark']] = _point(row['x'], row['y'], where)
  _spacing(row['spacing_mm'], where)
  if row.get('split', 'train') not in SPLITS:
    raise DataError(f'{where}: split={row["split"]!r}; allowed is {", ".join(SPLITS)}')


def _number(text: str) -> float:
  try:
    return float(text)
  except ValueError:
    return math.nan


def _point(x: str, y: str, where: str) -> tuple[float, float]:
  if not x and not y:
    return (math.nan, math.nan)
  point = (_number(x), _number(y))
  if not all(map(math.isfinite, point)):
    raise DataError(f'{where}: x={x!r}, y={y!r}; allowed are two finite numbers, '
                    'or both empty for a missing landmark')
  return point


def _spacing(text: str, where: str) -> float:
  value = _number(text)
  if text and not 0 < value < math.inf:
    raise DataError(f'{where}: spacing_mm={text!r}; allowed is a positive number, '
                    'or empty for unknown')
  return value


def divide(images: dict[str, dict[str, str]], cfg: DataConfig, seed: int,
           where: str) -> dict[str, str]:
  """The split of every image.

  Args:
    images: image name -> columns, of which `patient` and `split` are read.
    cfg: `validation_images`, `calibration_images`, `test_fraction`.
    seed: of all that is drawn.
    where: the file, for errors.

  Returns:
    image name -> split.

  Raises:
    DataError: a patient in two splits, no test images, or too few patients.
  """
  patients = {name: facts.get('patient') or name for name, facts in images.items()}
  if all('split' in facts for facts in images.values()):
    division = {}
    for name, facts in images.items():
      if division.setdefault(patients[name], facts['split']) != facts['split']:
        raise DataError(f'{where}: patient {patients[name]!r} is in the splits '
                        f'{division[patients[name]]} and {facts["split"]}; allowed is one')
    if 'test' not in division.values():
      raise DataError(f'{where}: no image has split=test')
  elif cfg.trained:
    wanted = max(1, round(cfg.test_fraction * len(images)))
    division = splits.take(patients.values(), {'test': wanted}, 'train', seeds.derive(seed, 'test'))
  else:
    division = dict.fromkeys(patients.values(), 'test')
  source = 'train' if cfg.trained else 'test'
  rest = [patient for patient in patients.values() if division[patient] == source]
  if cfg.trained and not {'validation', 'calibration'} & set(division.values()):
    division |= splits.assign(rest, cfg.validation_images, cfg.calibration_images, seed)
  elif not cfg.trained and 'calibration' not in division.values():
    division |= splits.take(rest, {'calibration': cfg.calibration_images}, source, seed)
  for split in ('train', 'validation') if cfg.trained else ():
    if split not in division.values():
      raise DataError(f'{where}: no image has split={split}')
  return {name: division[patient] for name, patient in patients.items()}


def _record(path: pathlib.Path, name: str, image: _Image, split: str, where: str) -> Record:
  if not path.is_file():
    raise DataError(f'{where}:{image.line}: image={name!r}: no such file {path}')
  try:
    data = codec.to_decodable(path.read_bytes())
    height_px, width_px = codec.image_size(data)
  except DataError as error:
    raise DataError(f'{path}: {error}') from None
  points = np.array([image.points.get(key, (math.nan, math.nan)) for key in LANDMARKS], np.float32)
  return Record(name, data, _spacing(image.facts['spacing_mm'], where), split,
                image.facts.get('patient') or name, {'truth': points}, height_px, width_px)


def records(cfg: DataConfig, seed: int) -> Iterator[Record]:
  """Yields the images of the CSV in its order, one at a time.

  Args:
    cfg: `data_dir`, and what `divide` reads.
    seed: of the division into splits.

  Raises:
    DataError: the CSV or an image is not as above; names file and line.
  """
  folder = root(cfg)
  table = table_path(folder)
  images = read_table(table)
  for path in sorted(folder.iterdir()):
    hidden = path.name.startswith('.')
    if path.suffix.lower() in codec.SUFFIXES and path.name not in images and not hidden:
      raise DataError(f'{path}: no row in {table.name}; '
                      'every image of the folder needs its landmarks')
  division = divide({name: image.facts for name, image in images.items()}, cfg, seed, str(table))
  for name, image in images.items():
    if cfg.trained or division[name] in ('calibration', 'test'):
      yield _record(folder / name, name, image, division[name], str(table))
