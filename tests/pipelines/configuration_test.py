from pipelines import configuration


def test_parameters_by_node_first_causes_first():
  ancestry = [{'node': 'evaluator', 'params': {'seed': 1}}, {'node': 'merge', 'params': {}},
              {'node': 'example_gen', 'params': {'cfg': {'dataset': 'phantom'}}}]
  assert list(configuration.of(ancestry).items()) == [
      ('example_gen', {'cfg': {'dataset': 'phantom'}}), ('evaluator', {'seed': 1})]
