"""Files and folders of a user: which are X-rays, what they are called in the output, what is in them.

Whatever is wrong with one of them is a reason to refuse it and never an exception that others see.
"""

import collections
import dataclasses
import glob
import os
import pathlib
import re
import stat
import typing
from collections.abc import Iterable, Iterator, Sequence

from ceph_tf.data import codec, dicom, tiff_header
from ceph_tf.data.records import DataError
from ceph_tf.serving import admission

SUFFIXES = (*codec.SUFFIXES, '.dcm', '.dicom')
MAX_BYTES = 2**29  # of a file; an uncompressed 16-bit X-ray of admission.MAX_PIXELS has 2**27
UNKNOWN_SPACING = 'unknown: neither the file nor the user states one'
_FLAG = '--spacing_mm'
_CLOSED = 'the folder cannot be read'
_MAX_SAMPLES = 4
_UNSAFE = re.compile(r'[^\w\-. ()+]')
_NAME_BYTES = 120  # file systems allow 255


@dataclasses.dataclass(frozen=True)
class Source:
  """A file to be answered.

  Attributes:
    path: of the file.
    name: of its output files, without suffix; no other source has it, whatever the case of letters.
    reason: why it is refused before it is opened; '' if it is not.
  """

  path: pathlib.Path
  name: str
  reason: str = ''


class Film(typing.NamedTuple):
  """What the model is asked. `spacing_mm` is NaN where unknown; `spacing_origin` says why, in words."""

  image_bytes: bytes
  spacing_mm: float
  spacing_origin: str


def find(paths: Sequence[str], out: pathlib.Path) -> list[Source]:
  """The files that are meant by paths: files, folders (all that lies below) or patterns (`*`, `?`, `**`).

  In folders hidden files are left out, and those that neither have one of `SUFFIXES` nor start like
  DICOM; a file that is named is always tried. Links are followed, each folder is visited once.

  Args:
    paths: at least one.
    out: where outputs will be written. Folders are searched without it.

  Raises:
    DataError: a path leads to nothing, there is no image at all, or one lies in `out`, where an output
      might replace it.
  """
  found: dict[str, str] = {}
  places = set()
  expanded = [path for given in paths for path in _expanded(given)]
  for path in expanded:
    if len(expanded) > 1 and os.path.realpath(path) == os.path.realpath(out):
      continue  # `*` names it, once there is an output
    for file, reason in _below(path, out) if os.path.isdir(path) else [(path, '')]:
      folder, name = os.path.split(file)
      if (place := (os.path.realpath(folder), name)) not in places:  # named twice is read once
        places.add(place)
        found[file] = reason
  if all(found.values()):
    closed = [f'{shown(file)}: {reason}' for file, reason in found.items() if reason.startswith(_CLOSED)]
    if closed:
      raise DataError('; '.join(closed))
    raise DataError(f'no image in {", ".join(map(shown, paths))}; in folders these are read: '
                    f'{", ".join(SUFFIXES)}, and DICOM files of any name')
  for file in found:
    if _inside(os.path.dirname(file) or '.', out) or _inside(file, out):  # in it, or linked to from elsewhere
      raise DataError(f'--out={shown(out)} holds {shown(file)}, which an output might replace; '
                      'choose another folder')
  names = unique_names(found)
  return [Source(pathlib.Path(file), name, found[file]) for file, name in zip(found, names, strict=True)]


def _expanded(given: str) -> list[str]:
  try:
    os.lstat(given)
    return [given]
  except PermissionError as error:
    raise DataError(f'{shown(given)} cannot be read: {error.strerror}') from None
  except (OSError, ValueError):  # there is none of this name, or no such name
    pass
  matches = sorted(glob.glob(given, recursive=True)) if glob.has_magic(given) else []
  if not matches:
    raise DataError(f'no such file or folder: {shown(given)}')
  return matches


def _below(folder: str, out: pathlib.Path) -> Iterator[tuple[str, str]]:
  """Files in and below a folder that look like images, and what cannot be entered, with the reason."""
  seen, problems, empty = set(), [], True
  for at, folders, files in os.walk(folder, followlinks=True, onerror=problems.append):
    inode = os.stat(at)
    if (inode.st_dev, inode.st_ino) in seen or (at != folder and _inside(at, out)):
      folders.clear()
      continue
    seen.add((inode.st_dev, inode.st_ino))
    folders[:] = sorted(name for name in folders if not name.startswith('.'))
    for name in sorted(files):
      file = os.path.join(at, name)
      if not name.startswith('.') and (name.lower().endswith(SUFFIXES) or _starts_like_dicom(file)):
        empty = False
        yield file, ''
  for error in problems:
    empty = False
    yield error.filename, f'{_CLOSED}: {error.strerror}'
  if empty:
    yield folder, 'there is no image in the folder'


def _starts_like_dicom(file: str) -> bool:
  if os.path.basename(file).upper() == 'DICOMDIR':  # a table of contents
    return False
  try:
    if not stat.S_ISREG(os.stat(file).st_mode):  # opening a pipe would wait
      return False
    with open(file, 'rb') as opened:
      return dicom.is_dicom(opened.read(132))
  except OSError:
    return False


def _inside(path: str, out: pathlib.Path) -> bool:
  real = pathlib.Path(os.path.realpath(path))
  return real.is_relative_to(os.path.realpath(out))


def unique_names(files: Iterable[str]) -> list[str]:
  """A plain name for the outputs of each file; `a/x.png`, `b/x.png`, `x.jpg` are x, x_2, x_3."""
  taken, names, numbers = set(), [], collections.Counter()
  for file in files:
    stem = os.path.basename(os.path.normpath(file))
    if stem.lower().endswith(SUFFIXES):
      stem = stem.rpartition('.')[0]
    stem = _UNSAFE.sub('_', os.fsencode(stem).decode('utf-8', 'replace')).lstrip(' .+-').rstrip(' .')
    stem = stem.encode()[:_NAME_BYTES].decode('utf-8', 'ignore') or 'image'
    name = stem
    while name.casefold() in taken:
      numbers[stem.casefold()] += 1
      name = f'{stem}_{1 + numbers[stem.casefold()]}'
    taken.add(name.casefold())
    names.append(name)
  return names


def shown(path: str | os.PathLike) -> str:
  """A path as one line of valid text: bytes that are no UTF-8 and control characters are escaped."""
  text = os.fsencode(path).decode('utf-8', 'backslashreplace')
  return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


def read(path: pathlib.Path, spacing_mm: float | None = None) -> Film:
  """A JPEG, PNG, BMP, TIFF or DICOM file, as TensorFlow decodes it.

  Args:
    path: whatever its suffix says, its content decides.
    spacing_mm: of files that do not state their own; None if it is unknown.

  Raises:
    DataError: unreadable, no image, or larger than allowed.
  """
  data = _content(path)
  if dicom.is_dicom(data[:132]):
    film = Film(*dicom.read(data, admission.MAX_PIXELS))
  else:
    film = Film(_decodable(data), float('nan'), UNKNOWN_SPACING)
  if film.spacing_mm == film.spacing_mm or spacing_mm is None:
    return film
  silent = film.spacing_origin in (UNKNOWN_SPACING, dicom.NO_SPACING)  # or else the file states nonsense
  origin = _FLAG if silent else f'{_FLAG}; by the file {film.spacing_origin}'
  return film._replace(spacing_mm=spacing_mm, spacing_origin=origin)


def _content(path: pathlib.Path) -> bytes:
  try:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
      raise DataError('is a folder' if stat.S_ISDIR(status.st_mode) else 'is no regular file')
    if status.st_size > MAX_BYTES:
      raise DataError(f'the file has {status.st_size} bytes; allowed are {MAX_BYTES}')
    with open(path, 'rb') as file:
      return file.read(MAX_BYTES)
  except OSError as error:
    raise DataError(f'the file cannot be read: {error.strerror}') from None


def _decodable(data: bytes) -> bytes:
  try:
    kind = codec.image_format(data)
  except DataError as error:
    raise DataError(f'{error}, or DICOM, with DICM at byte 128') from None
  if kind in ('tiff', 'bmp'):  # may be transcoded, which decodes them
    height, width, samples = tiff_header.size(data) if kind == 'tiff' else (*codec.image_size(data), 1)
    if height * width > admission.MAX_PIXELS or samples > _MAX_SAMPLES:
      raise DataError(f'the {kind.upper()} image is {width} x {height} pixels of {samples} samples; '
                      f'allowed are {admission.MAX_PIXELS} pixels of {_MAX_SAMPLES}')
  return codec.to_decodable(data)
