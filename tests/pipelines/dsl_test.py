"""Signatures are checked when a component is written, types when it is wired."""

import dataclasses

import pytest

from pipelines.artifacts import Artifact
from pipelines.dsl import Context, In, Out, component, topological


class Numbers(Artifact):
  pass


class Letters(Artifact):
  pass


@dataclasses.dataclass(frozen=True)
class Config:
  by: int = 2


@dataclasses.dataclass
class Mutable:
  by: int = 2


@component
def count(out: Out[Numbers], *, to: int):
  pass


@component
def total(parts: In[list[Numbers]], out: Out[Numbers], *, cfg: Config, scale: float,
          context: Context):
  pass


@component(resumable=True)
def spell(numbers: In[Numbers], out: Out[Letters], *, upper: bool = False):
  pass


def wire(**changes):
  return total(**({'parts': [count(to=1)['out']], 'cfg': Config(), 'scale': 1.0} | changes))


def test_a_call_wires_a_node_and_runs_nothing():
  one, two = count(to=1), count(to=2, name='two')
  node = total(parts=[one['out'], two['out']], cfg=Config(3), scale=2)
  assert (one.name, two.name, node.name) == ('count', 'two', 'total')
  assert [output.node for output in node.inputs['parts']] == [one, two]
  assert node.params == {'cfg': Config(3), 'scale': 2.0}
  assert isinstance(node.params['scale'], float)
  assert node.component.context == 'context'


def test_defaults_of_parameters_and_options():
  node = spell(numbers=count(to=1)['out'])
  assert node.params == {'upper': False}
  assert node.component.resumable and not count.resumable


def test_a_component_with_a_parameter_called_name_keeps_it():
  @component
  def push(out: Out[Numbers], *, name: str):
    pass
  node = push(name='model')
  assert (node.name, node.params) == ('push', {'name': 'model'})


def test_a_string_annotation_is_resolved():
  @component
  def quoted(out: 'Out[Numbers]', *, to: 'int'):
    pass
  assert quoted.outputs['out'].kind is Numbers


def no_annotation(a, out: Out[Numbers]):
  pass


def not_an_artifact(a: In[int], out: Out[Numbers]):
  pass


def no_output(a: In[Numbers]):
  pass


def list_output(out: Out[list[Numbers]]):
  pass


def positional_param(out: Out[Numbers], to: int):
  pass


def keyword_input(*, a: In[Numbers], out: Out[Numbers]):
  pass


def mutable_config(out: Out[Numbers], *, cfg: Mutable):
  pass


def odd_param(out: Out[Numbers], *, names: list):
  pass


def any_keywords(out: Out[Numbers], **more: int):
  pass


@pytest.mark.parametrize('function, message', [
    (no_annotation, "no_annotation: parameter 'a' has no usable annotation"),
    (not_an_artifact, "not_an_artifact: parameter 'a' is of type <class 'int'>"),
    (no_output, r'no_output has no Out\[...\] parameter'),
    (list_output, 'list_output: an output is one artifact'),
    (positional_param, "positional_param: parameter 'to' is on the wrong side"),
    (keyword_input, "keyword_input: parameter 'a' is on the wrong side"),
    (mutable_config, "mutable_config: parameter 'cfg' is of type .*Mutable"),
    (odd_param, "odd_param: parameter 'names' is of type <class 'list'>"),
    (any_keywords, "any_keywords: parameter 'more' has no usable annotation"),
])
def test_a_wrong_signature_is_refused_when_decorated(function, message):
  with pytest.raises(TypeError, match=message):
    component(function)


@pytest.mark.parametrize('changes, message', [
    ({'parts': count(to=1)['out']}, "input 'parts' takes a list of outputs"),
    ({'parts': []}, "input 'parts' takes at least one Numbers"),
    ({'parts': [count(to=1)]}, "input 'parts' takes an output such as"),
    ({'parts': [spell(numbers=count(to=1)['out'])['out']]},
     "input 'parts' takes Numbers, but output 'out' of node 'spell' is Letters"),
    ({'cfg': Mutable()}, "parameter 'cfg' takes Config, not Mutable"),
    ({'scale': 'big'}, "parameter 'scale' takes float, not 'big'"),
    ({'scale': True}, "parameter 'scale' takes float, not True"),
    ({'sclae': 1.0}, r"missing \[\], unknown \['sclae'\]"),
    ({'context': None}, r"unknown \['context'\]"),
])
def test_wrong_wiring_is_refused_by_name(changes, message):
  with pytest.raises(TypeError, match=message):
    wire(**changes)


def test_missing_arguments_are_named():
  with pytest.raises(TypeError, match=r"component total: missing \['parts', 'scale"):
    total(cfg=Config())


def test_unknown_output_is_refused():
  with pytest.raises(KeyError, match="node 'count' has no output 'ouput'; it has: out"):
    count(to=1)['ouput']


def test_topological_order_brings_what_a_node_needs():
  one, two = count(to=1), count(to=2, name='two')
  last = wire(parts=[two['out'], one['out']])
  assert topological([last, one]) == [two, one, last]


def test_two_nodes_of_one_name_are_refused():
  with pytest.raises(ValueError, match="two nodes have the name 'count'"):
    topological([count(to=1), count(to=2)])
