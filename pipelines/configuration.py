"""The configuration that made an artifact, as its lineage tells it."""

from collections.abc import Iterable


def of(ancestry: Iterable[dict]) -> dict[str, dict]:
  """The parameters of every node that took part, by the node's name.

  Args:
    ancestry: what `Context.lineage()` returned: executions as dicts.

  Returns:
    node -> parameters, first causes first. Nodes without parameters are left out.
  """
  executions = list(ancestry)[::-1]
  return {one['node']: one['params'] for one in executions if one['params']}
