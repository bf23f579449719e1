"""A pushed SavedModel, loaded to be asked in this process."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ceph_tf.data.records import LANDMARKS, DataError

SIGNATURE = 'serving_default'
_INPUTS = {'image_bytes': tf.string, 'spacing_mm': tf.float32}
_OUTPUTS = ('status', 'points_px', 'covariance_px2')


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """What is asked, and what its answers are signed with.

  Attributes:
    name, version: of the two folders it lies in; the version is None where it is no number.
    lineage_sha256: of its `lineage.json`, None where there is none.
    landmarks: L names.
    calibration: `assets.extra/calibration.json`, see `uncertainty.fitted.summary`; {} if absent.
    loaded: keeps the graph alive.
  """

  name: str
  version: int | None
  lineage_sha256: str | None
  landmarks: tuple[str, ...]
  calibration: dict
  loaded: object

  @property
  def coverage(self) -> float | None:
    """Of the regions; None where the model states none."""
    return self.calibration.get('coverage') if self.calibration.get('regions') == 'stated' else None

  @property
  def bins(self) -> int | None:
    """How many bins there are; None where the model knows none."""
    thresholds = self.calibration.get('thresholds')
    return len(thresholds[0]) + 1 if thresholds else None

  def ask(self, image_bytes: Sequence[bytes], spacing_mm: Sequence[float]) -> list[dict[str, np.ndarray]]:
    """One dictionary per image, of what `saved_models/README.md` documents, without the batch axis."""
    answer = self.loaded.signatures[SIGNATURE](
        image_bytes=tf.constant(list(image_bytes), tf.string),
        spacing_mm=tf.constant(np.asarray(spacing_mm, np.float32)))
    arrays = {name: value.numpy() for name, value in answer.items()}
    return [{name: value[k] for name, value in arrays.items()} for k in range(len(image_bytes))]


def load(folder: pathlib.Path) -> Model:
  """The SavedModel in a version folder.

  Raises:
    DataError: no SavedModel, a damaged one, or one that is asked or answers otherwise.
  """
  try:
    loaded = tf.saved_model.load(str(folder))
  except Exception as error:  # of a damaged file it may be anything
    words = ' '.join(f'{type(error).__name__}: {error}'.split())[:160]
    raise DataError(f'{folder} holds no SavedModel that can be loaded; {words}') from None
  landmarks = _check(loaded, folder)
  extra = folder / 'assets.extra'
  names = _json(extra / 'landmarks.json')
  if names is None:
    names = LANDMARKS if landmarks == len(LANDMARKS) else [f'landmark_{k + 1}' for k in range(landmarks)]
  if not isinstance(names, (list, tuple)) or len(names) != landmarks:
    raise DataError(f'{extra / "landmarks.json"} does not name the {landmarks} landmarks of the model')
  calibration = _json(extra / 'calibration.json')
  if not isinstance(calibration, (dict, type(None))):
    raise DataError(f'{extra / "calibration.json"} holds no object')
  place = folder.absolute()
  numbered = place.name.isascii() and place.name.isdigit()
  lineage = folder / 'lineage.json'
  return Model(
      name=place.parent.name if numbered else place.name, version=int(place.name) if numbered else None,
      lineage_sha256=hashlib.sha256(lineage.read_bytes()).hexdigest() if lineage.is_file() else None,
      landmarks=tuple(map(str, names)), calibration=calibration or {}, loaded=loaded)


def _check(loaded, folder: pathlib.Path) -> int:
  """The number of landmarks of a model whose signature is ours."""
  signature = loaded.signatures.get(SIGNATURE)
  inputs = {} if signature is None else {
      name: spec.dtype for name, spec in signature.structured_input_signature[1].items()}
  outputs = {} if signature is None else signature.structured_outputs
  if inputs != _INPUTS or not set(_OUTPUTS) <= set(outputs):
    takes, gives = (', '.join(sorted(names)) or 'nothing' for names in (inputs, outputs))
    raise DataError(f'{folder} is no model of ours: {SIGNATURE} takes {takes} and answers {gives}; '
                    f'needed are {", ".join(_INPUTS)} and {", ".join(_OUTPUTS)}')
  return int(outputs['points_px'].shape[1])


def _json(path: pathlib.Path):
  if not path.is_file():
    return None
  try:
    return json.loads(path.read_text('utf-8'))
  except ValueError as error:
    raise DataError(f'{path} is no JSON: {error}') from None
