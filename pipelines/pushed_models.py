"""Folders of pushed models: `<models>/<name>/<version>/`. Which version is meant by a path."""

import pathlib

from ceph_tf.config import ConfigError

# Whatever other models are pushed, and wherever it is asked from.
IN_THE_BOX = pathlib.Path(__file__).parents[1] / 'saved_models/ensemble_isbi2015_precise'


def title(folder: pathlib.Path) -> str:
  """What a version folder is called, for people."""
  place = folder.resolve()
  return name(folder) + (f', version {place.name}' if _is_number(place.name) else '')


def name(folder: pathlib.Path) -> str:
  """Of the model whose version folder this is."""
  place = folder.resolve()
  return place.parent.name if _is_number(place.name) else place.name


def versions(folder: pathlib.Path) -> dict[int, pathlib.Path]:
  """The versions in the folder of one model, by number."""
  return {int(path.name): path for path in folder.iterdir() if path.is_dir() and _is_number(path.name)}


def _is_number(name: str) -> bool:
  return name.isascii() and name.isdigit()


def newest_model(folder: pathlib.Path) -> pathlib.Path:
  """The version folder that is meant by a folder of a model, of versions, or of models.

  Raises:
    ConfigError: there is none.
  """
  if (folder / 'saved_model.pb').is_file():
    return folder
  models = [folder, *sorted(folder.iterdir())] if folder.is_dir() else []
  for group in (models[:1], models[1:]):
    newest = []
    for model in filter(pathlib.Path.is_dir, group):
      there = {k: path for k, path in versions(model).items() if (path / 'saved_model.pb').is_file()}
      newest += [there[max(there)]] if there else []
    if newest:
      return max(newest, key=lambda path: (path / 'saved_model.pb').stat().st_mtime)
  meant = IN_THE_BOX.parent / folder.name
  hint = f'did you mean {meant}?' if meant.is_dir() else '`python -m pipelines.run` makes one'
  raise ConfigError(f'--saved_model={folder}: there is no SavedModel; {hint}')
