"""The same numbers from a runtime that shares no kernel with TensorFlow: OpenVINO.

From the network image on: files are decoded, and dropout masks drawn, by operations OpenVINO has not.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ceph_tf import geometry
from ceph_tf.serving.admission import Admitted


@pytest.mark.parametrize('model', ['baseline', 'ensemble', 'gaussian'])
def test_openvino_answers_like_tensorflow(model, predictor, tmp_path):
  openvino = pytest.importorskip('openvino', reason='no OpenVINO; pip install -e .[verify]')
  ours = predictor(model, precision='float32')
  size = (ours.cfg.input.height, ours.cfg.input.width)

  def answer(images):
    frame = geometry.Frame(tf.ones([2, 2]), tf.zeros([2, 2]))
    return ours.predict(Admitted(images, frame, tf.zeros([2], tf.int32)))

  archive = keras.export.ExportArchive()
  for network in ours.networks:
    archive.track(network.model)
  archive.track(ours.encoder)
  archive.add_endpoint('serving_default', answer, [tf.TensorSpec([2, *size, 1], tf.float32, name='images')])
  archive.write_out(str(tmp_path / 'model'), verbose=False)
  images = np.random.default_rng(0).normal(size=(2, *size, 1)).astype(np.float32)
  expected = tf.saved_model.load(str(tmp_path / 'model')).signatures['serving_default'](images=images)
  core = openvino.Core()
  compiled = core.compile_model(openvino.convert_model(tmp_path / 'model'), 'CPU',
                                {'INFERENCE_PRECISION_HINT': 'f32'})
  found = compiled([images])
  for name, value in expected.items():
    other = found[name]
    np.testing.assert_allclose(other, value, rtol=1e-3, atol=1e-3, err_msg=name)
