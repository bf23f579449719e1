"""How large a TIFF image is, before memory is taken for its pixels."""

import struct

from ceph_tf.data.records import DataError

_WIDTH, _HEIGHT, _SAMPLES = 256, 257, 277
_TYPES = {1: 'B', 3: 'H', 4: 'I', 16: 'Q'}  # the integers among the types of TIFF and BigTIFF


def size(data: bytes) -> tuple[int, int, int]:
  """Height, width and samples per pixel of the first page of a TIFF or BigTIFF file.

  Raises:
    DataError: the header is damaged.
  """
  order = '<' if data[:2] == b'II' else '>'
  try:
    big = struct.unpack_from(order + 'H', data, 2)[0] == 43
    at = struct.unpack_from(order + ('Q' if big else 'I'), data, 8 if big else 4)[0]
    count = struct.unpack_from(order + ('Q' if big else 'H'), data, at)[0]
    start, step = at + (8 if big else 2), 20 if big else 12
    entries = [_entry(data, start + k * step, order, big) for k in range(min(count, 4096))]
  except (struct.error, OverflowError):
    raise DataError(f'the TIFF image ends within its header, after {len(data)} bytes') from None
  # The largest, should a damaged header state one twice.
  height, width, samples = (max((value for tag, value in entries if tag == wanted and value), default=0)
                            for wanted in (_HEIGHT, _WIDTH, _SAMPLES))
  if not height or not width:
    raise DataError('the TIFF image states no width or height')
  return height, width, max(1, samples)


def _entry(data: bytes, at: int, order: str, big: bool) -> tuple[int, int | None]:
  """Tag and value of an entry; None where it is no single integer."""
  tag, kind, count = struct.unpack_from(order + ('HHQ' if big else 'HHI'), data, at)
  if kind not in _TYPES or count != 1 or (kind == 16 and not big):
    return tag, None
  return tag, struct.unpack_from(order + _TYPES[kind], data, at + (12 if big else 8))[0]
