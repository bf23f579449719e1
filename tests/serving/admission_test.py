"""A bad image is refused by name, and the others of its batch do not notice."""

import struct
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ceph_tf.config import InputConfig
from ceph_tf.data import preprocess
from ceph_tf.serving import admission

CFG = InputConfig(height=64, width=64)


def encoded(extension, height=90, width=70, dtype=np.uint8, channels=1):
  top = np.iinfo(dtype).max
  pixels = np.random.default_rng(0).integers(0, top, (height, width, channels), endpoint=True).astype(dtype)
  return cv2.imencode(extension, pixels)[1].tobytes()


def png_of_size(height, width):
  """A PNG of a few bytes that says it is large, and is consistent up to its data."""
  def chunk(name, data):
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
  header = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
  return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header)
          + chunk(b'IDAT', zlib.compress(b'\0' * 1000)) + chunk(b'IEND', b''))


def jpeg_of_size(height, width):
  data = encoded('.jpg')
  at = data.index(b'\xff\xc0') + 5
  return data[:at] + struct.pack('>HH', height, width) + data[at + 4:]


def bmp_of_size(height, width):
  data = encoded('.bmp')
  return data[:18] + struct.pack('<ii', width, height) + data[26:]


BLANK = cv2.imencode('.png', np.full((90, 70), 128, np.uint8))[1].tobytes()
BAD = {
    b'': 'not_an_image', b'no image': 'not_an_image', b'GIF89a' + bytes(40): 'not_an_image',
    b'BM': 'damaged', b'\xff\xd8\xff': 'damaged', b'\x89PNG\r\n\x1a\n': 'damaged',
    encoded('.jpg')[:-400]: 'damaged', encoded('.png')[:-400]: 'damaged', encoded('.bmp')[:-400]: 'damaged',
    encoded('.png', 1, 1): 'too_small', encoded('.jpg', 31, 500): 'too_small',
    encoded('.bmp', 400, 1): 'too_small',
    png_of_size(30000, 30000): 'too_large', jpeg_of_size(30000, 30000): 'too_large',
    bmp_of_size(30000, 30000): 'too_large', bmp_of_size(-30000, 30000): 'too_large',
    png_of_size(2**31 - 1, 2**31 - 1): 'too_large', png_of_size(2**32 - 1, 90): 'damaged',
    png_of_size(8000, 8000): 'damaged', BLANK: 'blank',
}
GOOD = [encoded('.jpg'), encoded('.png', dtype=np.uint16), encoded('.bmp', channels=3),
        encoded('.png', 32, 32), encoded('.png', channels=4), encoded('.png', dtype=np.uint16, channels=3)]


@pytest.fixture(scope='module')
def admit():
  return tf.function(lambda files: admission.admit_bytes(files, CFG),
                     input_signature=[tf.TensorSpec([None], tf.string)])


def statuses(admitted):
  return [status.decode() for status in admitted.status.numpy()]


def test_each_bad_file_is_refused_by_name_and_the_others_are_answered(admit):
  mixed = [GOOD[0], *BAD, *GOOD]
  admitted = admit(tf.constant(mixed))
  assert statuses(admitted) == ['ok', *BAD.values(), *['ok'] * len(GOOD)]
  for data, image, ok in zip(mixed, admitted.images, admitted.ok, strict=True):
    if ok:  # up to the order of sums
      np.testing.assert_allclose(image, preprocess.encode(tf.constant(data), CFG)[0], rtol=0, atol=1e-5)
    else:
      assert not np.any(image)


@pytest.mark.parametrize('whole', GOOD[:3])
def test_a_file_of_any_beginning_is_refused_without_the_others(admit, whole):
  """A PNG of 16 bytes has no size, which once failed its whole batch."""
  found = statuses(admit(tf.constant([GOOD[0], *(whole[:length] for length in range(80))])))
  assert found[0] == 'ok' and set(found[1:]) == {'not_an_image', 'damaged'}


def test_what_is_refused_as_too_large_takes_no_memory(admit):
  import resource
  admit(tf.constant([GOOD[0]]))
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  assert statuses(admit(tf.constant([png_of_size(30000, 30000)]))) == ['too_large']
  assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200e3  # KiB; decoded it is 900 MB


def test_an_empty_batch_has_an_empty_answer(admit):
  admitted = admit(tf.zeros([0], tf.string))
  assert admitted.images.shape == (0, 64, 64, 1) and statuses(admitted) == []


@pytest.mark.parametrize('fill,status', [
    (np.nan, 'not_finite'), (np.inf, 'not_finite'), (3.0, 'ok'), (1e20, 'blank')])
def test_gray_values(fill, status):
  image = np.random.default_rng(0).uniform(0, 1, (2, 80, 70, 1)).astype(np.float32)
  image[1, 5, 5] = fill
  assert statuses(admission.admit_images(tf.constant(image), CFG)) == ['ok', status]


@pytest.mark.parametrize('shape,status', [((80, 31), 'too_small'), ((80, 80), 'blank')])
def test_images_of_zeros(shape, status):
  assert statuses(admission.admit_images(tf.zeros([1, *shape, 1]), CFG)) == [status]


@pytest.mark.parametrize('spacing,status', [
    (0.1, 'ok'), (np.nan, 'ok'), (0.0, 'bad_spacing'), (-0.1, 'bad_spacing'), (np.inf, 'bad_spacing'),
    (-np.inf, 'bad_spacing')])
def test_spacing(admit, spacing, status):
  admitted = admit(tf.constant([GOOD[0], b'no image'])).with_spacing(tf.constant([spacing, 0.1]))
  assert statuses(admitted) == [status, 'not_an_image']
