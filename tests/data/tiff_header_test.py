import struct

import cv2
import numpy as np
import pytest

from ceph_tf.data import tiff_header
from ceph_tf.data.records import DataError


def tiff(shape):
  return cv2.imencode('.tiff', np.zeros(shape, np.uint8))[1].tobytes()


@pytest.mark.parametrize(('shape', 'size'), [((7, 300), (7, 300, 1)), ((301, 5, 3), (301, 5, 3))])
def test_size_is_that_of_the_image(shape, size):
  assert tiff_header.size(tiff(shape)) == size


@pytest.mark.parametrize('order', ['<', '>'])
def test_big_tiff_of_both_byte_orders(order):
  entries = [(256, 16, 1, 90000), (257, 4, 1, 70000)]
  data = (b'II' if order == '<' else b'MM') + struct.pack(order + 'HHHQQ', 43, 8, 0, 16, len(entries))
  for tag, kind, count, value in entries:
    data += struct.pack(order + 'HHQ' + ('Q' if kind == 16 else 'I4x'), tag, kind, count, value)
  assert tiff_header.size(data) == (70000, 90000, 1)


def test_the_largest_counts_where_a_width_is_stated_twice():
  data = b'II' + struct.pack('<HIH', 42, 8, 3)
  for tag, value in ((256, 90000), (256, 5), (257, 6)):
    data += struct.pack('<HHII', tag, 4, 1, value)
  assert tiff_header.size(data) == (6, 90000, 1)


PAGES = [np.zeros((40, 30), np.uint8)] * 3


def with_kind(data, page, kind):
  """The file whose page number `page` states a NewSubfileType."""
  data, at = bytearray(data), 0
  for _ in range(page + 1):
    at = data.index(struct.pack('<HHI', 254, 4, 1), at + 1)
  data[at + 8:at + 12] = struct.pack('<I', kind)
  return bytes(data)


def made(*entries, order='<'):
  """A file of one directory, of shorts."""
  return ((b'II' if order == '<' else b'MM') + struct.pack(order + 'HIH', 42, 8, len(entries))
          + b''.join(struct.pack(order + 'HHIHxx', tag, 3, 1, value) for tag, value in entries) + bytes(4))


@pytest.mark.parametrize('count', [2, 3])
def test_several_images_are_refused(count):
  data = cv2.imencodemulti('.tiff', PAGES[:count])[1].tobytes()
  with pytest.raises(DataError, match=f'holds {count} images'):
    tiff_header.check_one_plain_image(data)


@pytest.mark.parametrize('kind', [1, 4])
def test_a_thumbnail_or_a_mask_behind_the_image_does_not_count(kind):
  tiff_header.check_one_plain_image(with_kind(cv2.imencodemulti('.tiff', PAGES[:2])[1].tobytes(), 1, kind))


def test_an_image_behind_its_thumbnail_is_refused():
  data = with_kind(cv2.imencodemulti('.tiff', PAGES[:2])[1].tobytes(), 0, 1)
  with pytest.raises(DataError, match='begins with a small version'):
    tiff_header.check_one_plain_image(data)
  with pytest.raises(DataError, match='begins with a small version'):
    tiff_header.check_one_plain_image(made((255, 2), (256, 30), (257, 40)))


def test_directories_that_refer_to_each_other_count_once():
  data = made((256, 30), (257, 40))
  tiff_header.check_one_plain_image(data[:-4] + struct.pack('<I', 8))


@pytest.mark.parametrize(('more', 'words'), [
    ([(258, 16), (262, 0)], '0 is white'), ([(258, 16), (277, 3), (284, 2)], 'one plane per colour')])
@pytest.mark.parametrize('order', ['<', '>'])
def test_what_the_decoder_reads_wrongly_is_refused(more, words, order):
  with pytest.raises(DataError, match=words):
    tiff_header.check_one_plain_image(made((256, 30), (257, 40), *more, order=order))
  tiff_header.check_one_plain_image(made((256, 30), (257, 40), (258, 8), *more[1:], order=order))


def test_bits_of_several_colours_are_found_where_they_lie():
  planes = cv2.imencode('.tiff', np.zeros((40, 30, 3), np.uint16))[1].tobytes()
  tiff_header.check_one_plain_image(planes)
  entry = planes.index(struct.pack('<HHI', 284, 3, 1))
  with pytest.raises(DataError, match='one plane per colour'):
    tiff_header.check_one_plain_image(planes[:entry + 8] + struct.pack('<H', 2) + planes[entry + 10:])


@pytest.mark.parametrize(('data', 'turned'), [
    (made((274, 6)), 6), (made((274, 8), order='>'), 8), (made((256, 3)), 1), (made((274, 99)), 1), (b'', 1),
    (made((274, 6))[:9], 1)])
def test_orientation(data, turned):
  assert tiff_header.orientation(data) == turned


@pytest.mark.parametrize('start', [b'II*\0' + bytes(4), b'MM\0*' + bytes(4), b'II+\0\x08\0\0\0' + bytes(8)])
def test_a_file_without_a_directory_is_refused(start):
  for refuse in (tiff_header.size, tiff_header.check_one_plain_image):
    with pytest.raises(DataError, match='holds no image'):
      refuse(start + b'pixels')


def test_damaged_headers_are_refused():
  whole = tiff((7, 300))
  at = struct.unpack_from('<I', whole, 4)[0]
  for length in (3, 7, at + 1, at + 20):
    with pytest.raises(DataError, match=f'ends within its header, after {length} bytes'):
      tiff_header.size(whole[:length])
  with pytest.raises(DataError, match='states no width or height'):
    tiff_header.size(whole[:at] + b'\0\0')
