"""Encoded images: which formats enter, how large an image is, whether a file is whole.

TensorFlow's graph decodes JPEG, PNG and BMP, and BMP only when it is uncompressed
with 24 or 32 bits, or 8 bits of gray. Everything else that is allowed in is
transcoded, without loss, to PNG.

Decoders forgive: libjpeg fills the missing end of a truncated file with gray and
only warns. `check_whole` therefore reads the structure of a file to its end.
"""

import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np

from ceph_tf.data import tiff_header
from ceph_tf.data.records import DataError

SUFFIXES = ('.bmp', '.png', '.jpg', '.jpeg', '.tif', '.tiff')
_MAGIC = {
    b'\xff\xd8\xff': 'jpeg', b'\x89PNG\r\n\x1a\n': 'png', b'BM': 'bmp',
    b'II*\0': 'tiff', b'MM\0*': 'tiff', b'II+\0': 'tiff', b'MM\0+': 'tiff',
}
_START_OF_FRAME = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}


def image_format(data: bytes) -> str:
  """'jpeg', 'png', 'bmp' or 'tiff', by content; `DataError` for anything else."""
  if not data:
    raise DataError('the file is empty (0 bytes); allowed is a JPEG, PNG, BMP or TIFF image')
  for magic, name in _MAGIC.items():
    if data.startswith(magic):
      return name
  raise DataError(f'the file starts with {data[:8]!r}; allowed is a JPEG, PNG, BMP or TIFF image')


def to_decodable(data: bytes) -> bytes:
  """Bytes that TensorFlow decodes to the same pixels.

  Args:
    data: a JPEG, PNG, BMP or TIFF file, 8 or 16 bits.

  Returns:
    `data` itself where TensorFlow decodes it, else a PNG with the same pixels and
    the same number of bits.

  Raises:
    DataError: another format, an unreadable TIFF or BMP, a TIFF of floats or of what
      `tiff_header.check_one_plain_image` refuses, or an image that viewers turn.
  """
  kind = image_format(data)
  if (turned := exif_orientation(data)) != 1:
    raise DataError(f'the {kind.upper()} image is stored turned (EXIF orientation {turned}), so that viewers '
                    'and pixels disagree; save it upright')
  if kind in ('jpeg', 'png') or (kind == 'bmp' and _is_plain_bmp(data)):
    return data
  if kind == 'bmp':
    check_whole(data)
  else:
    tiff_header.check_one_plain_image(data)
  pixels = _cv2_decode(data)
  if pixels is None:
    raise DataError(f'the {kind.upper()} image cannot be decoded; it is truncated or damaged')
  if pixels.dtype not in (np.uint8, np.uint16):
    raise DataError(f'the {kind.upper()} image has pixels of type {pixels.dtype}; '
                    'allowed are 8 and 16 bits')
  return cv2.imencode('.png', pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes()


def _cv2_decode(data: bytes) -> np.ndarray | None:
  try:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
  except cv2.error:
    return None


def _is_plain_bmp(data: bytes) -> bool:
  header_size, _, _, _, bits, compression = _bmp_header(data)
  if compression != 0 or bits not in (8, 24, 32):
    return False
  if bits != 8:
    return True
  try:
    colours = struct.unpack_from('<I', data, 46)[0] or 256
    palette = np.frombuffer(data, np.uint8, 4 * colours, 14 + header_size).reshape(colours, 4)
  except (struct.error, ValueError):
    raise DataError(f'the BMP image ends within its palette, after {len(data)} bytes') from None
  return bool(np.all(palette[:, :3] == np.arange(colours)[:, None]))


def _bmp_header(data: bytes) -> tuple[int, int, int, int, int, int]:
  """Header size, pixel offset, width, height (negative: top down), bits, compression."""
  try:
    offset, header_size, width, height = struct.unpack_from('<IIii', data, 10)
    if header_size < 40:
      raise DataError(f'the BMP image has a header of {header_size} bytes; allowed is 40 or more')
    _, bits, compression = struct.unpack_from('<HHI', data, 26)
  except struct.error:
    raise DataError(f'the BMP image ends within its header, after {len(data)} bytes') from None
  return header_size, offset, width, height, bits, compression


def image_size(data: bytes) -> tuple[int, int]:
  """Height and width from the header, as TensorFlow decodes it (EXIF rotation is ignored).

  Args:
    data: a JPEG, PNG or BMP file.

  Raises:
    DataError: another format, or the header is damaged.
  """
  kind = image_format(data)
  if kind == 'tiff':
    raise DataError('the size of a TIFF image is read after to_decodable')
  if kind == 'bmp':
    _, _, width, height, _, _ = _bmp_header(data)
    height = abs(height)
  elif kind == 'png':
    if len(data) < 33 or data[12:16] != b'IHDR':
      raise DataError(f'the PNG image has no header; it has {len(data)} bytes')
    width, height = struct.unpack_from('>II', data, 16)
  else:
    height, width = _jpeg_size(data)
  if height < 1 or width < 1:
    raise DataError(f'the {kind.upper()} image is {width} x {height} pixels; '
                    'allowed is 1 x 1 or more')
  return height, width


def _jpeg_segments(data: bytes):
  """Yields (marker, position of its content, end of its content); stops at the end of the file."""
  position = 2
  while (position := data.find(b'\xff', position)) >= 0:
    while data[position:position + 1] == b'\xff':  # any number of fill bytes
      position += 1
    if position >= len(data):
      return
    marker, position = data[position], position + 1
    if marker == 0 or marker in _WITHOUT_LENGTH:  # a stuffed zero or a restart within a scan
      continue
    length = 0 if marker == 0xD9 else int.from_bytes(data[position:position + 2])
    if position + length > len(data):
      return
    yield marker, position, position + length
    position += length


def _jpeg_size(data: bytes) -> tuple[int, int]:
  for marker, start, end in _jpeg_segments(data):
    if marker in _START_OF_FRAME and end - start >= 7:
      return struct.unpack_from('>HH', data, start + 3)
  raise DataError(f'the JPEG image has no frame header; it has {len(data)} bytes')


def exif_orientation(data: bytes) -> int:
  """How viewers turn an image (EXIF tag 0x0112): 1, not at all, to 8; 1 where nothing is said."""
  of_kind = {'jpeg': _jpeg_exif, 'png': _png_exif, 'tiff': lambda data: [data]}
  blocks = of_kind.get(image_format(data), lambda _: [])(data)
  return next((turned for turned in map(tiff_header.orientation, blocks) if turned != 1), 1)


def _jpeg_exif(data: bytes) -> Iterator[bytes]:
  for marker, start, end in _jpeg_segments(data):
    if marker == 0xE1 and data[start + 2:start + 8] == b'Exif\0\0':
      yield data[start + 8:end]
    if marker == 0xDA:
      return


def _png_exif(data: bytes) -> Iterator[bytes]:
  return (data[start:end] for name, start, end in _png_chunks(data) if name == b'eXIf')


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
  """Yields name, position of its content, end of its content; stops at the end of the file."""
  position = 8
  while position + 12 <= len(data):
    start = position + 8
    end = start + int.from_bytes(data[position:position + 4])
    yield data[position + 4:start], start, end
    position = end + 4


def check_whole(data: bytes) -> None:
  """Raises `DataError` unless the file goes on to its end.

  JPEG: there is an end-of-image marker behind the first scan. PNG: every chunk's
  checksum is right and IEND is there. BMP: all rows are there.
  """
  kind = image_format(data)
  if kind == 'jpeg':
    markers = [marker for marker, _, _ in _jpeg_segments(data)]
    scan = markers.index(0xDA) if 0xDA in markers else len(markers)
    if 0xD9 not in markers[scan:]:
      raise DataError(f'the JPEG image is truncated: no end-of-image marker in {len(data)} bytes')
  elif kind == 'png':
    _check_png(data)
  elif kind == 'bmp':
    _, offset, width, height, bits, compression = _bmp_header(data)
    needed = offset + (width * bits + 31) // 32 * 4 * abs(height)
    if compression == 0 and len(data) < needed:
      raise DataError(f'the BMP image is truncated: {len(data)} of {needed} bytes')


def _check_png(data: bytes) -> None:
  for number, (name, start, end) in enumerate(_png_chunks(data)):
    if end + 4 > len(data):
      raise DataError(f'the PNG image is truncated within chunk {number} ({name!r}), '
                      f'after {len(data)} bytes')
    if zlib.crc32(data[start - 4:end]) != int.from_bytes(data[end:end + 4]):
      raise DataError(f'the PNG image is damaged: wrong checksum of chunk {number} ({name!r})')
    if name == b'IEND':
      return
  raise DataError(f'the PNG image is truncated: no IEND chunk in {len(data)} bytes')
