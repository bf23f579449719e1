"""Both clients against a stand-in for TensorFlow Serving that runs a real SavedModel."""

import contextlib
import importlib.util
import json
import math
import pathlib
import shutil
import socket
import threading
import time
import urllib.request

import cv2
import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_service_pb2_grpc

from ceph_tf import seeds
from ceph_tf.serving import client as module
from ceph_tf.serving.client import ADVICE, RestClient, ServingError
from ceph_tf.serving.grpc_client import GrpcClient
from ceph_tf.uncertainty import fitted as fitting

SPEC = importlib.util.spec_from_file_location('stand_in', pathlib.Path(__file__).with_name('stand_in.py'))
stand_in = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(stand_in)

BUSY = stand_in.Failure('UNAVAILABLE', 'the queue is full')
TOO_MANY = stand_in.Failure('RESOURCE_EXHAUSTED', 'too many requests')
CLIENTS = pytest.mark.parametrize('kind', ['rest', 'grpc'])


def picture(seed, height=90, width=70, extension='.png'):
  small = np.random.default_rng(seed).uniform(0, 255, (9, 7)).astype(np.uint8)
  return cv2.imencode(extension, cv2.resize(small, (width, height)))[1].tobytes()


FILES = [picture(0), b'no image', picture(1, 50, 120, '.jpg'), picture(2)[:-40] + b'\0', b'']
SPACING_MM = [0.1, 0.1, math.nan, 0.3, -1.0]


def some_fitted():
  rng = seeds.rng(0, 'fitted')
  return fitting.fit(
      rng.normal(size=(40, 12)), rng.normal(size=(40, 1, 12)), rng.normal(size=(40, 19, 2)),
      np.broadcast_to(np.eye(2), (40, 19, 2, 2)), rng.gamma(2, size=(40, 1, 19)),
      coverage=0.9, bins=5, alpha=0.05)


@pytest.fixture(scope='module')
def root(tmp_path_factory, predictor):
  folder = tmp_path_factory.mktemp('saved_models')
  predictor('mc_dropout', some_fitted()).export(folder / 'm' / '1')
  shutil.copytree(folder / 'm' / '1', folder / 'm' / '2')
  (folder / 'm' / '.lock').touch()
  return folder


@pytest.fixture(scope='module')
def servers(root):
  models = stand_in.Models(root)
  with stand_in.rest(models) as url, stand_in.grpc_server(models) as address:
    yield models, {'rest': url, 'grpc': address}


@pytest.fixture
def connect(servers, monkeypatch):
  """Makes a client; `connect.models` are what it talks to."""
  monkeypatch.setattr(module, '_PAUSE_S', 0.02)
  models, addresses = servers
  models.faults, models.asked = [], 0
  made = []

  def run(kind, model='m', address=None, **options):
    made.append({'rest': RestClient, 'grpc': GrpcClient}[kind](address or addresses[kind], model, **options))
    return made[-1]

  run.models = models
  yield run
  for one in made:
    if isinstance(one, GrpcClient):
      one.close()


def failure(call, *args):
  """The `ServingError` of a call: one line that ends in its advice."""
  with pytest.raises(ServingError) as caught:
    call(*args)
  error = caught.value
  assert '\n' not in str(error) and ADVICE[error.kind] in str(error) and error.asked in str(error)
  return error


def free_port():
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    return probe.getsockname()[1]


@CLIENTS
def test_the_answer_is_the_saved_models_to_the_last_bit(connect, root, kind):
  direct = tf.saved_model.load(str(root / 'm' / '2')).signatures['serving_default'](
      image_bytes=tf.constant(FILES), spacing_mm=tf.constant(SPACING_MM))
  found = connect(kind).predict(FILES, SPACING_MM)
  assert found.keys() == direct.keys()
  assert found['status'].tolist() == ['ok', 'not_an_image', 'ok', 'damaged', 'bad_spacing']
  assert found['status'].dtype.kind == 'U' and isinstance(found['status'][0], str)
  for name in direct.keys() - {'status'}:
    expected = direct[name].numpy()
    assert found[name].dtype == expected.dtype and found[name].shape == expected.shape, name
    np.testing.assert_array_equal(found[name], expected, name)
  assert np.isnan(found['points_px'][1]).all() and np.isnan(found['points_mm'][2]).all()
  assert found['refer'].dtype == bool and found['bin'].dtype == np.int32


@CLIENTS
def test_an_unknown_spacing_gives_pixels_and_no_mm(connect, kind):
  found = connect(kind).predict(FILES[:1])
  assert found['status'].tolist() == ['ok'] and found['samples_px'].shape == (1, 4, 19, 2)
  assert np.isfinite(found['points_px']).all() and np.isnan(found['points_mm']).all()


@CLIENTS
def test_a_spacing_beyond_float32_is_infinite(connect, kind):
  """JSON could say it, but TensorFlow Serving would refuse the whole batch."""
  assert connect(kind).predict(FILES[:1], [1e39])['status'].tolist() == ['bad_spacing']


@CLIENTS
@pytest.mark.parametrize('files, spacing, words', [
    ([], None, 'image_bytes'), (['film.png'], None, 'image_bytes'), (b'film', None, 'image_bytes'),
    ([b'a', b'b'], [0.1], '1,.* 2 images'), ([b'a'], 0.1, 'one each')])
def test_arguments_that_do_not_fit_are_not_sent(connect, kind, files, spacing, words):
  with pytest.raises(ValueError, match=words):
    connect(kind).predict(files, spacing)
  assert connect.models.asked == 0


@CLIENTS
def test_status_and_versions(connect, kind):
  assert connect(kind).status() == connect(kind, version=2).status() == {2: 'AVAILABLE'}
  assert connect(kind).ready() and connect(kind, version=2).ready()
  assert not connect(kind, 'other').ready() and not connect(kind, version=1).ready()
  assert connect(kind, version=2).predict(FILES[:1])['status'][0] == 'ok'


@CLIENTS
def test_back_and_forward_by_moving_folders(connect, root, tmp_path, kind):
  shutil.copytree(root / 'm', tmp_path / 'm')
  newest, aside = tmp_path / 'm' / '2', tmp_path / 'm' / '2.bad'
  serve = {'rest': stand_in.rest, 'grpc': stand_in.grpc_server}[kind]
  with serve(stand_in.Models(tmp_path)) as address:
    client, pinned = connect(kind, address=address), connect(kind, address=address, version=2)
    for _ in range(2):
      assert client.status()[2] == 'AVAILABLE' and pinned.ready()
      newest.rename(aside)
      assert client.status() == {1: 'AVAILABLE', 2: 'END'} and not pinned.ready()
      assert client.predict(FILES[:1])['status'][0] == 'ok'
      assert 'there are 1 (AVAILABLE), 2 (END)' in str(failure(pinned.predict, FILES))
      aside.rename(newest)
    assert client.status() == {1: 'END', 2: 'AVAILABLE'}


@CLIENTS
@pytest.mark.parametrize('fault', [BUSY, TOO_MANY])
def test_what_may_pass_is_asked_again_and_counted(connect, kind, fault):
  connect.models.faults = [fault, fault]
  assert connect(kind, retries=2).predict(FILES[:1])['status'][0] == 'ok'
  assert connect.models.asked == 3
  connect.models.faults = [fault] * 3
  error = failure(connect(kind, retries=2).predict, FILES)
  assert (error.kind, error.attempts, connect.models.asked) == ('unavailable', 3, 6)
  assert fault.args[1] in str(error) and '(asked 3 times)' in str(error)
  connect.models.faults = [fault]
  assert failure(connect(kind, retries=0).status).attempts == 1
  connect.models.faults = [BUSY]
  assert not connect(kind).ready() and connect.models.asked == 8


@CLIENTS
def test_a_pause_is_twice_as_long_each_time(connect, kind, monkeypatch):
  pauses = []
  monkeypatch.setattr(module.time, 'sleep', pauses.append)
  connect.models.faults = [BUSY] * 4
  failure(connect(kind, retries=3).predict, FILES)
  assert pauses == [0.02, 0.04, 0.08]


@CLIENTS
def test_repetitions_end_with_the_time(connect, kind):
  connect.models.faults = [BUSY] * 1000
  start_s = time.monotonic()
  error = failure(connect(kind, retries=1000, timeout_s=0.5).predict, FILES)
  assert error.kind == 'unavailable' and time.monotonic() - start_s < 2.5
  assert 2 <= error.attempts == connect.models.asked < 8


@CLIENTS
def test_an_absent_server(connect, kind):
  address = f'127.0.0.1:{free_port()}'
  client = connect(kind, address=f'http://{address}' if kind == 'rest' else address, retries=1)
  error = failure(client.predict, FILES)
  assert (error.kind, error.attempts) == ('unavailable', 2)
  assert address in str(error) and 'refused' in str(error)
  assert not client.ready()


@CLIENTS
def test_a_server_that_starts_late(connect, root, kind):
  port = free_port()
  models = stand_in.Models(root)
  address = f'127.0.0.1:{port}'
  client = connect(kind, address=f'http://{address}' if kind == 'rest' else address, retries=9, timeout_s=20)
  serve = {'rest': stand_in.rest, 'grpc': stand_in.grpc_server}[kind]
  stop = threading.Event()

  def late():
    time.sleep(0.3)
    with serve(models, port=port):
      stop.wait(20)
  thread = threading.Thread(target=late)
  thread.start()
  try:
    assert client.predict(FILES[:1])['status'][0] == 'ok'
  finally:
    stop.set()
    thread.join()


@pytest.mark.parametrize('kind, fault', [('rest', 'slow'), ('grpc', 'slow'), ('rest', 'trickle')])
def test_a_slow_server_is_not_waited_for(connect, kind, fault):
  connect.models.faults = [fault]
  start_s = time.monotonic()
  error = failure(connect(kind, timeout_s=0.4, retries=5).predict, FILES)
  assert (error.kind, error.attempts, connect.models.asked) == ('timeout', 1, 1)
  assert 0.3 < time.monotonic() - start_s < stand_in.HANG_S - 0.5
  connect.models.faults = [fault]
  assert not connect(kind, timeout_s=0.2).ready()


@CLIENTS
def test_models_and_versions_that_are_not_there(connect, kind):
  error = failure(connect(kind, 'other').predict, FILES)
  assert error.kind == 'no_model' and 'Latest(other)' in str(error) and connect.models.asked == 1
  assert failure(connect(kind, 'other').status).kind == 'no_model'
  assert failure(connect(kind, 'other', version=2).predict, FILES).kind == 'no_model'
  for ask in (lambda client: client.predict(FILES), lambda client: client.status()):
    error = failure(ask, connect(kind, version=9))
    assert error.kind == 'no_version' and 'no version 9; there are 2 (AVAILABLE)' in str(error)


@CLIENTS
@pytest.mark.parametrize('words, expected', [
    ('Matrix\nsize-incompatible', 'refused'),
    ('Task size 40 is larger than maximum input batch size 32', 'too_large')])
def test_a_refused_question_is_not_repeated(connect, kind, words, expected):
  connect.models.faults = [stand_in.Failure('INVALID_ARGUMENT', words)]
  error = failure(connect(kind).predict, FILES)
  assert error.kind == expected and ' '.join(words.split()) in str(error) and connect.models.asked == 1


@CLIENTS
def test_a_wrong_signature(connect, root, kind):
  tf.saved_model.save(tf.Module(), str(root / 'empty' / '1'))
  try:
    error = failure(connect(kind, 'empty').predict, FILES)
    assert error.kind == 'refused' and '"serving_default" not found' in str(error)
  finally:
    shutil.rmtree(root / 'empty')


@pytest.mark.parametrize('fault, kind', [
    ('garbage', 'no_sense'), ('other', 'no_sense'), ('fewer', 'no_sense'), ('nowhere', 'no_sense'),
    ('too_large', 'too_large')])
def test_rest_answers_of_who_knows_whom(connect, fault, kind):
  connect.models.faults = [fault]
  error = failure(connect('rest').predict, FILES[:2])
  assert error.kind == kind and connect.models.asked == 1
  assert fault != 'garbage' or "no JSON but b'<html>welcome" in str(error)
  connect.models.faults = [fault]
  failure(connect('rest').status)


def test_a_connection_lost_midway_is_tried_again(connect):
  connect.models.faults = ['reset']
  assert connect('rest').predict(FILES[:1])['status'][0] == 'ok' and connect.models.asked == 2
  connect.models.faults = ['reset'] * 2
  error = failure(connect('rest', retries=1).predict, FILES)
  assert (error.kind, error.attempts) == ('unavailable', 2)


@CLIENTS
def test_who_hangs_up_at_once(connect, kind, monkeypatch):
  monkeypatch.setattr(module, '_PAUSE_S', 0.2)  # gRPC connects anew after 0.1 s at the earliest
  with socket.create_server(('127.0.0.1', 0)) as server:
    count = []

    def hang_up():
      while True:
        try:
          server.accept()[0].close()
        except OSError:
          return
        count.append(1)
    threading.Thread(target=hang_up, daemon=True).start()
    address = f'127.0.0.1:{server.getsockname()[1]}'
    client = connect(kind, address=f'http://{address}' if kind == 'rest' else address, retries=2, timeout_s=5)
    error = failure(client.predict, FILES)
    server.shutdown(socket.SHUT_RDWR)
  assert (error.kind, error.attempts) == ('unavailable', 3) and len(count) >= 3


def test_who_refuses_a_long_body_before_its_end(connect):
  with socket.create_server(('127.0.0.1', 0)) as server:
    def refuse():
      connection = server.accept()[0]
      connection.recv(1000)
      connection.sendall(b'HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nlong')
      connection.close()
    threading.Thread(target=refuse, daemon=True).start()
    client = connect('rest', address=f'http://127.0.0.1:{server.getsockname()[1]}')
    error = failure(client.predict, [bytes(20 << 20)])
  assert (error.kind, error.attempts) == ('too_large', 1) and 'HTTP 413, long' in str(error)


def test_the_other_port(connect, servers):
  """REST asked of gRPC and the other way round."""
  addresses = servers[1]
  assert failure(connect('rest', address=f'http://{addresses["grpc"]}').predict, FILES).kind in (
      'no_sense', 'unavailable')
  swapped = connect('grpc', address=addresses['rest'].removeprefix('http://'), retries=1, timeout_s=5)
  assert failure(swapped.predict, FILES).kind in ('no_sense', 'unavailable', 'timeout', 'failed')


def test_messages_of_any_size(connect, root):
  """More than the 4 MB that gRPC takes by default pass; a server that takes less says so."""
  large = [FILES[0] + bytes(6 << 20)]
  for kind in ('rest', 'grpc'):
    assert connect(kind).predict(large)['status'].tolist() in (['ok'], ['damaged'])
  models = stand_in.Models(root)
  with stand_in.grpc_server(models, max_bytes=100_000) as address:
    error = failure(connect('grpc', address=address).predict, large)
  assert error.kind == 'too_large' and error.attempts == 1 and models.asked == 0


@contextlib.contextmanager
def answering(*parts):
  """The address of a server that sends the same bytes to everybody, the last ones for ever."""
  with socket.create_server(('127.0.0.1', 0)) as server:
    def answer():
      with contextlib.suppress(OSError):
        while True:
          connection = server.accept()[0]
          threading.Thread(target=speak, args=[connection], daemon=True).start()

    def speak(connection):
      with contextlib.suppress(OSError), connection:
        connection.recv(1 << 20)
        for part in parts:
          connection.sendall(part)
        while not parts[-1].endswith(b'\n'):
          connection.sendall(parts[-1])
        # Closed with a part of the question unread, a connection is reset, and the answer may be lost.
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
          pass

    threading.Thread(target=answer, daemon=True).start()
    yield f'127.0.0.1:{server.getsockname()[1]}'
    server.shutdown(socket.SHUT_RDWR)


def json_answer(text):
  return f'HTTP/1.1 200 OK\r\nContent-Length: {len(text) + 1}\r\n\r\n{text}\n'.encode()


@pytest.mark.parametrize('text', [
    '{"predictions": [[1, 2]]}', '{"predictions": [{}]}', '{"predictions": [{"bin": 1}]}', '[' * 100_000,
    '{"predictions": [{"status": "ok", "bin": 1099511627776}]}', '{"predictions": 3}'])
def test_json_without_sense(text, connect):
  with answering(json_answer(text)) as address:
    error = failure(connect('rest', address=f'http://{address}').predict, FILES[:1])
  assert (error.kind, error.attempts) == ('no_sense', 1)


def test_an_answer_without_end_is_left(connect, monkeypatch):
  monkeypatch.setattr(module, '_MAX_BYTES', 1 << 20)
  with answering(b'HTTP/1.1 200 OK\r\n\r\n', bytes(1 << 16)) as address:
    start = time.monotonic()
    error = failure(connect('rest', address=f'http://{address}', timeout_s=30).predict, FILES[:1])
  assert error.kind == 'no_sense' and 'more than 1048576 bytes' in str(error)
  assert time.monotonic() - start < 20


def test_a_host_of_many_silent_addresses_has_the_time_of_one(connect, monkeypatch):
  asked = []

  def silent(address, left_s):
    asked.append(address)
    time.sleep(left_s)
    raise TimeoutError

  found = [(0, 0, 0, '', (f'10.0.0.{k}', 1)) for k in range(9)]
  monkeypatch.setattr(socket, 'getaddrinfo', lambda *_, **__: found)
  monkeypatch.setattr(socket, 'create_connection', silent)
  start = time.monotonic()
  error = failure(connect('rest', address='http://many:1', timeout_s=0.5).predict, FILES[:1])
  assert error.kind == 'timeout' and time.monotonic() - start < 5 and len(asked) == 1


def test_grpc_asked_of_a_page(connect):
  with answering(b'HTTP/1.1 400 Bad Request\r\nContent-Length: 6\r\n\r\n<html\n') as address:
    client = connect('grpc', address=address, retries=2, timeout_s=20)
    error = failure(client.predict, FILES[:1])
    assert (error.kind, error.attempts) == ('no_sense', 1) and '8501 for REST' in str(error)
    failure(client.ready)


@pytest.mark.parametrize('address', ['', 'localhost', 'localhost:', 'localhost:0', 'localhost:99999',
                                     'http://localhost:8500', 'localhost:port'])
def test_a_grpc_address_that_is_none(address):
  with pytest.raises(ValueError, match='allowed is HOST:PORT'):
    GrpcClient(address, 'm')


@pytest.mark.parametrize('url', [
    'localhost:8501', 'ftp://host', 'http://', '', 'http://host:port', 'http://host:0', 'http://[::1',
    f'http://{70 * "x"}:1', 'http://a..b:1'])
def test_an_address_that_is_none(url):
  with pytest.raises(ValueError, match='allowed is http://HOST:PORT'):
    RestClient(url, 'm')


@pytest.mark.parametrize('options', [{'timeout_s': 0}, {'timeout_s': math.nan}, {'timeout_s': math.inf},
                                     {'retries': -1}])
def test_options_out_of_range(options):
  with pytest.raises(ValueError, match='allowed are'):
    RestClient('http://localhost:8501', 'm', **options)


def test_the_stand_in_speaks_rest_as_documented(servers):
  """Columns, metadata and malformed requests, which the client does not use."""
  url = f'{servers[1]["rest"]}/v1/models/m'

  def ask(path, content=None):
    body = None if content is None else json.dumps(content).encode()
    try:
      with urllib.request.urlopen(url + path, body) as answer:
        return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
      return error.code, json.load(error)

  empty = {'b64': ''}
  code, columns = ask('/versions/2:predict', {'inputs': {'image_bytes': [empty], 'spacing_mm': [math.nan]}})
  assert code == 200 and columns['outputs']['status'] == ['not_an_image']
  code, metadata = ask('/metadata')
  signatures = metadata['metadata']['signature_def']['signature_def']
  assert code == 200 and signatures['serving_default']['inputs']['image_bytes']['dtype'] == 'DT_STRING'
  for wrong in ({}, {'instances': []}, {'instances': [{'image_bytes': empty}]}):
    code, error = ask(':predict', wrong)
    assert code == 400 and list(error) == ['error']
  assert ask('/versions/7')[0] == ask('/versions/7:predict', {'instances': [{}]})[0] == 404


def test_the_stand_in_speaks_grpc_metadata(servers):
  request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=['signature_def'])
  request.model_spec.name = 'm'
  with grpc.insecure_channel(servers[1]['grpc']) as channel:
    answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata(request)
  assert answer.model_spec.version.value == 2 and 'signature_def' in answer.metadata
