"""How large a TIFF image is, before memory is taken for its pixels, and how many there are in the file."""

import itertools
import struct
from collections.abc import Iterator

from ceph_tf.data.records import DataError

_KIND, _WIDTH, _HEIGHT, _SAMPLES = 254, 256, 257, 277
_REDUCED = 1  # bit of the kind: a smaller version of another page
_MOST_PAGES = 100  # so that directories which refer to each other have an end
_TYPES = {1: 'B', 3: 'H', 4: 'I', 16: 'Q'}  # the integers among the types of TIFF and BigTIFF


def size(data: bytes) -> tuple[int, int, int]:
  """Height, width and samples per pixel of the first page of a TIFF or BigTIFF file.

  Raises:
    DataError: the header is damaged.
  """
  try:
    entries = next(_directories(data))
  except (struct.error, OverflowError):
    raise DataError(f'the TIFF image ends within its header, after {len(data)} bytes') from None
  # The largest, should a damaged header state one twice.
  height, width, samples = (max((value for tag, value in entries if tag == wanted and value), default=0)
                            for wanted in (_HEIGHT, _WIDTH, _SAMPLES))
  if not height or not width:
    raise DataError('the TIFF image states no width or height')
  return height, width, max(1, samples)


def pages(data: bytes) -> int:
  """Number of images in a TIFF or BigTIFF file; smaller versions of one, like thumbnails, do not count."""
  found = 0
  try:
    for entries in itertools.islice(_directories(data), _MOST_PAGES):
      found += not any(tag == _KIND and value and value & _REDUCED for tag, value in entries)
  except (struct.error, OverflowError):  # what lies behind the end cannot be read by anybody
    pass
  return found


def _directories(data: bytes) -> Iterator[list[tuple[int, int | None]]]:
  """Tags and values of each page."""
  order = '<' if data[:2] == b'II' else '>'
  big = struct.unpack_from(order + 'H', data, 2)[0] == 43
  place, number = ('Q', 'Q') if big else ('I', 'H')
  at = struct.unpack_from(order + place, data, 8 if big else 4)[0]
  while at:
    count = struct.unpack_from(order + number, data, at)[0]
    start, step = at + (8 if big else 2), 20 if big else 12
    yield [_entry(data, start + k * step, order, big) for k in range(min(count, 4096))]
    at = struct.unpack_from(order + place, data, start + count * step)[0]


def _entry(data: bytes, at: int, order: str, big: bool) -> tuple[int, int | None]:
  """Tag and value of an entry; None where it is no single integer."""
  tag, kind, count = struct.unpack_from(order + ('HHQ' if big else 'HHI'), data, at)
  if kind not in _TYPES or count != 1 or (kind == 16 and not big):
    return tag, None
  return tag, struct.unpack_from(order + _TYPES[kind], data, at + (12 if big else 8))[0]
