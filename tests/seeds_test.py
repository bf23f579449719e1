import numpy as np
import tensorflow as tf

from ceph_tf import seeds


def test_the_same_path_gives_the_same_seed_in_every_process():
  # Known values: a change of the derivation would silently change every experiment.
  assert seeds.derive(0) == 863368751
  assert seeds.derive(7, 'augment', 3) == seeds.derive(7, 'augment', 3)


def test_every_element_of_the_path_counts():
  paths = [(0,), (1,), (0, 'a'), (0, 'b'), (0, 'a', 1), (0, 1, 'a'), (0, 'a', '1'), (0, 'a1'), (0, 'a', 1, 0)]
  assert len({seeds.derive(*path) for path in paths}) == len(paths)


def test_derived_seeds_are_31_bits_and_well_spread():
  values = np.array([seeds.derive(5, 'x', i) for i in range(2000)])
  assert values.min() >= 0 and values.max() < 2**31
  assert len(set(values)) == 2000
  assert abs(values.mean() / 2**31 - 0.5) < 0.03


def test_numpy_generators_repeat_and_differ():
  first, again, other = (seeds.rng(1, name).normal(size=50) for name in ('a', 'a', 'b'))
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - other).max() > 0.1


def test_numpy_integers_are_seeds_too():
  assert seeds.derive(np.int64(3), 'a') == seeds.derive(3, 'a')


def test_tensor_seeds_fit_the_stateless_functions():
  seed = seeds.tensor(1, 'a')
  assert seed.dtype == tf.int32 and seed.shape == (2,)
  np.testing.assert_array_equal(seed, seeds.tensor(1, 'a'))
  assert np.any(seed != seeds.tensor(1, 'b'))
  tf.random.stateless_uniform([3], seed)


def test_folding_gives_one_seed_per_number_inside_and_outside_a_graph():
  seed = seeds.tensor(1)
  graph = tf.function(lambda number: seeds.fold_in(seed, number))
  found = [tuple(graph(tf.constant(i, tf.int64)).numpy()) for i in range(20)]
  assert len(set(found)) == 20
  assert found == [tuple(seeds.fold_in(seed, tf.constant(i, tf.int64)).numpy()) for i in range(20)]


def test_splitting_gives_seeds_that_differ():
  parts = [tuple(part.numpy()) for part in seeds.split(seeds.tensor(1), 5)]
  assert len(set(parts)) == 5
