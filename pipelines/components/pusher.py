"""Puts a blessed SavedModel where TF Serving looks for it: `<destination>/<name>/<version>/`."""

import fcntl
import json
import os
import pathlib
import shutil
import stat
import uuid

from pipelines import configuration, digests
from pipelines.artifacts import Evaluation, InfraBlessing, ModelBlessing, PushedModel, ServableModel
from pipelines.dsl import ComponentError, Context, In, Out, component

LINEAGE, EXPERIMENT, EVALUATION = 'lineage.json', 'experiment.json', 'evaluation.json'
ADDED = (LINEAGE, EXPERIMENT, EVALUATION)  # files that are no part of the SavedModel
_UNFINISHED = '.pushing-'


def always(model_name: str, destination: str) -> str:
  """A new digest each time: what a push does to the destination cannot come from a cache."""
  del model_name, destination
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
    context: Context,
):
  """Copies the SavedModel to the next version, if it is blessed and not already the newest.

  The version folder also gets `lineage.json` (how it was made), `experiment.json`
  (configuration by node) and `evaluation.json`; TF Serving ignores them. A version
  is complete from the moment it exists.

  Args:
    servable: what to push.
    blessing, infra: both must be blessed; otherwise nothing is pushed, which is
      no error.
    evaluation: the figures that travel with the model.
    pushed: `pushed.json`: `status` ('pushed', 'unchanged', 'refused'), `name`,
      `version` and `path` (null when refused), `reasons`.
    model_name: a folder name.
    destination: the folder of all models.
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
  status, folder = push(servable.saved_model, pathlib.Path(destination).absolute() / model_name, {
      LINEAGE: json.dumps(ancestry, indent=2) + '\n',
      EXPERIMENT: json.dumps(configuration.of(ancestry), indent=2) + '\n',
      EVALUATION: (evaluation.path / EVALUATION).read_text('utf-8'),
  })
  reasons = [f'version {folder.name} already holds the same model'] if status == 'unchanged' else []
  pushed.write({'status': status, 'name': model_name, 'version': int(folder.name), 'path': str(folder),
                'reasons': reasons})


def versions(folder: pathlib.Path) -> dict[int, pathlib.Path]:
  """The versions in the folder of one model, by number."""
  return {int(path.name): path for path in folder.iterdir()
          if path.is_dir() and path.name.isascii() and path.name.isdigit()}


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
  with (folder / '.lock').open('a') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    for leftover in folder.glob(f'{_UNFINISHED}*'):  # of a killed pusher: we hold the lock
      shutil.rmtree(leftover)
    there = versions(folder)
    newest = max(there, default=0)
    content = digests.tree_digest(saved_model, ADDED)
    if newest and digests.tree_digest(there[newest], ADDED) == content:
      return 'unchanged', there[newest]
    unfinished, target = folder / f'{_UNFINISHED}{uuid.uuid4().hex}', folder / str(newest + 1)
    try:
      _copy(saved_model, unfinished, added)
      os.rename(unfinished, target)
    except BaseException:
      shutil.rmtree(unfinished, ignore_errors=True)
      raise
  return 'pushed', target


def _copy(saved_model: pathlib.Path, target: pathlib.Path, added: dict[str, str]) -> None:
  shutil.copytree(saved_model, target)
  for path in (target, *target.rglob('*')):  # the store may be read-only, a copy is not
    path.chmod(path.stat().st_mode | stat.S_IWUSR)
  for name, text in added.items():
    (target / name).write_text(text, 'utf-8')
