import struct

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ceph_tf.data import codec, preprocess
from ceph_tf.data.records import DataError

GRAY = np.random.default_rng(0).integers(0, 256, (37, 50)).astype(np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (37, 50, 3)).astype(np.uint8)
DEEP = np.random.default_rng(2).integers(0, 65536, (37, 50)).astype(np.uint16)


def encode(suffix: str, image: np.ndarray) -> bytes:
  return cv2.imencode(suffix, image)[1].tobytes()


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp', '.tiff'])
@pytest.mark.parametrize('image', [GRAY, COLOUR], ids=['gray', 'colour'])
def test_every_format_becomes_decodable_and_keeps_its_size(suffix, image):
  data = codec.to_decodable(encode(suffix, image))
  assert codec.image_size(data) == (37, 50)
  codec.check_whole(data)
  assert preprocess.decode_gray(data).shape == (37, 50, 1)


@pytest.mark.parametrize('suffix', ['.tiff', '.png'])
def test_sixteen_bits_stay_sixteen(suffix):
  data = codec.to_decodable(encode(suffix, DEEP))
  np.testing.assert_array_equal(tf.io.decode_png(data, dtype=tf.uint16)[..., 0], DEEP)


@pytest.mark.parametrize('image', [GRAY, COLOUR], ids=['gray', 'colour'])
def test_tiff_keeps_its_pixels(image):
  data = codec.to_decodable(encode('.tiff', image))
  np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), -1), image)


def test_jpeg_png_and_plain_bmp_are_left_alone():
  for suffix in ('.jpg', '.png', '.bmp'):
    data = encode(suffix, GRAY)
    assert codec.to_decodable(data) is data


def test_bmp_with_an_inverted_palette_is_transcoded():
  data = bytearray(encode('.bmp', GRAY))
  palette = np.arange(255, -1, -1, dtype=np.uint8)[:, None].repeat(4, 1)
  data[54:54 + 1024] = palette.tobytes()
  gray = preprocess.decode_gray(codec.to_decodable(bytes(data)))[..., 0]
  np.testing.assert_allclose(gray * 255, 255 - GRAY.astype(np.float32), atol=1e-2)


def test_bmp_top_down():
  data = bytearray(encode('.bmp', COLOUR))
  data[22:26] = struct.pack('<i', -37)
  assert codec.image_size(bytes(data)) == (37, 50)


def test_floating_point_tiff_is_refused():
  with pytest.raises(DataError, match='float32'):
    codec.to_decodable(encode('.tiff', GRAY.astype(np.float32)))


@pytest.mark.parametrize('data,message', [
    (b'', '0 bytes'), (b'GIF89a', 'GIF89a'), (b'\xff\xd8\xff\xe0\0\x10', 'no frame header'),
    (b'\x89PNG\r\n\x1a\n', 'no header'), (b'BM123', 'ends within its header'),
    (b'II*\0\0\0\0\0', 'holds no image')])
def test_what_is_no_image_is_named(data, message):
  with pytest.raises(DataError, match=message):
    codec.image_size(codec.to_decodable(data))


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp'])
@pytest.mark.parametrize('image', [GRAY, COLOUR], ids=['gray', 'colour'])
@pytest.mark.parametrize('part', [0.5, 0.9, -3, -1])
def test_a_cut_file_is_not_whole(suffix, image, part):
  data = encode(suffix, image)
  cut = data[:part] if part < 0 else data[:int(part * len(data))]
  with pytest.raises(DataError, match='truncated'):
    codec.check_whole(cut)


def test_a_lost_end_filled_with_zeros_is_not_whole():
  data = encode('.jpg', GRAY)
  with pytest.raises(DataError, match='truncated'):
    codec.check_whole(data[:-200] + bytes(200))


def test_progressive_jpeg_and_bytes_behind_the_end_are_whole():
  data = cv2.imencode('.jpg', COLOUR, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
  codec.check_whole(data + b'some comment')
  assert codec.image_size(data) == (37, 50)


def test_a_flipped_bit_in_a_png_is_found():
  data = bytearray(encode('.png', GRAY))
  data[200] ^= 1
  with pytest.raises(DataError, match='checksum'):
    codec.check_whole(bytes(data))


def with_orientation(value, order='<', name=b'Exif\0\0', tag=0x0112):
  """A JPEG file whose EXIF block has one entry, of a short."""
  mark = b'II' if order == '<' else b'MM'
  block = name + mark + struct.pack(f'{order}HIHHHIHHI', 42, 8, 1, tag, 3, 1, value, 0, 0)
  jpeg = encode('.jpg', GRAY)
  return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(block) + 2) + block + jpeg[2:]


@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('value', [1, 3, 6, 8])
def test_orientation_is_read_as_opencv_reads_it(order, value):
  data = with_orientation(value, order)
  assert codec.exif_orientation(data) == value
  turned = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
  assert turned.shape == ((37, 50) if value < 5 else (50, 37))


@pytest.mark.parametrize('data', [
    encode('.jpg', GRAY), with_orientation(0), with_orientation(9), with_orientation(6, name=b'Else\0\0'),
    with_orientation(6, tag=0x0100), with_orientation(6)[:30], b'\xff\xd8\xff\xe1\0\x0aExif\0\0II'])
def test_without_a_valid_orientation_it_is_upright(data):
  assert codec.exif_orientation(data) == 1


def test_an_orientation_may_be_stated_in_a_later_block():
  plain, first, turned = encode('.jpg', GRAY), with_orientation(1), with_orientation(6)
  block = first[2:2 + len(first) - len(plain)]
  assert codec.exif_orientation(turned[:2] + block + turned[2:]) == 6


def test_what_viewers_turn_is_no_image_for_training_either():
  with pytest.raises(DataError, match=r'JPEG image is stored turned \(EXIF orientation 6\)'):
    codec.to_decodable(with_orientation(6))
