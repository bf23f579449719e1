"""A stand-in for TensorFlow Serving: its two ports, in front of real SavedModels.

gRPC speaks with the real protos. REST follows https://www.tensorflow.org/tfx/serving/api_rest and what
`json_tensor.cc` and `http_server.cc` of TensorFlow Serving do: codes, words, how a float is written.
"""

import base64
import concurrent.futures
import contextlib
import http.server
import json
import pathlib
import re
import socket
import struct
import threading
import time

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
  get_model_metadata_pb2,
  get_model_status_pb2,
  model_service_pb2_grpc,
  predict_pb2,
  prediction_service_pb2_grpc,
)

HTTP_CODES = {'INVALID_ARGUMENT': 400, 'NOT_FOUND': 404, 'RESOURCE_EXHAUSTED': 429, 'UNAVAILABLE': 503}
PATH = re.compile(r'/v1/models/([^/:]+)(?:/versions/(\d+))?(:predict|/metadata)?')
HANG_S = 3.0


class Failure(Exception):
  """A status of TensorFlow: code and words."""


class Models:
  """SavedModels in `root`/<name>/<version>/; the newest is served, as with the policy `latest`.

  Attributes:
    faults: what goes wrong with the next requests, one each: a `Failure`, or a name (see `Rest.fail`).
    asked: how many requests came.
  """

  def __init__(self, root: pathlib.Path):
    self.root, self.faults, self.asked = root, [], 0
    self._loaded, self._seen, self._lock = {}, {}, threading.Lock()

  def next_fault(self):
    with self._lock:
      self.asked += 1
      return self.faults.pop(0) if self.faults else None

  def states(self, name: str, version: int | None) -> dict[int, str]:
    """States of the versions that were served once, by number."""
    there = [int(path.name) for path in self.root.glob(f'{name}/*') if path.name.isdigit()]
    seen = self._seen.setdefault(name, set())
    seen.update([max(there)] if there else [])
    return {one: 'AVAILABLE' if one == max(there, default=0) else 'END'
            for one in sorted(seen) if version in (None, one)}

  def path(self, name: str, version: int | None) -> pathlib.Path:
    served = [one for one, state in self.states(name, version).items() if state == 'AVAILABLE']
    if not served:
      asked = f'Latest({name})' if version is None else f'Specific({name}, {version})'
      raise Failure('NOT_FOUND', f'Servable not found for request: {asked}')
    return self.root / name / str(served[0])

  def signature(self, path: pathlib.Path, name: str):
    with self._lock:
      if path not in self._loaded:
        self._loaded[path] = tf.saved_model.load(str(path))
    if name not in self._loaded[path].signatures:
      raise Failure('INVALID_ARGUMENT', f'Serving signature name: "{name}" not found in signature def')
    return self._loaded[path].signatures[name]

  def predict(self, name, version, signature, inputs) -> dict[str, np.ndarray]:
    """`inputs` maps names to arrays, or is a function that makes them from their specifications."""
    serve = self.signature(self.path(name, version), signature or 'serving_default')
    specs = serve.structured_input_signature[1]
    inputs = inputs(specs) if callable(inputs) else inputs
    if inputs.keys() != specs.keys():
      raise Failure('INVALID_ARGUMENT', f'input keys {sorted(inputs)} must be {sorted(specs)}')
    try:
      tensors = {key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()}
      return {key: value.numpy() for key, value in serve(**tensors).items()}
    except (tf.errors.InvalidArgumentError, ValueError, TypeError) as error:
      raise Failure('INVALID_ARGUMENT', str(error)) from error

  def status(self, name, version) -> get_model_status_pb2.GetModelStatusResponse:
    states = self.states(name, version)
    if not states:
      what = f'any versions of model {name}' if version is None else f'version {version} of model {name}'
      raise Failure('NOT_FOUND', f'Could not find {what}')
    answer = get_model_status_pb2.GetModelStatusResponse()
    for one, state in states.items():
      answer.model_version_status.add(version=one, state=state, status={'error_code': 0})
    return answer

  def metadata(self, name, version) -> get_model_metadata_pb2.GetModelMetadataResponse:
    path = self.path(name, version)
    graph = saved_model_pb2.SavedModel.FromString((path / 'saved_model.pb').read_bytes()).meta_graphs[0]
    answer = get_model_metadata_pb2.GetModelMetadataResponse()
    answer.model_spec.name, answer.model_spec.version.value = name, int(path.name)
    answer.metadata['signature_def'].Pack(
        get_model_metadata_pb2.SignatureDefMap(signature_def=graph.signature_def))
    return answer


class Grpc(prediction_service_pb2_grpc.PredictionServiceServicer,
           model_service_pb2_grpc.ModelServiceServicer):

  def __init__(self, models: Models):
    self.models = models

  def _answer(self, request, context, make):
    spec = request.model_spec
    try:
      fault = self.models.next_fault()
      if isinstance(fault, Failure):
        raise fault
      if fault == 'slow':
        time.sleep(HANG_S)
      return make(spec.name, spec.version.value if spec.HasField('version') else None)
    except Failure as failure:
      context.abort(grpc.StatusCode[failure.args[0]], failure.args[1])

  def Predict(self, request, context):
    def make(name, version):
      inputs = {key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()}
      found = self.models.predict(name, version, request.model_spec.signature_name, inputs)
      return predict_pb2.PredictResponse(
          outputs={key: tf.make_tensor_proto(value) for key, value in found.items()})
    return self._answer(request, context, make)

  def GetModelStatus(self, request, context):
    return self._answer(request, context, self.models.status)

  def GetModelMetadata(self, request, context):
    return self._answer(request, context, self.models.metadata)


class Rest(http.server.BaseHTTPRequestHandler):
  protocol_version = 'HTTP/1.1'
  models: Models

  def log_message(self, *_):
    pass

  def do_GET(self):
    self.respond(None)

  def do_POST(self):
    self.respond(self.rfile.read(int(self.headers['Content-Length'])))

  def respond(self, body):
    try:
      fault = self.models.next_fault()
      if isinstance(fault, Failure):
        raise fault
      if fault and self.fail(fault):
        return
      self.send(200, self.answer(body))
    except Failure as failure:
      self.send(HTTP_CODES[failure.args[0]], json.dumps({'error': failure.args[1]}))

  def fail(self, fault) -> bool:
    if fault == 'slow':
      time.sleep(HANG_S)
    elif fault == 'garbage':
      self.send(200, '<html>welcome</html>')
    elif fault == 'other':
      self.send(200, '{"predictions": [{"points_px": [[1.0], [2.0, 3.0]]}]}')
    elif fault == 'fewer':
      self.send(200, '{"predictions": [{"mha": [1.0]}]}')
    elif fault == 'nowhere':
      self.send(404, '<html>no such page</html>', 'text/html')
    elif fault == 'too_large':
      self.send(413, 'Payload Too Large', 'text/plain')
    elif fault == 'reset':
      self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"predictions"')
      self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
      self.close_connection = True
    elif fault == 'trickle':
      with contextlib.suppress(OSError):
        self.wfile.write(b'HTTP/1.1 200 OK\r\nX-Slow: ')
        for _ in range(int(HANG_S / 0.05)):
          self.wfile.write(b'.')
          time.sleep(0.05)
    return fault != 'slow'

  def send(self, code, text, kind='application/json'):
    with contextlib.suppress(OSError):  # the client may have left
      self.send_response(code)
      self.send_header('Content-Type', kind)
      self.send_header('Content-Length', str(len(text.encode())))
      self.end_headers()
      self.wfile.write(text.encode())

  def answer(self, body) -> str:
    match = PATH.fullmatch(self.path)
    if not match or (match[3] == ':predict') != (body is not None):
      raise Failure('INVALID_ARGUMENT', f'Malformed request: {self.command} {self.path}')
    name, version = match[1], int(match[2]) if match[2] else None
    if body is None:
      found = (self.models.metadata if match[3] else self.models.status)(name, version)
      return json_format.MessageToJson(
          found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return predict_json(self.models, name, version, body)


def predict_json(models, name, version, body) -> str:
  try:
    content = json.loads(body)
  except ValueError as error:
    raise Failure('INVALID_ARGUMENT', f'JSON Parse error: {error}') from error
  rows = 'instances' in content
  if rows == ('inputs' in content):
    raise Failure('INVALID_ARGUMENT', "Missing 'inputs' or 'instances' key")

  def inputs(specs):
    values = content['instances'] if rows else content['inputs']
    if not rows:
      return {key: parsed(value) for key, value in values.items()}
    if not values or any(one.keys() != specs.keys() for one in values):
      raise Failure('INVALID_ARGUMENT', f'keys must be equal to: {",".join(sorted(specs))}')
    return {key: [parsed(one[key]) for one in values] for key in specs}

  found = models.predict(name, version, content.get('signature_name', ''), inputs)
  if not rows:
    return written({'outputs': {key: shown(key, value) for key, value in found.items()}})
  count = len(next(iter(found.values())))
  return written({'predictions': [{key: shown(key, value[k]) for key, value in found.items()}
                                  for k in range(count)]})


def parsed(value):
  """A JSON value with its base64 decoded."""
  if isinstance(value, list):
    return [parsed(one) for one in value]
  if isinstance(value, float) and np.finfo(np.float32).max < abs(value) < np.inf:
    raise Failure('INVALID_ARGUMENT', f'Cannot convert {value} to float without loss of precision')
  return base64.b64decode(value['b64'], validate=True) if isinstance(value, dict) else value


def shown(name, value):
  """Lists of what `written` takes; bytes are base64 only where the name says so."""
  if isinstance(value, np.ndarray) and value.ndim:
    return [shown(name, one) for one in value]
  if isinstance(value, bytes):
    return {'b64': base64.b64encode(value).decode()} if name.endswith('_bytes') else value.decode()
  return value.item() if value.dtype != np.float32 else value


def written(value) -> str:
  """JSON in which a float32 is as short as it can be, never whole, and may be NaN."""
  if isinstance(value, dict):
    return '{' + ', '.join(f'{json.dumps(key)}: {written(one)}' for key, one in value.items()) + '}'
  if isinstance(value, list):
    return '[' + ', '.join(map(written, value)) + ']'
  if not isinstance(value, np.floating) or not np.isfinite(value):
    return json.dumps(float(value) if isinstance(value, np.floating) else value)
  text = f'{value:.6g}'
  text = text if np.float32(text) == value else f'{value:.9g}'
  return text if '.' in text or 'e' in text else f'{text}.0'


@contextlib.contextmanager
def rest(models: Models, port: int = 0):
  """Yields the URL of a REST server."""
  server = http.server.ThreadingHTTPServer(('127.0.0.1', port), type('Handler', (Rest,), {'models': models}))
  server.daemon_threads = True
  thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
  thread.start()
  try:
    yield f'http://127.0.0.1:{server.server_address[1]}'
  finally:
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def grpc_server(models: Models, port: int = 0, max_bytes: int = -1):
  """Yields the address of a gRPC server that takes messages of up to `max_bytes`."""
  server = grpc.server(concurrent.futures.ThreadPoolExecutor(4),
                       options=[('grpc.max_receive_message_length', max_bytes)])
  prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Grpc(models), server)
  model_service_pb2_grpc.add_ModelServiceServicer_to_server(Grpc(models), server)
  port = server.add_insecure_port(f'127.0.0.1:{port}')
  server.start()
  try:
    yield f'127.0.0.1:{port}'
  finally:
    server.stop(None)
