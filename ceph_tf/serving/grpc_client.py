"""Asks TensorFlow Serving about films over gRPC: less to send than over REST, and no text to parse."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ceph_tf.serving.client import Client, ServingError

try:
  import grpc
  from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
  )
except ImportError as error:
  raise ImportError(
      f"{error}: GrpcClient needs an extra: pip install -c constraints.txt -e '.[serving]'") from error

_SIGNATURE = 'serving_default'
_OPTIONS = [
    # Answers about many films with many samples exceed the 4 MB that gRPC takes by default.
    ('grpc.max_receive_message_length', -1), ('grpc.max_send_message_length', -1),
    # We count repetitions ourselves, and each shall connect anew.
    ('grpc.enable_retries', 0), ('grpc.use_local_subchannel_pool', 1),
    ('grpc.initial_reconnect_backoff_ms', 100), ('grpc.max_reconnect_backoff_ms', 100),
    ('grpc.enable_http_proxy', 0),
]
_KINDS = {
    'UNAVAILABLE': 'unavailable', 'RESOURCE_EXHAUSTED': 'unavailable', 'DEADLINE_EXCEEDED': 'timeout',
    'NOT_FOUND': 'no_model', 'INVALID_ARGUMENT': 'refused', 'FAILED_PRECONDITION': 'refused',
    'OUT_OF_RANGE': 'refused', 'UNIMPLEMENTED': 'no_sense',
}


class GrpcClient(Client):
  """`address` is like 'localhost:8500'. Close it, or use it in a `with`. See `Client` for what it does.

  Args:
    address: of the server's gRPC port.
    model, version, timeout_s, retries: as for `RestClient`.
    credentials: `grpc.ChannelCredentials` of an encrypted connection.

  Raises:
    ValueError: the address is none.
  """

  def __init__(self, address: str, model: str, version: int | None = None, timeout_s: float = 60.0,
               retries: int = 3, credentials: grpc.ChannelCredentials | None = None):
    super().__init__(model, version, timeout_s, retries)
    _check(address)
    self.address = address
    self._channel = (grpc.insecure_channel(address, _OPTIONS) if credentials is None
                     else grpc.secure_channel(address, credentials, _OPTIONS))
    self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
    self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

  def close(self) -> None:
    self._channel.close()

  def __enter__(self) -> 'GrpcClient':
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def _predict(self, files: list[bytes], spacing_mm: list[float], left_s: float) -> dict[str, np.ndarray]:
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = _SIGNATURE
    request.inputs['image_bytes'].CopyFrom(tf.make_tensor_proto(files, tf.string))
    request.inputs['spacing_mm'].CopyFrom(tf.make_tensor_proto(spacing_mm, tf.float32))
    answer = self._call(self._predictions.Predict, request, self.version, left_s)
    return {name: _array(tf.make_ndarray(tensor)) for name, tensor in answer.outputs.items()}

  def _status(self, version: int | None, left_s: float) -> dict[int, str]:
    answer = self._call(self._models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest(),
                        version, left_s)
    name = get_model_status_pb2.ModelVersionStatus.State.Name
    return {one.version: name(one.state) for one in answer.model_version_status}

  def _call(self, method: Callable, request, version: int | None, left_s: float):
    request.model_spec.name = self.model
    if version is not None:
      request.model_spec.version.value = version
    try:
      return method(request, timeout=max(left_s, 0))
    except grpc.RpcError as error:
      code = error.code().name
      if 'Failed parsing HTTP/2' in (error.details() or ''):  # somebody answers, but no gRPC server
        code = 'UNIMPLEMENTED'
      at = '' if version is None else f' version {version}'
      asked = f'{type(request).__name__} for {self.model}{at} to {self.address}'
      raise ServingError(_KINDS.get(code, 'failed'), asked, f'{code}, {error.details()}') from error


def _check(address: str) -> None:
  """gRPC takes anything for an address, and a server that is not there for one that is busy."""
  host, _, port = address.rpartition(':')
  plain = host and '/' not in host and port.isascii() and port.isdecimal() and 0 < int(port) < 2**16
  if not plain and not address.startswith(('unix:', 'dns:')):
    raise ValueError(f'address={address!r}: allowed is HOST:PORT')


def _array(value: np.ndarray) -> np.ndarray:
  return np.array([one.decode() for one in value]) if value.dtype == object else value
