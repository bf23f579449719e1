"""Configurations as text: `a.b=c` assignments, and JSON."""

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Iterable

from ceph_tf.config import ConfigError, Experiment


def override(config: Experiment, assignments: Iterable[str]) -> Experiment:
  """Applies `a.b=c` assignments, all at once, so that they are checked together.

  Args:
    config: any frozen dataclass of this module.
    assignments: strings `path=value`; tuples are written `32,64,128`.

  Returns:
    A new dataclass of the same type.

  Raises:
    ConfigError: on an unknown field (with the nearest names), a malformed
      assignment, a value of the wrong type or out of range.
  """
  tree: dict = {}
  for assignment in assignments:
    path, equals, text = assignment.partition('=')
    if not equals or not path.strip():
      raise ConfigError(f'{assignment!r}: an override is written field=value, for example train.epochs=2')
    _insert(tree, config, path.strip().split('.'), text.strip(), path.strip())
  return _rebuild(config, tree)


def _insert(tree: dict, config, keys: list[str], text: str, path: str) -> None:
  key = keys[0]
  if key not in {field.name for field in dataclasses.fields(config)}:
    known = field_paths(config)
    near = difflib.get_close_matches('.'.join(keys), known, n=3, cutoff=0.4) or known
    group = path[: -len('.'.join(keys))]
    raise ConfigError(f'unknown field {path!r}; nearest: {", ".join(group + name for name in near)}')
  value = getattr(config, key)
  if dataclasses.is_dataclass(value):
    if len(keys) == 1:
      raise ConfigError(f'{path!r} is a group; set one of its fields: {", ".join(field_paths(value))}')
    _insert(tree.setdefault(key, {}), value, keys[1:], text, path)
  elif len(keys) > 1:
    raise ConfigError(f'{path!r}: {key!r} has no fields of its own')
  else:
    tree[key] = _parse(text, typing.get_type_hints(type(config))[key], path)


def field_paths(config) -> list[str]:
  """All settable fields of a config as dotted paths, in order of declaration."""
  paths = []
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if dataclasses.is_dataclass(value):
      paths += [f'{field.name}.{path}' for path in field_paths(value)]
    else:
      paths.append(field.name)
  return paths


def _parse(text: str, kind, path: str):
  if isinstance(kind, types.GenericAlias):  # tuple[int, ...] or tuple[str, ...]
    element = typing.get_args(kind)[0]
    return tuple(_parse(part.strip(), element, path) for part in text.strip('()').split(',') if part.strip())
  try:
    value = kind(text)
  except ValueError:
    raise ConfigError(f'{path}={text!r}: expected {kind.__name__}') from None
  if kind is float and not math.isfinite(value):
    raise ConfigError(f'{path}={text!r}: expected a finite number')
  return value


def _rebuild(config, tree: dict):
  changes = {
      key: _rebuild(getattr(config, key), value) if isinstance(value, dict) else value
      for key, value in tree.items()
  }
  return dataclasses.replace(config, **changes)


def to_json(config) -> str:
  """A config as JSON with sorted keys: equal configs give equal text."""
  return json.dumps(dataclasses.asdict(config), indent=2, sort_keys=True)


def from_json(text: str, kind: type = Experiment):
  """The inverse of `to_json`. Raises `ConfigError` on unknown fields."""
  return _from_dict(json.loads(text), kind, '')


def _from_dict(tree: dict, kind: type, path: str):
  hints = typing.get_type_hints(kind)
  unknown = sorted(set(tree) - set(hints))
  if unknown:
    raise ConfigError(f'unknown field {path + unknown[0]!r} in JSON of {kind.__name__}')
  values = {}
  for key, value in tree.items():
    if dataclasses.is_dataclass(hints[key]):
      value = _from_dict(value, hints[key], f'{path}{key}.')
    elif isinstance(value, list):
      value = tuple(value)
    values[key] = value
  return kind(**values)
