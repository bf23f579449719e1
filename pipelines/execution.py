"""The record of one execution of a component: what went in, what came out, who ran it.

It lies as `execution.json` beside the outputs, which makes every folder of the
store self-explanatory, and is copied into the lineage database for queries.
"""

import dataclasses
import json

from pipelines import digests
from pipelines.dsl import Node


@dataclasses.dataclass(frozen=True)
class Stored:
  """An artifact in the store.

  Attributes:
    type: name of its class.
    path: `<component>/<key>/<output>`, below the store.
    digest: of its content.
    files: size in bytes by file name, to notice damage without reading; of outputs only.
  """

  type: str
  path: str
  digest: str
  files: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Execution:
  """See the module. `code`, `libraries`, `params`, `external` and input digests make the key."""

  id: str
  run: str
  git_commit: str
  node: str
  component: str
  key: str
  code: str
  libraries: dict[str, str]
  params: dict
  external: str
  inputs: dict[str, list[Stored]]
  outputs: dict[str, Stored]
  started: str
  seconds: float = 0.0

  def to_dict(self) -> dict:
    """As JSON can hold it."""
    return dataclasses.asdict(self)

  @classmethod
  def from_dict(cls, tree: dict) -> 'Execution':
    """The inverse of `to_dict`. Raises `TypeError` or `KeyError` on what is none."""
    inputs = {name: [Stored(**one) for one in many] for name, many in tree['inputs'].items()}
    outputs = {name: Stored(**one) for name, one in tree['outputs'].items()}
    return cls(**(tree | {'inputs': inputs, 'outputs': outputs}))


def plain_params(node: Node) -> dict:
  """The node's parameters as JSON would give them back (tuples are lists)."""
  plain = {name: dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
           for name, value in node.params.items()}
  return json.loads(json.dumps(plain))


def cache_key(component: str, code: str, libraries: dict[str, str], params: dict, external: str,
              inputs: dict[str, list[Stored]]) -> str:
  """The key of an execution: equal keys, equal outputs (16 hexadecimal digits)."""
  return digests.of_json({
      'component': component, 'code': code, 'libraries': libraries, 'params': params,
      'external': external,
      'inputs': {name: [one.digest for one in many] for name, many in inputs.items()},
  })[:16]
