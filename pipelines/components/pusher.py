"""Puts a blessed SavedModel where TF Serving looks for it: `<destination>/<name>/<version>/`.

Beside the models lie `models.config` and `batching_parameters.txt`, which a server is started with.
Both are written anew, from the folders there, whatever they were before.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import stat
import uuid
from collections.abc import Iterator

from ceph_tf.serving import warmup
from pipelines import configuration, digests, pushed_models
from pipelines.artifacts import Evaluation, InfraBlessing, ModelBlessing, PushedModel, ServableModel
from pipelines.dsl import ComponentError, Context, In, Out, component

LINEAGE, EXPERIMENT, EVALUATION = 'lineage.json', 'experiment.json', 'evaluation.json'
ADDED = (LINEAGE, EXPERIMENT, EVALUATION, warmup.PATH)  # files that are no part of the SavedModel
MODELS, BATCHING = 'models.config', 'batching_parameters.txt'
_UNFINISHED = '.pushing-'
_GENERATED = '# Written anew at every push: to change it, start the server with a copy.\n'
# A text `BatchingParameters`; the server's --enable_batching forms batches of what is asked at once.
_BATCHING = _GENERATED + '''\
# Batches of 8 films fill the cores or a GPU; more would only cost memory and make the first wait longer.
max_execution_batch_size { value: 8 }
# One request may hold more: it is divided. Beyond this it is refused.
enable_large_batch_splitting { value: true }
max_batch_size { value: 32 }
# To wait 10 ms for company is nothing beside the time a film takes.
batch_timeout_micros { value: 10000 }
# One, which uses all cores: with more, a glibc before 2.41 may lose a wake-up, and a batch stand still.
num_batch_threads { value: 1 }
# Whoever would wait longer than for 16 batches is told at once (UNAVAILABLE) and may ask again.
max_enqueued_batches { value: 16 }
# Image files are strings, of any sizes in one batch. Images of several sizes (predict_image) must not be
# padded to one: that would change what the network sees. Without it, they are refused if asked at once.
pad_variable_length_inputs: false
'''


def always(**params) -> str:
  """A new digest each time: what a push does to the destination cannot come from a cache."""
  del params
  return uuid.uuid4().hex


@component(external=always)
def pusher(
    servable: In[ServableModel],
    blessing: In[ModelBlessing],
    infra: In[InfraBlessing],
    evaluation: In[Evaluation],
    pushed: Out[PushedModel],
    *,
    model_name: str,
    destination: str,
    served_from: str = '/models',
    context: Context,
):
  """Copies the SavedModel to the next version, if it is blessed and not already the newest.

  The version folder also gets `lineage.json` (how it was made), `experiment.json`
  (configuration by node) and `evaluation.json`, which TF Serving ignores, and the
  requests that it warms up with. A version is complete from the moment it exists.
  The destination gets `models.config` and `batching_parameters.txt`.

  Args:
    servable: what to push.
    blessing, infra: both must be blessed; otherwise nothing is pushed, which is
      no error.
    evaluation: the figures that travel with the model.
    pushed: `pushed.json`: `status` ('pushed', 'unchanged', 'refused'), `name`,
      `version` and `path` (null when refused), `reasons`.
    model_name: a folder name.
    destination: the folder of all models.
    served_from: where the server (in its container) sees that folder.
    context: tells the lineage.

  Raises:
    ComponentError: `model_name` is not a plain folder name.
    OSError: the destination cannot be written.
  """
  plain = model_name and model_name == pathlib.PurePath(model_name).name
  if not plain or model_name.startswith('.'):
    raise ComponentError(f'pusher: model_name={model_name!r}: allowed is a plain folder name')
  verdicts = {'model': blessing.read(), 'infra': infra.read()}
  reasons = [f'{what}: {reason}' for what, verdict in verdicts.items() if not verdict['blessed']
             for reason in verdict.get('reasons') or ['not blessed']]
  if reasons:
    pushed.write({'status': 'refused', 'name': model_name, 'version': None, 'path': None,
                  'reasons': reasons})
    return
  ancestry = context.lineage()
  models = pathlib.Path(destination).absolute()
  status, folder = push(servable.saved_model, models / model_name, {
      LINEAGE: _text(ancestry), EXPERIMENT: _text(configuration.of(ancestry)),
      EVALUATION: _text(evaluation.read())})
  configure(models, served_from)
  reasons = [f'version {folder.name} already holds the same model'] if status == 'unchanged' else []
  pushed.write({'status': status, 'name': model_name, 'version': int(folder.name), 'path': str(folder),
                'reasons': reasons})


def push(
    saved_model: pathlib.Path, folder: pathlib.Path, added: dict[str, str]
) -> tuple[str, pathlib.Path]:
  """Copies a SavedModel to the next version in `folder`; pushers take turns.

  Only the newest version, the one TF Serving serves, is compared: pushing an older
  model again serves it again.

  Args:
    saved_model: the folder with `saved_model.pb`.
    folder: of the model; made if it is not there.
    added: further files by name.

  Returns:
    'pushed' or 'unchanged', and the folder of the version.
  """
  folder.mkdir(parents=True, exist_ok=True)
  with _locked(folder):
    for leftover in folder.glob(f'{_UNFINISHED}*'):  # of a killed pusher: we hold the lock
      shutil.rmtree(leftover)
    there = pushed_models.versions(folder)
    newest = max(there, default=0)
    if newest and _content(there[newest]) == _content(saved_model):
      return 'unchanged', there[newest]
    unfinished, target = folder / f'{_UNFINISHED}{uuid.uuid4().hex}', folder / str(newest + 1)
    try:
      _copy(saved_model, unfinished, added)
      os.rename(unfinished, target)
    except BaseException:
      shutil.rmtree(unfinished, ignore_errors=True)
      raise
  return 'pushed', target


def configure(models: pathlib.Path, served_from: str) -> None:
  """Writes what a server of all models in the folder `models` is started with.

  A pusher's version is there before it comes here, so that of several at once the last sees all.
  """
  with _locked(models):
    names = [folder.name for folder in sorted(models.glob('[!.]*')) if folder.is_dir() and any(
        (version / 'saved_model.pb').is_file() for version in pushed_models.versions(folder).values())]
    _replace(models / MODELS, model_config(names, served_from))
    _replace(models / BATCHING, _BATCHING)


def model_config(names: list[str], served_from: str) -> str:
  """A text `ModelServerConfig`: of each model the newest version there, so that moving it away rolls back."""
  def quoted(text):  # strings of JSON and of text protos are alike
    return json.dumps(text, ensure_ascii=False)

  configs = ''.join(f'''\
  config {{
    name: {quoted(name)}
    base_path: {quoted(str(pathlib.PurePosixPath(served_from, name)))}
    model_platform: "tensorflow"
    model_version_policy {{ latest {{ num_versions: 1 }} }}
  }}
''' for name in names)
  return f'{_GENERATED}model_config_list {{\n{configs}}}\n'


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
  with (folder / '.lock').open('a') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def _text(content) -> str:
  return json.dumps(content, indent=1) + '\n'  # what travels is to be read by people, and small


def _replace(file: pathlib.Path, text: str) -> None:
  """A reader finds the old or the new file, whole. Needs the lock."""
  unfinished = file.with_name(f'{_UNFINISHED}{file.name}')
  unfinished.write_text(text, 'utf-8')
  os.replace(unfinished, file)


def _content(saved_model: pathlib.Path) -> dict[str, str]:
  """Digests of a SavedModel's files by name, without what a pusher adds."""
  return {name: digests.of_file(saved_model / name) for name in digests.tree_files(saved_model)
          if name not in ADDED}


def _copy(saved_model: pathlib.Path, target: pathlib.Path, added: dict[str, str]) -> None:
  shutil.copytree(saved_model, target)
  for path in (target, *target.rglob('*')):  # the store may be read-only, a copy is not
    path.chmod(path.stat().st_mode | stat.S_IWUSR)
  for name, text in added.items():
    (target / name).write_text(text, 'utf-8')
  warmup.write(target)
