"""Components are annotated functions; calling one wires a node into a graph.

    @component
    def halve(numbers: In[Numbers], halves: Out[Numbers], *, cfg: HalveConfig, seed: int):
      ...  # numbers.path is a folder to read, halves.path one to fill

    gen = make_numbers(count=3)
    node = halve(numbers=gen['numbers'], cfg=HalveConfig(), seed=0)  # nothing runs yet

The signature is the contract. Before the `*` stand the inputs and outputs, after
it what the user can configure: frozen dataclasses, str, int, float, bool. All of
that enters the cache key; a parameter annotated `Context` is filled in by the
runner and does not. A runner calls `component.function` with artifacts, and so
can a test.
"""

import dataclasses
import functools
import inspect
import pathlib
import types
import typing
from collections.abc import Callable, Iterable

from pipelines.artifacts import Artifact

T = typing.TypeVar('T')
In = typing.Annotated[T, 'in']
Out = typing.Annotated[T, 'out']


class ComponentError(Exception):
  """A component cannot go on, for a reason its user can mend: shown as one line."""


@dataclasses.dataclass(frozen=True)
class Context:
  """What a component may know about its own execution.

  Attributes:
    node: name of the node, unique in its graph.
    run: id of the run.
    key: the cache key of the execution.
    lineage: returns, ready for JSON, this execution and then all those it builds on.
  """

  node: str
  run: str
  key: str
  lineage: Callable[[], list[dict]]


@dataclasses.dataclass(frozen=True)
class Port:
  """An input or output of a component. `many`: a list of artifacts."""

  kind: type[Artifact]
  many: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Component:
  """An annotated function with its signature taken apart.

  Attributes:
    function: what was decorated.
    inputs, outputs: ports by parameter name.
    params: types of the configuration by parameter name.
    context: name of the `Context` parameter, or ''.
    resumable: the runner keeps the unfinished outputs of a killed execution and
      hands them to the next one with the same key.
    external: called with the params, returns a digest of what the component
      reads besides its inputs.
  """

  function: Callable
  inputs: dict[str, Port]
  outputs: dict[str, Port]
  params: dict[str, type]
  context: str
  resumable: bool
  external: Callable[..., str] | None

  @property
  def name(self) -> str:
    return self.function.__name__

  @property
  def source(self) -> pathlib.Path:
    return pathlib.Path(inspect.getsourcefile(self.function))

  def __call__(self, **arguments) -> 'Node':
    """Wires a node. `name=` names it, unless that is a parameter of the component itself."""
    name = self.name if 'name' in self.params else arguments.pop('name', self.name)
    where = f'node {name!r} of component {self.name}'
    defaults = {
        key: p.default for key, p in inspect.signature(self.function).parameters.items()
        if p.default is not p.empty
    }
    arguments = defaults | arguments
    wanted = self.inputs.keys() | self.params.keys()
    if arguments.keys() != wanted:
      raise TypeError(f'{where}: missing {sorted(wanted - arguments.keys())}, '
                      f'unknown {sorted(arguments.keys() - wanted)}; it takes {sorted(wanted)}')
    return Node(
        component=self, name=name,
        inputs={key: _connect(f'{where}: input {key!r}', port, arguments[key])
                for key, port in self.inputs.items()},
        params={key: _value(f'{where}: parameter {key!r}', kind, arguments[key])
                for key, kind in self.params.items()})


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
  """One use of a component in a graph. `node['model']` is its output `model`."""

  component: Component
  name: str
  inputs: dict[str, tuple['Output', ...]]
  params: dict[str, typing.Any]

  def __getitem__(self, output: str) -> 'Output':
    if output not in self.component.outputs:
      raise KeyError(f'node {self.name!r} has no output {output!r}; '
                     f'it has: {", ".join(self.component.outputs)}')
    return Output(self, output)


@dataclasses.dataclass(frozen=True)
class Output:
  """An output of a node, to be wired to inputs of others."""

  node: Node
  name: str

  @property
  def kind(self) -> type[Artifact]:
    return self.node.component.outputs[self.name].kind


def component(function: Callable | None = None, *, resumable: bool = False,
              external: Callable[..., str] | None = None):
  """Makes a component of an annotated function. Raises `TypeError` on a wrong signature."""
  if function is None:
    return functools.partial(component, resumable=resumable, external=external)
  hints = typing.get_type_hints(function, include_extras=True)
  inputs, outputs, params, context = {}, {}, {}, ''
  for name, parameter in inspect.signature(function).parameters.items():
    where = f'component {function.__name__}: parameter {name!r}'
    if name not in hints or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
      raise TypeError(f'{where} has no usable annotation; {_ALLOWED}')
    direction, kind = _taken_apart(hints[name])
    if (direction == '') != (parameter.kind == parameter.KEYWORD_ONLY):
      raise TypeError(f'{where} is on the wrong side of the `*`: inputs and outputs stand '
                      'before it, configuration after it')
    if direction == 'in':
      inputs[name] = _port(where, kind)
    elif direction == 'out':
      outputs[name] = _port(where, kind)
    elif kind is Context:
      context = name
    else:
      params[name] = _param_type(where, kind)
  if not outputs:
    raise TypeError(f'component {function.__name__} has no Out[...] parameter')
  if any(port.many for port in outputs.values()):
    raise TypeError(f'component {function.__name__}: an output is one artifact, not a list')
  return Component(function, inputs, outputs, params, context, resumable, external)


_ALLOWED = ('allowed are In[Type], In[list[Type]] and Out[Type] with a subclass of Artifact, '
            'and after the `*` frozen dataclasses, str, int, float, bool and Context')


def _taken_apart(hint) -> tuple[str, typing.Any]:
  if typing.get_origin(hint) is typing.Annotated and hint.__metadata__[0] in ('in', 'out'):
    return hint.__metadata__[0], hint.__origin__
  return '', hint


def _port(where: str, kind) -> Port:
  many = isinstance(kind, types.GenericAlias) and kind.__origin__ is list
  element = kind.__args__[0] if many else kind
  if not (isinstance(element, type) and issubclass(element, Artifact)):
    raise TypeError(f'{where} is of type {kind}; {_ALLOWED}')
  return Port(element, many)


def _param_type(where: str, kind) -> type:
  frozen = dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen
  if not frozen and kind not in (str, int, float, bool):
    raise TypeError(f'{where} is of type {kind}; {_ALLOWED}')
  return kind


def _connect(where: str, port: Port, value) -> tuple[Output, ...]:
  if port.many != isinstance(value, (list, tuple)):
    raise TypeError(f'{where} takes {"a list of outputs" if port.many else "one output"}, '
                    f'not {value!r}')
  outputs = tuple(value) if port.many else (value,)
  if not outputs:
    raise TypeError(f'{where} takes at least one {port.kind.__name__}, not an empty list')
  for output in outputs:
    if not isinstance(output, Output):
      raise TypeError(f'{where} takes an output such as node["{port.kind.__name__.lower()}"], '
                      f'not {output!r}')
    if not issubclass(output.kind, port.kind):
      raise TypeError(f'{where} takes {port.kind.__name__}, but output {output.name!r} of node '
                      f'{output.node.name!r} is {output.kind.__name__}')
  return outputs


def _value(where: str, kind: type, value):
  if kind is float and type(value) is int:
    return float(value)  # so that 1 and 1.0 have one key
  if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
    raise TypeError(f'{where} takes {kind.__name__}, not {value!r}')
  return value


def topological(nodes: Iterable[Node]) -> list[Node]:
  """The nodes and all they depend on, each after its inputs. Raises `ValueError` on equal names."""
  ordered: dict[Node, None] = {}

  def visit(node: Node) -> None:
    if node not in ordered:
      for outputs in node.inputs.values():
        for output in outputs:
          visit(output.node)
      ordered[node] = None

  for node in nodes:
    visit(node)
  names = [node.name for node in ordered]
  twice = sorted({name for name in names if names.count(name) > 1})
  if twice:
    raise ValueError(f'two nodes have the name {twice[0]!r}; give each its own with name=...')
  return list(ordered)
