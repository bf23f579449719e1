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


def test_pages_without_thumbnails():
  pages = [np.zeros((40, 30), np.uint8)] * 3
  for count in (1, 2, 3):
    assert tiff_header.pages(cv2.imencodemulti('.tiff', pages[:count])[1].tobytes()) == count
  two = bytearray(cv2.imencodemulti('.tiff', pages[:2])[1].tobytes())
  kind = two.rindex(struct.pack('<HHI', 254, 4, 1))  # an entry of the second directory
  two[kind + 8:kind + 12] = struct.pack('<I', 1)
  assert tiff_header.pages(bytes(two)) == 1


def test_directories_that_refer_to_each_other_have_an_end():
  data = b'II' + struct.pack('<HI', 42, 8) + struct.pack('<HHHIII', 1, 256, 4, 1, 5, 8)
  assert tiff_header.pages(data) > 1


def test_damaged_headers_are_refused():
  whole = tiff((7, 300))
  at = struct.unpack_from('<I', whole, 4)[0]
  for length in (3, 7, at + 1, at + 20):
    with pytest.raises(DataError, match=f'ends within its header, after {length} bytes'):
      tiff_header.size(whole[:length])
  with pytest.raises(DataError, match='states no width or height'):
    tiff_header.size(whole[:at] + b'\0\0')
