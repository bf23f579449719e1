"""Asks TensorFlow Serving about films: over REST, with the standard library alone; `grpc_client` over gRPC.

Both clients answer with the outputs that `saved_models/README.md` documents, in the same arrays. A
question is asked again only where what went wrong may pass; an answer depends on nothing but the
question, so asking twice does no harm. `timeout_s` is for all of it: no server can make a caller hang.
"""

import base64
import contextlib
import http.client
import itertools
import json
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence

import numpy as np

ADVICE = {
    'unavailable': 'is a server running there, and not overloaded?',
    'timeout': 'allow more with timeout_s, or send fewer images at once; a server that gives up first '
               'has --rest_api_timeout_in_ms',
    'no_model': 'which models are served is in the models.config the server was started with',
    'no_version': 'leave out version for the newest that is served',
    'refused': 'is this a model that saved_models/README.md describes?',
    'too_large': 'send fewer images at once',
    'no_sense': 'is this TensorFlow Serving? Its ports are 8500 for gRPC, 8501 for REST',
    'failed': "the server's log says more",
}
_PASSING = ('unavailable',)
_PAUSE_S = 0.2  # before the first repetition; twice as long before each further one
_DAY_S = 86400.0
_MAX_BYTES = 2**27  # of an answer: thousands of images


class ServingError(Exception):
  """What was asked of whom, what came back and what to do, in one line.

  Attributes:
    kind: a key of `ADVICE`.
    attempts: how often it was asked.
  """

  def __init__(self, kind: str, asked: str, answer: str):
    if 'larger than max' in answer:  # a message for gRPC, or a request for the largest batch
      kind = 'too_large'
    super().__init__(f'{asked}: {" ".join(answer.split())[:500]}; {ADVICE[kind]}')
    self.kind, self.asked, self.attempts = kind, asked, 1

  def __str__(self) -> str:
    return super().__str__() + (f' (asked {self.attempts} times)' if self.attempts > 1 else '')


class Client:
  """What both clients do; they differ in `_predict` and `_status`, which ask once."""

  def __init__(self, model: str, version: int | None, timeout_s: float, retries: int):
    if not 0 < timeout_s <= _DAY_S or retries < 0:
      raise ValueError(f'timeout_s={timeout_s}, retries={retries}: allowed are seconds > 0, up to a day, and '
                       'counts >= 0')
    self.model, self.version, self.timeout_s, self.retries = model, version, timeout_s, retries

  def predict(self, image_bytes: Sequence[bytes],
              spacing_mm: Sequence[float] | None = None) -> dict[str, np.ndarray]:
    """Landmarks and uncertainty of B image files, by output name.

    Args:
      image_bytes: whole JPEG, PNG or BMP files.
      spacing_mm: mm per pixel of each, NaN where unknown; None: all unknown.

    Returns:
      Arrays [B, ...]: float32, int32, bool, and str for `status`, which is not 'ok' where there is no answer.

    Raises:
      ValueError: the arguments do not fit.
      ServingError: there is no answer for any image.
    """
    files = list(image_bytes)
    if not files or not all(isinstance(file, bytes) for file in files):
      raise ValueError(f'image_bytes={files!r:.60}: allowed is a list of at least one image file as bytes')
    with np.errstate(over='ignore'):  # beyond float32 is infinite, which has a status
      spacing = np.full(len(files), np.nan) if spacing_mm is None else np.asarray(spacing_mm, np.float32)
    if spacing.shape != (len(files),):
      raise ValueError(f'spacing_mm of shape {spacing.shape} for {len(files)} images: '
                       'allowed is a list, one each')
    return self._repeated(lambda left_s: self._predict(files, spacing.tolist(), left_s))

  def status(self) -> dict[int, str]:
    """The states of the model's versions by number: AVAILABLE, LOADING, END and so on.

    Raises:
      ServingError: as for `predict`.
    """
    return self._repeated(lambda left_s: self._status(self.version, left_s))

  def ready(self) -> bool:
    """Whether there is an answer to be had now. Asks once; raises `ServingError` if that cannot change."""
    try:
      return 'AVAILABLE' in self._status(self.version, self.timeout_s).values()
    except ServingError as error:
      if error.kind in ('unavailable', 'timeout', 'no_model'):
        return False
      raise

  def _repeated(self, ask: Callable):
    """`ask(seconds left)`, again where it may help and there is time for it."""
    end_s = time.monotonic() + self.timeout_s
    for attempt in itertools.count():
      pause_s = _PAUSE_S * 2**attempt
      try:
        return ask(end_s - time.monotonic())
      except ServingError as error:
        error.attempts = attempt + 1
        hopeless = error.kind not in _PASSING or attempt >= self.retries
        if hopeless or time.monotonic() + pause_s >= end_s:
          raise self._explained(error, end_s - time.monotonic()) from error.__cause__
      time.sleep(pause_s)

  def _explained(self, error: ServingError, left_s: float) -> ServingError:
    """Servers say the same of an unknown version as of an unknown model: which one is it?"""
    if error.kind == 'no_model' and self.version is not None:
      with contextlib.suppress(ServingError):
        there = ', '.join(f'{number} ({state})' for number, state in self._status(None, left_s).items())
        return ServingError('no_version', error.asked, f'no version {self.version}; there are {there}')
    return error


class RestClient(Client):
  """Over HTTP, `url` like 'http://localhost:8501', without proxies. See `predict`, `status` and `ready`.

  Args:
    url: of the server, as https behind a gateway that encrypts.
    model: its name, like 'mc_dropout_isbi2015'.
    version: None for the newest that is served.
    timeout_s: of a call, its repetitions included.
    retries: how often to ask again where it may help.
  """

  def __init__(self, url: str, model: str, version: int | None = None, timeout_s: float = 60.0,
               retries: int = 3):
    super().__init__(model, version, timeout_s, retries)
    self._parts = _parts_of(url)

  def _predict(self, files: list[bytes], spacing_mm: list[float], left_s: float) -> dict[str, np.ndarray]:
    rows = [{'image_bytes': {'b64': base64.b64encode(file).decode()}, 'spacing_mm': spacing}
            for file, spacing in zip(files, spacing_mm, strict=True)]
    asked, answer = self._call(self.version, ':predict', left_s, {'instances': rows})
    try:
      predictions = answer['predictions']
      if len(predictions) != len(files):
        raise ValueError(f'{len(predictions)} predictions for {len(files)} images')
      if not all(isinstance(one, dict) and 'status' in one for one in predictions):
        raise ValueError('a prediction without status')
      return {name: _array([one[name] for one in predictions]) for name in predictions[0]}
    except (KeyError, TypeError, ValueError) as error:
      raise ServingError('no_sense', asked, f'an answer without sense: {error!r}') from error

  def _status(self, version: int | None, left_s: float) -> dict[int, str]:
    asked, answer = self._call(version, '', left_s)
    try:
      return {int(one['version']): one['state'] for one in answer['model_version_status']}
    except (KeyError, TypeError, ValueError) as error:
      raise ServingError('no_sense', asked, f'an answer without sense: {error!r}') from error

  def _call(self, version: int | None, verb: str, left_s: float, content: dict | None = None):
    """What is asked, in words, and the JSON that came back; POST if there is content."""
    path = f'{self._parts.path.rstrip("/")}/v1/models/{urllib.parse.quote(self.model, safe="")}'
    path += ('' if version is None else f'/versions/{version}') + verb
    method, body = ('GET', None) if content is None else ('POST', json.dumps(content).encode())
    asked = f'{method} {self._parts.scheme}://{self._parts.netloc.rpartition("@")[2]}{path}'
    end_s = time.monotonic() + left_s
    try:
      code, is_json, text = self._exchange(method, path, body, end_s)
    except (OSError, http.client.HTTPException) as error:
      if isinstance(error, TimeoutError) or time.monotonic() >= end_s:
        raise ServingError('timeout', asked, f'no whole answer within {left_s:.3g} s') from error
      lost = isinstance(error, OSError | http.client.IncompleteRead)
      raise ServingError('unavailable' if lost else 'no_sense', asked, repr(error)) from error
    try:
      answer = json.loads(text)
    except (ValueError, RecursionError) as error:
      if code == 200:
        raise ServingError('no_sense', asked, f'no JSON but {text[:80]!r}') from error
      answer = text.decode('utf-8', 'replace')
    if code != 200:
      said = answer.get('error', answer) if isinstance(answer, dict) else answer
      raise ServingError(_kind_of_http(code, is_json), asked, f'HTTP {code}, {said}')
    return asked, answer

  def _exchange(self, method: str, path: str, body: bytes | None, end_s: float) -> tuple[int, bool, bytes]:
    """Status code, whether JSON is claimed, and body. Raises `OSError` or `HTTPException`."""
    https = self._parts.scheme == 'https'
    connection = (http.client.HTTPSConnection if https else http.client.HTTPConnection)(
        self._parts.hostname, self._parts.port)
    with contextlib.closing(connection):
      connection.sock = _connected(connection.host, connection.port, end_s)
      if https:
        connection.sock = ssl.create_default_context().wrap_socket(
            connection.sock, server_hostname=connection.host)
      # The socket's timeout is for each wait alone: who sends a byte now and then needs a clock.
      clock = threading.Timer(max(end_s - time.monotonic(), 0), _hang_up, [connection.sock])
      clock.daemon = True
      clock.start()
      try:
        with contextlib.suppress(ConnectionError):  # who refuses a long body may say why before its end
          connection.request(method, path, body, {'Content-Type': 'application/json'})
        response = connection.getresponse()
        text = response.read(_MAX_BYTES + 1)
      finally:
        clock.cancel()
    if len(text) > _MAX_BYTES:
      raise http.client.HTTPException(f'an answer of more than {_MAX_BYTES} bytes')
    if response.length:  # so many were announced and did not come
      raise http.client.IncompleteRead(text, response.length)
    if time.monotonic() >= end_s:  # what we hung up on may look whole
      raise TimeoutError
    return response.status, response.getheader('Content-Type', '').startswith('application/json'), text


def _parts_of(url: str) -> urllib.parse.SplitResult:
  with contextlib.suppress(ValueError):  # of a port that is no number
    parts = urllib.parse.urlsplit(url)
    if parts.scheme in ('http', 'https') and parts.hostname and parts.port != 0:
      parts.hostname.encode('idna')  # as whoever looks it up will do
      return parts
  raise ValueError(f'url={url!r}: allowed is http://HOST:PORT or https://HOST:PORT')


def _connected(host: str, port: int, end_s: float) -> socket.socket:
  """A connection to the first address of a host that takes one, before `end_s`. Raises `OSError`."""
  failed = TimeoutError()
  for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
    left_s = end_s - time.monotonic()
    if left_s <= 0:
      break
    try:
      return socket.create_connection(address[:2], left_s)
    except OSError as error:
      failed = error
  raise failed


def _hang_up(sock: socket.socket) -> None:
  with contextlib.suppress(OSError):
    sock.shutdown(socket.SHUT_RDWR)


def _kind_of_http(code: int, is_json: bool) -> str:
  if code == 404 and not is_json or 300 <= code < 400:  # a server, but none that knows of models
    return 'no_sense'
  return {400: 'refused', 404: 'no_model', 408: 'timeout', 413: 'too_large', 429: 'unavailable',
          502: 'unavailable', 503: 'unavailable', 504: 'timeout'}.get(code, 'failed')


def _array(values: list) -> np.ndarray:
  """JSON has no types, but TF Serving writes every float with a point, an exponent or as NaN."""
  array = np.array(values)
  kinds = {'f': np.float32, 'i': np.int32, 'b': np.bool_, 'U': np.str_}
  if array.dtype.kind not in kinds:
    raise ValueError(f'values of type {array.dtype}')
  if array.dtype.kind == 'i' and not (abs(array) < 2**31).all():
    raise ValueError('numbers beyond 32 bits')
  return array.astype(kinds[array.dtype.kind])
