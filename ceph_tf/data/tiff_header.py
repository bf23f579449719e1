"""What a TIFF file holds, before memory is taken for its pixels, and what its decoder would make a mess of.

Exif data are such a file, too, without pixels.
"""

import itertools
import struct
from collections.abc import Iterator

from ceph_tf.data.records import DataError

_KIND, _OLD_KIND, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _PLANAR = (
    254, 255, 256, 257, 258, 262, 274, 277, 284)
_WHITE_IS_0, _PLANE_PER_COLOUR = 0, 2  # values of the photometric and of the planar tag
_SMALLER, _MASK, _OLD_SMALLER = 1, 4, 2  # bits of the one kind, value of the other
_MOST_PAGES, _MOST_ENTRIES = 100, 4096
_TYPES = {1: 'B', 3: 'H', 4: 'I', 16: 'Q'}  # the integers among the types of TIFF and BigTIFF


def size(data: bytes) -> tuple[int, int, int]:
  """Height, width and samples per pixel of the first page of a TIFF or BigTIFF file.

  Raises:
    DataError: the header is damaged.
  """
  first = _first(data)
  height, width = first.get(_HEIGHT, 0), first.get(_WIDTH, 0)
  if not height or not width:
    raise DataError('the TIFF image states no width or height')
  return height, width, max(1, first.get(_SAMPLES, 1))


def orientation(data: bytes) -> int:
  """How viewers turn it (tag 0x0112): 1, not at all, to 8; 1 where nothing is said."""
  try:
    value = _first(data).get(_ORIENTATION, 1)
  except DataError:  # a damaged block says nothing
    return 1
  return value if 1 <= value <= 8 else 1


def check_one_plain_image(data: bytes) -> None:
  """Raises `DataError` where not all is read, or wrongly: OpenCV decodes the first page alone."""
  first = _first(data)
  if _is_smaller(first):
    raise DataError('the TIFF file begins with a small version of its image; save the image alone')
  count = _images(data)
  if count > 1:
    raise DataError(f'the TIFF file holds {count} images; allowed is one, so save each as a file of its own')
  if first.get(_BITS) == 16:
    if first.get(_PHOTOMETRIC) == _WHITE_IS_0:
      raise DataError('the TIFF image has 16 bits of which 0 is white; save it with 0 as black')
    if first.get(_PLANAR) == _PLANE_PER_COLOUR and first.get(_SAMPLES, 1) > 1:
      raise DataError('the TIFF image has 16 bits in one plane per colour; save it as gray')


def _images(data: bytes) -> int:
  """Number of pages, without smaller versions and masks of others; what cannot be read nobody reads."""
  found = 0
  try:
    for page in itertools.islice(_directories(data), _MOST_PAGES):
      found += bool(page.get(_WIDTH) and page.get(_HEIGHT)
                    and not _is_smaller(page) and not page.get(_KIND, 0) & _MASK)
  except (struct.error, OverflowError):
    pass
  return found


def _is_smaller(page: dict[int, int]) -> bool:
  return bool(page.get(_KIND, 0) & _SMALLER) or page.get(_OLD_KIND) == _OLD_SMALLER


def _first(data: bytes) -> dict[int, int]:
  try:
    page = next(_directories(data), None)
  except (struct.error, OverflowError):
    raise DataError(f'the TIFF image ends within its header, after {len(data)} bytes') from None
  if page is None:
    raise DataError('the TIFF file holds no image; whatever wrote it did not finish')
  return page


def _directories(data: bytes) -> Iterator[dict[int, int]]:
  """Tags and values of each page, each page once."""
  order = '<' if data[:2] == b'II' else '>'
  big = struct.unpack_from(order + 'H', data, 2)[0] == 43
  place, number = ('Q', 'Q') if big else ('I', 'H')
  at, seen = struct.unpack_from(order + place, data, 8 if big else 4)[0], set()
  while at and at not in seen:
    seen.add(at)
    count = struct.unpack_from(order + number, data, at)[0]
    start, step = at + (8 if big else 2), 20 if big else 12
    page = {}
    for k in range(min(count, _MOST_ENTRIES)):
      tag, value = _entry(data, start + k * step, order, big)
      if value is not None:  # the largest, should a damaged header state one twice
        page[tag] = max(value, page.get(tag, 0))
    yield page
    at = struct.unpack_from(order + place, data, start + count * step)[0]


def _entry(data: bytes, at: int, order: str, big: bool) -> tuple[int, int | None]:
  """Tag of an entry and its first integer; None where it has none, or lies beyond the end."""
  tag, kind, count = struct.unpack_from(order + ('HHQ' if big else 'HHI'), data, at)
  if kind not in _TYPES or not count or (kind == 16 and not big):
    return tag, None
  letter, at = order + _TYPES[kind], at + (12 if big else 8)
  if count * struct.calcsize(letter) > (8 if big else 4):
    at = struct.unpack_from(order + ('Q' if big else 'I'), data, at)[0]
    if at + struct.calcsize(letter) > len(data):
      return tag, None
  return tag, struct.unpack_from(letter, data, at)[0]
