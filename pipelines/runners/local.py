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


def run(nodes: Iterable[Node], work_dir: pathlib.Path | str, *, from_node: str = '', config: str = '{}',
        say: Callable[[str], None] = print) -> dict[str, Result]:
  """Runs `nodes` and what they depend on, taking from the store what is there already.

  Args:
    nodes: of the graph, in any order.
    work_dir: holds the store and the lineage database.
    from_node: name of a component or node to run again with everything after it.
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
  # All at once and first: what runs is the code that was imported by now.
  code = {node.name: digests.source_digest(node.component.source, node.component.function.__module__)
          for node in nodes}
  with Store(work_dir) as store:
    book = lineage.Lineage(store.work_dir)
    task = _Run(store, book, book.begin_run(config), code, forced, say)
    results: dict[str, Result] = {}
    status = 'failed'
    try:
      for number, node in enumerate(nodes, 1):
        results[node.name] = task.run_node(node, results, f'[{number}/{len(nodes)}] {node.name}')
      status = 'done'
    except KeyboardInterrupt:
      status = 'interrupted'
      raise
    finally:
      book.end_run(task.run, status)
  return results


def _forced(nodes: list[Node], from_node: str) -> set[Node]:
  """The nodes called `from_node`, by their own or their component's name, and all after them."""
  if not from_node:
    return set()
  one_of('--from', from_node, {node.name for node in nodes} | {node.component.name for node in nodes})
  forced: set[Node] = set()
  for node in nodes:
    upstream = {output.node for outputs in node.inputs.values() for output in outputs}
    if from_node in (node.name, node.component.name) or upstream & forced:
      forced.add(node)
  return forced


@dataclasses.dataclass
class _Run:
  store: Store
  book: lineage.Lineage
  run: str
  code: dict[str, str]
  forced: set[Node]
  say: Callable[[str], None]

  def run_node(self, node: Node, results: dict[str, Result], label: str) -> Result:
    """Finds the node's execution in the store, or makes it."""
    planned = self._plan(node, results)
    component = node.component
    slot = self.store.slot(component.name, planned.key, component.resumable)
    force = node in self.forced and not any(
        result.execution.key == planned.key for result in results.values())
    ran = False
    while True:
      # A lock may change hands while its kind changes, hence a second look after each.
      self._lock(slot, label, exclusive=False)
      found, damage = slot.load(component.outputs)
      if found and not force:
        break
      if ran:
        raise StoreError(f'{node.name}: what was just written is damaged: {damage}')
      if damage:
        self.say(f'{label}: damaged, running again: {damage}')
      self._lock(slot, label, exclusive=True)
      with explained(self.store.work_dir):
        slot.recover()
      if force or not slot.load(component.outputs)[0]:
        self._execute(node, planned, results, slot, label)
        force, ran = False, True
    self.book.use(self.run, node.name, found, cached=not ran)
    self.say(f'{label}: done in {found.seconds:.1f} s' if ran else f'{label}: cached ({found.key})')
    outputs = {name: component.outputs[name].kind(slot.final / name, stored.digest)
               for name, stored in found.outputs.items()}
    return Result(node, found, outputs, not ran)

  def _lock(self, slot: Slot, label: str, exclusive: bool) -> None:
    slot.lock(exclusive, on_wait=lambda: self.say(f'{label}: waiting for another run that uses {slot.final}'))

  def _plan(self, node: Node, results: dict[str, Result]) -> Execution:
    """The record of an execution about to start: all but its outputs."""
    inputs = {name: [results[output.node.name].execution.outputs[output.name] for output in outputs]
              for name, outputs in node.inputs.items()}
    params, code = plain_params(node), self.code[node.name]
    external = node.component.external(**node.params) if node.component.external else ''
    key = cache_key(node.component.name, code, digests.libraries(), params, external, inputs)
    return Execution(
        id=lineage.new_id(), run=self.run, git_commit=lineage.git_commit(), node=node.name,
        component=node.component.name, key=key, code=code, libraries=digests.libraries(), params=params,
        external=external, inputs=inputs, outputs={}, started=lineage.now())

  def _execute(self, node: Node, planned: Execution, results: dict[str, Result], slot: Slot,
               label: str) -> None:
    """Calls the component and commits what it wrote. Needs the exclusive lock of `slot`."""
    self.book.record(planned, 'running')
    self.say(f'{label}: running')
    start = time.monotonic()
    try:
      with explained(self.store.work_dir):
        slot.prepare(node.component.outputs)
      node.component.function(**self._arguments(node, planned, results, slot))
      outputs = {name: self._stored(node, name, slot, planned) for name in node.component.outputs}
      done = dataclasses.replace(planned, outputs=outputs, seconds=time.monotonic() - start)
      with explained(self.store.work_dir):
        slot.commit(done)
    except BaseException as error:
      self._clean_up(planned, slot)
      if is_full(error) and not isinstance(error, StoreError):
        raise StoreError(f'{node.name}: no room to write: {error}; make room or choose another '
                         f'--work_dir than {self.store.work_dir}') from error
      error.add_note(f'in node {node.name}')
      raise
    self.book.record(done, 'done')

  def _clean_up(self, planned: Execution, slot: Slot) -> None:
    try:
      slot.recover()
      self.book.record(planned, 'failed')
    except (OSError, StoreError) as error:  # a full disk must not hide the first error
      self.say(f'{planned.node}: could not clean up: {error}')

  def _arguments(self, node: Node, planned: Execution, results: dict[str, Result], slot: Slot) -> dict:
    arguments = dict(node.params)
    for name, port in node.component.inputs.items():
      artifacts = [results[output.node.name].outputs[output.name] for output in node.inputs[name]]
      arguments[name] = artifacts if port.many else artifacts[0]
    for name, port in node.component.outputs.items():
      arguments[name] = port.kind(slot.temp / name)
    if node.component.context:
      arguments[node.component.context] = Context(
          node=node.name, run=self.run, key=planned.key, lineage=lambda: self.book.ancestry(planned))
    return arguments

  def _stored(self, node: Node, name: str, slot: Slot, planned: Execution) -> Stored:
    kind = node.component.outputs[name].kind
    missing = kind(slot.temp / name).missing_files()
    files = digests.tree_files(slot.temp / name, kind.undigested)
    if missing or not files:
      raise ComponentError(f'component {planned.component} left output {name!r} ({kind.__name__}) '
                           f'without {missing[0] if missing else "any file"}')
    return Stored(kind.__name__, f'{planned.component}/{planned.key}/{name}',
                  digests.tree_digest(slot.temp / name, kind.undigested), files)
