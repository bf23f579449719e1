"""The IEEE ISBI 2015 Grand Challenge in the layout of the original download.

`RawImage/{TrainingData,Test1Data,Test2Data}/NNN.<any image format>` and
`AnnotationsByMD/400_{senior,junior}/NNN.txt` with 19 lines `x,y`, in the original
followed by 8 lines of class labels, which are not read. Test2 may be absent.
400 images of 1935 x 2400 px at 0.1 mm/px. Who was X-rayed is not published:
every image counts as a patient.

Wang et al., A benchmark for comparison of dental radiography analysis algorithms,
Medical Image Analysis 31, 2016.
"""

import pathlib
from collections.abc import Iterator

import numpy as np

from ceph_tf.config import DataConfig
from ceph_tf.data import codec
from ceph_tf.data.datasets import splits
from ceph_tf.data.records import LANDMARKS, DataError, Record

SPACING_MM = 0.1
SIZE_HW = (2400, 1935)
COUNTS = {'train': 150, 'test1': 150, 'test2': 100}  # train: before validation is taken out
FOLDERS = {'train': 'TrainingData', 'test1': 'Test1Data', 'test2': 'Test2Data'}
TRUTHS = ('senior', 'junior')
CLASS_LINES = 8


def root(cfg: DataConfig) -> pathlib.Path:
  """The folder that holds `RawImage`: `cfg.data_dir` or `isbi2015` in it."""
  if not cfg.data_dir:
    raise DataError('isbi2015 needs data.data_dir (--data_dir): the folder that holds RawImage '
                    'and AnnotationsByMD')
  folder = pathlib.Path(cfg.data_dir).expanduser()
  if not folder.is_dir():
    raise DataError(f'data.data_dir={cfg.data_dir!r}: no such folder')
  for candidate in (folder, folder / 'isbi2015'):
    if (candidate / 'RawImage').is_dir():
      return candidate
  found = ', '.join(sorted(path.name for path in folder.iterdir())[:5]) or 'nothing (it is empty)'
  raise DataError(f'data.data_dir={cfg.data_dir!r}: holds no folder RawImage; it holds {found}')


def image_paths(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """Images of a folder by stem, sorted. `DataError` for none, or two of one stem."""
  if not folder.is_dir():
    raise DataError(f'{folder}: no such folder')
  paths: dict[str, pathlib.Path] = {}
  for path in sorted(folder.iterdir()):
    if path.suffix.lower() not in codec.SUFFIXES or path.name.startswith('.'):
      continue
    if path.stem in paths:
      raise DataError(f'{path} and {paths[path.stem].name}: two images of one name; '
                      'keep one of them')
    paths[path.stem] = path
  if not paths:
    raise DataError(f'{folder}: no images; allowed are {", ".join(codec.SUFFIXES)}')
  return paths


def read_points(path: pathlib.Path) -> np.ndarray:
  """The landmarks of one annotation file.

  Returns:
    float32 [19, 2], (x, y) in source pixels.

  Raises:
    DataError: no such file, a wrong number of lines, or a line that is not `x,y`.
  """
  if not path.is_file():
    raise DataError(f'{path}: no such annotation file')
  lines = path.read_text(encoding='utf-8', errors='replace').rstrip().splitlines()
  landmarks = len(LANDMARKS)
  if len(lines) not in (landmarks, landmarks + CLASS_LINES):
    raise DataError(f'{path}: {len(lines)} lines; allowed are {landmarks} lines x,y, '
                    f'or these and {CLASS_LINES} lines of class labels')
  return np.array([_read_line(line, f'{path}:{number}')
                   for number, line in enumerate(lines[:landmarks], 1)], np.float32)


def _read_line(line: str, where: str) -> list[float]:
  try:
    values = [float(part) for part in line.split(',')]
  except ValueError:
    values = []
  if len(values) != 2 or not np.all(np.isfinite(values)):
    raise DataError(f'{where}: {line!r}; allowed are two finite numbers x,y')
  return values


def _record(path: pathlib.Path, annotations: pathlib.Path, split: str) -> Record:
  points = {}
  for truth in TRUTHS:
    annotation = annotations / f'400_{truth}' / f'{path.stem}.txt'
    if not annotation.is_file():
      raise DataError(f'{path}: no annotation; {annotation} is missing')
    points[truth] = read_points(annotation)
  try:
    data = codec.to_decodable(path.read_bytes())
    height_px, width_px = codec.image_size(data)
  except DataError as error:
    raise DataError(f'{path}: {error}') from None
  return Record(path.stem, data, SPACING_MM, split, path.stem, points, height_px, width_px)


def records(cfg: DataConfig, seed: int) -> Iterator[Record]:
  """Yields the training images (divided into three splits), Test1, and Test2.

  Test2 may be missing, and where nothing is trained or calibrates, any of the three.

  Reads one image at a time. Files are opened and their headers read; whether an
  image decodes to its last row is found by `validate`.

  Args:
    cfg: `data_dir`, `validation_images`, `calibration_images`, `test_fraction`.
    seed: of the division of the training images.

  Raises:
    DataError: the layout, an annotation or an image header is not as above.
  """
  folder = root(cfg)
  annotations = folder / 'AnnotationsByMD'
  for truth in TRUTHS:
    if not (annotations / f'400_{truth}').is_dir():
      raise DataError(f'{annotations / f"400_{truth}"}: no such folder; '
                      'it should hold the annotations')
  needed = ('train', 'test1') if cfg.trained or cfg.calibration_images else ()
  images = {split: image_paths(folder / 'RawImage' / name) for split, name in FOLDERS.items()
            if split in needed or (folder / 'RawImage' / name).is_dir()}
  division = {}
  if 'train' in images:
    division = splits.assign(images['train'], cfg.validation_images, cfg.calibration_images, seed)
  for split, paths in images.items():
    for stem, path in paths.items():
      yield _record(path, annotations, division[stem] if split == 'train' else split)
