"""Runs a graph in this process, one node after the other, each at most once per key."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterable

from ceph_tf.config import one_of
from pipelines import digests, lineage
from pipelines.artifacts import Artifact
from pipelines.dsl import ComponentError, Context, Node, topological
from pipelines.execution import Execution, Stored, cache_key, plain_params
from pipelines.store import Slot, Store, StoreError, explained, is_full


@dataclasses.dataclass(frozen=True)
class Result:
  """What became of a node. `outputs` are its artifacts by name."""

  node: Node
  execution: Execution
  outputs: dict[str, Artifact]
  cached: bool


def run(nodes: Iterable[Node], work_dir: pathlib.Path | str, *, from_node: str = '',
        config: str = '{}', say: Callable[[str], None] = print) -> dict[str, Result]:
  """Runs `nodes` and what they depend on, taking from the store what is there already.

  Args:
    nodes: of the graph, in any order.
    work_dir: holds the store and the lineage database.
    from_node: name of a component or node to run again, with everything after it.
    config: JSON of the experiment, for the lineage.
    say: takes each line of progress.

  Returns:
    Results by node name, in order of execution.

  Raises:
    ConfigError: `from_node` is not in the graph.
    StoreError: the work dir cannot be used.
    Exception: whatever a component raises, with a note that names the node.
  """
  nodes = topological(nodes)
  forced = _forced(nodes, from_node)
  # All digests now, not node by node: what will run is the code that is imported by now.
  code = {node.name: _code(node) for node in nodes}
  with Store(work_dir) as store:
    book = lineage.Lineage(store.work_dir)
    current = _Run(store, book, book.begin_run(config), code, say)
    results: dict[str, Result] = {}
    status = 'failed'
    try:
      for number, node in enumerate(nodes, 1):
        label = f'[{number}/{len(nodes)}] {node.name}'
        results[node.name] = current.run_node(node, results, node in forced, label)
      status = 'done'
    except KeyboardInterrupt:
      status = 'interrupted'
      raise
    finally:
      book.end_run(current.id, status)
  return results


def _forced(nodes: list[Node], from_node: str) -> set[Node]:
  """The nodes called `from_node`, or of a component called so, and all nodes after them."""
  forced: set[Node] = set()
  if from_node:
    names = [name for node in nodes for name in (node.name, node.component.name)]
    one_of('--from', from_node, set(names))
    for node in nodes:
      upstream = {output.node for outputs in node.inputs.values() for output in outputs}
      if from_node in (node.name, node.component.name) or upstream & forced:
        forced.add(node)
  return forced


def _code(node: Node) -> str:
  return digests.source_digest(node.component.source, node.component.function.__module__)


@dataclasses.dataclass(frozen=True)
class _Run:
  store: Store
  book: lineage.Lineage
  id: str
  code: dict[str, str]
  say: Callable[[str], None]

  def run_node(self, node: Node, results: dict[str, Result], force: bool, label: str) -> Result:
    """Finds the execution of a node in the store, or makes it."""
    plan, kinds = self._plan(node, results), node.component.outputs
    slot = self.store.slot(plan.component, plan.key, node.component.resumable)
    force = force and plan.key not in [result.execution.key for result in results.values()]
    ran = False
    while True:  # others may have had the lock while it changed its kind: look again
      self._lock(slot, label, exclusive=False)
      found, damage = slot.load(kinds)
      if found and not force:
        break
      if damage and ran:
        raise StoreError(f'{node.name}: damaged as soon as written: {damage}')
      if damage:
        self.say(f'{label}: damaged, so it runs again: {damage}')
      self._lock(slot, label, exclusive=True)
      with explained(self.store.work_dir):
        slot.recover()
      if force or not slot.load(kinds)[0]:
        self.say(f'{label}: running')
        self._execute(node, plan, results, slot)
        force, ran = False, True
    self.book.use(self.id, node.name, found, cached=not ran)
    self.say(f'{label}: done in {found.seconds:.1f} s' if ran else f'{label}: cached')
    outputs = {name: kinds[name].kind(slot.final / name, stored.digest)
               for name, stored in found.outputs.items()}
    return Result(node, found, outputs, cached=not ran)

  def _lock(self, slot: Slot, label: str, exclusive: bool) -> None:
    slot.lock(exclusive, on_wait=lambda: self.say(
        f'{label}: waiting for another run that is at {slot.final}'))

  def _plan(self, node: Node, results: dict[str, Result]) -> Execution:
    """The record of an execution that may be about to start: without outputs."""
    component, params, code = node.component, plain_params(node), self.code[node.name]
    inputs = {
        name: [dataclasses.replace(results[one.node.name].execution.outputs[one.name], files={})
               for one in outputs]
        for name, outputs in node.inputs.items()}
    external = component.external(**node.params) if component.external else ''
    libraries = digests.libraries()
    return Execution(
        id=lineage.new_id(), run=self.id, git_commit=lineage.git_commit(), node=node.name,
        component=component.name, code=code, libraries=libraries, params=params,
        key=cache_key(component.name, code, libraries, params, external, inputs),
        external=external, inputs=inputs, outputs={}, started=lineage.now())

  def _execute(self, node: Node, plan: Execution, results: dict[str, Result], slot: Slot) -> None:
    """Calls the component and commits what it wrote. Needs the exclusive lock of `slot`."""
    self.book.record(plan, 'running')
    start = time.monotonic()
    try:
      with explained(self.store.work_dir):
        slot.prepare(node.component.outputs)
      node.component.function(**self._arguments(node, plan, results, slot))
      outputs = {name: _stored(plan, name, port.kind(slot.temp / name))
                 for name, port in node.component.outputs.items()}
      done = dataclasses.replace(plan, outputs=outputs, seconds=time.monotonic() - start)
      with explained(self.store.work_dir):
        slot.commit(done)
    except BaseException as error:
      self._clean_up(plan, slot, error)
      if is_full(error) and not isinstance(error, StoreError):
        error = StoreError(f'no room to write: {error}; make room or choose another --work_dir '
                           f'than {self.store.work_dir}')
      error.add_note(f'in node {node.name}')
      raise error

  def _clean_up(self, plan: Execution, slot: Slot, error: BaseException) -> None:
    try:
      slot.recover()
      self.book.record(
          plan, 'interrupted' if isinstance(error, KeyboardInterrupt) else 'failed')
    except (OSError, StoreError) as another:  # must not hide the first
      self.say(f'{plan.node}: could not clean up: {another}')

  def _arguments(self, node: Node, plan: Execution, results: dict[str, Result],
                 slot: Slot) -> dict:
    arguments = dict(node.params)
    for name, port in node.component.inputs.items():
      artifacts = [results[one.node.name].outputs[one.name] for one in node.inputs[name]]
      arguments[name] = artifacts if port.many else artifacts[0]
    for name, port in node.component.outputs.items():
      arguments[name] = port.kind(slot.temp / name)
    if node.component.context:
      arguments[node.component.context] = Context(
          node=node.name, run=self.id, key=plan.key,
          lineage=lambda: [one.to_dict() for one in self.book.ancestry(plan)])
    return arguments


def _stored(plan: Execution, name: str, artifact: Artifact) -> Stored:
  """Describes an output. Raises `ComponentError` if the component did not fill it."""
  kind = type(artifact)
  files = digests.tree_files(artifact.path, kind.undigested)
  missing = artifact.missing_files() or ([] if files else ['any file'])
  if missing:
    raise ComponentError(f'component {plan.component} left its output {name!r} '
                         f'({kind.__name__}) without {missing[0]}')
  return Stored(kind.__name__, f'{plan.component}/{plan.key}/{name}',
                digests.tree_digest(artifact.path, kind.undigested), files)
