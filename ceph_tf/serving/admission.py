"""Which images are answered: one bad image must not fail, or colour, the others of its batch.

Graph code has no `try`; a `tf.data` chain that ignores errors is one, and runs wherever a
SavedModel does. The size is read from the header first, so that a small file which unfolds to
gigabytes is refused before memory is taken for it.
"""

import functools
import typing
from collections.abc import Callable

import tensorflow as tf

from ceph_tf import geometry
from ceph_tf.config import InputConfig
from ceph_tf.data import preprocess

MIN_SIDE_PX = 32
MAX_PIXELS = 2**26  # 8192 x 8192; a cephalogram has 2**22
STATUSES = (
    'ok',
    'not_an_image',  # neither JPEG nor PNG nor BMP
    'damaged',       # truncated, or cannot be decoded
    'too_small',     # a side of less than MIN_SIDE_PX
    'too_large',     # more than MAX_PIXELS
    'blank',         # no contrast: nothing to see
    'not_finite',    # gray values that are NaN or infinite
    'bad_spacing',   # neither a length above 0 nor NaN
)
_OK = STATUSES.index('ok')
_FORMATS = {'jpeg': b'\xff\xd8\xff', 'png': b'\x89PNG\r\n\x1a\n', 'bmp': b'BM'}
_BLANK = 0.5  # a standardized image exceeds 1 somewhere, unless it is constant


class Admitted(typing.NamedTuple):
  """Network images, zero where refused.

  Attributes:
    images: float32 [B, H, W, 1].
    frame: of shape [B, 2], of a placeholder where refused.
    code: int32 [B], positions in `STATUSES`.
  """

  images: tf.Tensor
  frame: geometry.Frame
  code: tf.Tensor

  @property
  def ok(self) -> tf.Tensor:
    return tf.equal(self.code, _OK)

  @property
  def status(self) -> tf.Tensor:
    """string [B], of `STATUSES`."""
    return tf.gather(tf.constant(STATUSES), self.code)

  def with_spacing(self, spacing_mm: tf.Tensor) -> 'Admitted':
    """Refuses images whose spacing, float32 [B], is no length; NaN is an unknown one."""
    fine = tf.math.is_nan(spacing_mm) | (tf.math.is_finite(spacing_mm) & (spacing_mm > 0))
    return self._replace(code=_first(self.code, fine, 'bad_spacing'))


def attempt(function: Callable, data: tf.Tensor, otherwise: tf.Tensor) -> tf.Tensor:
  """`function(data)`, or `otherwise` where that raises; of one type and rank.

  The function should hold no `tf.cond`: each call makes all of its branches anew.
  """
  options = tf.data.Options()  # nothing to tune or to rewrite in a chain of one
  options.autotune.enabled = False
  options.experimental_optimization.apply_default_optimizations = False
  tried = tf.data.Dataset.from_tensors(data).map(function).ignore_errors().with_options(options)
  return tried.reduce(otherwise, lambda _, value: value)


def admit_bytes(image_bytes: tf.Tensor, cfg: InputConfig) -> Admitted:
  """Image files, string [B], of any size each and any content."""
  return _each(functools.partial(_one_file, cfg=cfg), image_bytes, cfg)


def admit_images(image: tf.Tensor, cfg: InputConfig) -> Admitted:
  """Gray images, float32 [B, h, w, 1], of any intensity scale."""
  return _each(lambda one: _network_image(one, _size_code(tf.shape(one)[:2]), cfg), image, cfg)


def _each(admit_one: Callable, batch: tf.Tensor, cfg: InputConfig) -> Admitted:
  frame = geometry.Frame(tf.TensorSpec([2]), tf.TensorSpec([2]))
  return tf.map_fn(admit_one, batch, fn_output_signature=Admitted(
      tf.TensorSpec([cfg.height, cfg.width, 1]), frame, tf.TensorSpec([], tf.int32)))


def _one_file(data: tf.Tensor, cfg: InputConfig) -> Admitted:
  code = _first(_size_code(header_size(data)), is_format(data), 'not_an_image')

  def run(decoder, data):
    kind = tf.uint16 if decoder is preprocess.decode_16_bit else tf.uint8
    return attempt(decoder, data, tf.zeros([0, 0, 0], kind))

  def decoded():
    gray = preprocess.decode_gray(data, run)
    return tf.cond(tf.size(gray) > 0, lambda: (gray, _OK),
                   lambda: (_placeholder(), STATUSES.index('damaged')))

  gray, code = tf.cond(tf.equal(code, _OK), decoded, lambda: (_placeholder(), code))
  return _network_image(gray, code, cfg)


def is_format(data: tf.Tensor) -> tf.Tensor:
  """Does a file (string scalar) start like one of the formats that are decoded?"""
  return tf.reduce_any([tf.equal(tf.strings.substr(data, 0, len(magic)), magic)
                        for magic in _FORMATS.values()])


def header_size(data: tf.Tensor) -> tf.Tensor:
  """Height and width, int32 [2], of a JPEG, PNG or BMP file (string scalar), by its header.

  -1 where the header is damaged, or the file none of these.
  """
  nothing, length = tf.constant([-1, -1]), tf.strings.length(data)

  def starts(name):
    return tf.equal(tf.strings.substr(data, 0, len(_FORMATS[name])), _FORMATS[name])

  def png():
    return tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.int32, little_endian=False)[::-1]

  def bmp():  # a negative height: rows from the top
    return tf.abs(tf.io.decode_raw(tf.strings.substr(data, 18, 8), tf.int32))[::-1]

  def jpeg():
    return attempt(lambda one: tf.image.extract_jpeg_shape(one)[:2], data, nothing)

  return tf.case([(starts('png') & (length >= 24), png), (starts('bmp') & (length >= 26), bmp),
                  (starts('jpeg'), jpeg)], default=lambda: nothing)


def _size_code(size_hw: tf.Tensor) -> tf.Tensor:
  code = _first(_OK, tf.reduce_min(size_hw) >= MIN_SIDE_PX, 'too_small')
  code = _first(code, tf.reduce_prod(tf.cast(size_hw, tf.float32)) <= MAX_PIXELS, 'too_large')
  return _first(code, tf.reduce_min(size_hw) >= 0, 'damaged')


def _network_image(gray: tf.Tensor, code: tf.Tensor, cfg: InputConfig) -> Admitted:
  acceptable = tf.equal(code, _OK)
  gray = tf.cond(acceptable, lambda: gray, _placeholder)
  image, frame = preprocess.to_network_image(gray, cfg)
  finite = tf.reduce_all(tf.math.is_finite(image))
  # A refused image has a placeholder, which is blank: its own code stays.
  seen = _first(_first(_OK, tf.reduce_max(tf.abs(image)) >= _BLANK, 'blank'), finite, 'not_finite')
  code = tf.where(acceptable, seen, code)
  return Admitted(tf.where(tf.equal(code, _OK), image, 0), frame, code)


def _placeholder() -> tf.Tensor:
  return tf.zeros([MIN_SIDE_PX, MIN_SIDE_PX, 1])


def _first(code: tf.Tensor | int, fine: tf.Tensor, otherwise: str) -> tf.Tensor:
  """`code` where `fine`, else the code of `otherwise`."""
  return tf.where(fine, code, STATUSES.index(otherwise))
