"""Requests that TensorFlow Serving answers itself while it loads a model, before anyone waits for it.

The file's records are `tensorflow.serving.PredictionLog` messages. Of those only the few fields below are
needed, so they are encoded here, and pushing a model needs no `tensorflow-serving-api`. Each request must
succeed, or the server refuses the model: there are only signatures that every model of ours has.
"""

import pathlib

import cv2
import numpy as np
import tensorflow as tf

from ceph_tf.config import DataConfig
from ceph_tf.data.datasets import phantom

PATH = 'assets.extra/tf_serving_warmup_requests'  # where TensorFlow Serving looks in a SavedModel
_HEIGHT_PX = 160  # the network sees films of every size in its own, so that a small one warms up as well
_DELIMITED = 2  # wire type of strings and messages


def write(saved_model: pathlib.Path) -> None:
  """Writes the file into a SavedModel's folder; the same bytes every time."""
  file = saved_model / PATH
  file.parent.mkdir(exist_ok=True)
  with tf.io.TFRecordWriter(str(file)) as writer:
    for record in requests():
      writer.write(record)


def requests() -> list[bytes]:
  """One record for each signature that answers with landmarks; each asks about one computed film."""
  film = next(phantom.records(DataConfig(phantom_images=40, phantom_size_px=_HEIGHT_PX), seed=0))
  gray = cv2.imdecode(np.frombuffer(film.image_bytes, np.uint8), cv2.IMREAD_GRAYSCALE)
  spacing_mm = tf.constant([film.spacing_mm], tf.float32)
  return [
      _prediction_log('serving_default', {
          'image_bytes': tf.constant([film.image_bytes]), 'spacing_mm': spacing_mm}),
      _prediction_log('predict_image', {
          'image': tf.constant(gray[None, ..., None], tf.float32), 'spacing_mm': spacing_mm}),
  ]


def _prediction_log(signature: str, inputs: dict[str, tf.Tensor]) -> bytes:
  """PredictionLog{predict_log=6}, PredictLog{request=1}, PredictRequest{model_spec=1, inputs=2}."""
  request = _field(1, _field(3, signature.encode()))  # ModelSpec{signature_name=3}
  for name, value in inputs.items():  # an entry of a map: {key=1, value=2}
    tensor = tf.make_tensor_proto(value).SerializeToString(deterministic=True)
    request += _field(2, _field(1, name.encode()) + _field(2, tensor))
  return _field(6, _field(1, request))


def _field(number: int, content: bytes) -> bytes:
  return bytes([number << 3 | _DELIMITED]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
  """Seven bits a byte, the lowest first; the eighth bit says that there is more."""
  more = value >> 7
  return bytes([value & 0x7f | 0x80]) + _varint(more) if more else bytes([value])
