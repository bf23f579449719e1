"""importer: a SavedModel that was made elsewhere enters the pipeline, to be judged on new examples."""

import json
import pathlib
import shutil

from ceph_tf.config import DataConfig
from ceph_tf.data import examples as example_files
from ceph_tf.data.records import TRAINING_SPLITS, DataError
from ceph_tf.serving import recalibrated
from ceph_tf.serving import saved_model as pushed_model
from pipelines import cases, digests
from pipelines.artifacts import Examples, ImportedModel
from pipelines.dsl import In, Out, component

_SIGNATURES = ('serving_default', 'predict_image', 'mean_heatmap')
_DIVISION = ('validation_images', 'calibration_images', 'phantom_images')


def _content(saved_model: str, **_) -> str:
  return digests.tree_digest(pathlib.Path(saved_model))


@component(external=_content)
def importer(examples: In[Examples], servable: Out[ImportedModel], *, saved_model: str, data: DataConfig,
             seed: int):
  """Copies the SavedModel, so that what is judged stays what it was.

  Args:
    examples: that it will be asked about.
    servable: the copy.
    saved_model: the folder with `saved_model.pb`.
    data, seed: of the examples.

  Raises:
    DataError: it cannot be loaded, is none of ours, knows other landmarks than the examples, was trained
      on films that calibrate here, or was recalibrated on films that test here.
  """
  folder = pathlib.Path(saved_model)
  wanted = example_files.read_schema(examples.path)['landmark_names']
  model = pushed_model.load(folder)
  names, signatures = model.landmarks, model.loaded.signatures
  if missing := [name for name in _SIGNATURES if name not in signatures]:
    raise DataError(f'{folder} cannot be judged: it has no signature {", ".join(missing)}')
  if 'samples_px' not in signatures['serving_default'].structured_outputs:
    raise DataError(f'{folder} cannot be judged: it does not answer with samples_px')
  if list(names) != wanted:
    raise DataError(f'{folder} finds {len(names)} landmarks ({", ".join(names[:3])}, ...), the examples have '
                    f'{len(wanted)} ({", ".join(wanted[:3])}, ...); they must be the same in the same order')
  if data.calibration_images:
    _check_division(folder, data, seed)
  _check_tested(folder, model.calibration, examples)
  shutil.copytree(folder, servable.saved_model)


def _check_tested(folder: pathlib.Path, calibration: dict, examples: Examples) -> None:
  """Raises `DataError` if the model was recalibrated on films that would say how good it is."""
  known = set(calibration.get(recalibrated.FILMS, ()))
  for split in examples.splits() if known else ():
    if split not in TRAINING_SPLITS:
      records = example_files.read_records(examples.shards(split))
      seen = [r.image_id for r in records if digests.of_bytes(r.image_bytes) in known]
      if seen:
        raise DataError(f'{folder} was recalibrated on {len(seen)} images of {split} ({cases.some(seen)}), '
                        'which would flatter it; leave them out, or call them calibration in a column split')


def _check_division(folder: pathlib.Path, data: DataConfig, seed: int) -> None:
  """Raises `DataError` if the model was trained on another division of the same training images."""
  if data.dataset == 'csv':  # own images are divided by their table
    return
  asked = {'seed': seed} | {f'data.{name}': getattr(data, name) for name in _DIVISION}
  # Of a model that was recalibrated also that of the one before.
  for lineage in (folder / 'lineage.json', *sorted((folder / 'assets.extra').glob('**/lineage.json'))):
    for taught in _divisions(lineage, data.dataset):
      if taught != asked:
        meant = ', '.join(f'{name}={value}' for name, value in taught.items() if value != asked[name])
        raise DataError(f'{folder} was trained on {data.dataset} with {meant}: with other values it would be '
                        'calibrated on images it was trained on; or set data.calibration_images=0')


def _divisions(lineage: pathlib.Path, dataset: str) -> list[dict]:
  """How the images of a data set were divided in the making of a model."""
  if not lineage.is_file():
    return []
  try:
    made = [execution['params'] for execution in json.loads(lineage.read_text('utf-8'))
            if execution['component'] == 'example_gen']
    return [{'seed': params['seed']} | {f'data.{name}': params['cfg'][name] for name in _DIVISION}
            for params in made if params['cfg']['dataset'] == dataset]
  except (ValueError, KeyError, TypeError) as error:
    raise DataError(f'{lineage} is damaged ({type(error).__name__}: {error}); without it nobody knows which '
                    'images the model was trained on') from None
