"""Half weights: what is rounded, what is not touched, what cannot be."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ceph_tf.models.half_weights import HalfWeights

X = tf.constant([[1.0, 2.0]])
KERNEL = np.array([[0.1], [-2.0]], np.float32)


def model(kernel=KERNEL):
  network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
  network.set_weights([kernel])
  return network


def export(network, folder):
  half, archive = HalfWeights([network]), keras.export.ExportArchive()

  def answer(x):
    with half.scope():
      return network(x)

  archive.add_endpoint('answer', answer, [tf.TensorSpec([None, 2], tf.float32)])
  archive.write_out(str(folder), verbose=False)


def test_networks_run_with_rounded_weights_within_the_scope_alone():
  network = model()
  half = HalfWeights([network, network])  # the same weights count once
  with half.scope():
    rounded = network(X)
  np.testing.assert_array_equal(rounded, X @ KERNEL.astype(np.float16).astype(np.float32))
  np.testing.assert_array_equal(network(X), X @ KERNEL)
  assert abs(rounded - X @ KERNEL).numpy() > 0


def test_a_saved_model_holds_16_bits_of_each_weight(tmp_path):
  network = model()
  export(network, tmp_path / 'm')
  stored = tf.train.load_checkpoint(str(tmp_path / 'm/variables/variables'))
  shapes, types = stored.get_variable_to_shape_map(), stored.get_variable_to_dtype_map()
  assert {types[name] for name, shape in shapes.items() if shape} == {tf.float16}
  loaded = tf.saved_model.load(str(tmp_path / 'm'))
  np.testing.assert_array_equal(loaded.answer(X), X @ KERNEL.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize('bad', [7e4, -7e4, np.inf, np.nan])
def test_a_weight_that_16_bits_cannot_hold_is_named(bad):
  with pytest.raises(ValueError, match=r'kernel.* is (70000|inf|nan): allowed is at most 65504'):
    HalfWeights([model(np.array([[1.0], [bad]], np.float32))])


def test_running_statistics_stay_as_they_are(tmp_path):
  norm = keras.layers.BatchNormalization()
  network = keras.Sequential([keras.Input((2,)), norm])
  norm.moving_mean.assign([0.1, 1e6])
  export(network, tmp_path / 'm')
  loaded = tf.saved_model.load(str(tmp_path / 'm'))
  np.testing.assert_array_equal(loaded.answer(X), network(X))
