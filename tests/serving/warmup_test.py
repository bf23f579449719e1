"""The warmup requests, read with the real protos and asked of real SavedModels."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from ceph_tf.serving import warmup


@pytest.fixture(scope='module')
def logs(tmp_path_factory):
  folder = tmp_path_factory.mktemp('saved_model')
  warmup.write(folder)
  records = tf.data.TFRecordDataset(str(folder / 'assets.extra/tf_serving_warmup_requests'))
  return [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records]


def test_the_real_protos_know_all_that_is_written(logs):
  assert [log.WhichOneof('log_type') for log in logs] == ['predict_log', 'predict_log']
  signatures = [log.predict_log.request.model_spec.signature_name for log in logs]
  assert signatures == ['serving_default', 'predict_image']
  for log, record in zip(logs, warmup.requests(), strict=True):
    inputs = {name: tf.make_ndarray(value) for name, value in log.predict_log.request.inputs.items()}
    assert inputs['spacing_mm'].tolist() == [1.5]
    rebuilt = prediction_log_pb2.PredictionLog(predict_log={'request': predict_pb2.PredictRequest(
        model_spec={'signature_name': log.predict_log.request.model_spec.signature_name},
        inputs={name: tf.make_tensor_proto(value) for name, value in inputs.items()})})
    assert rebuilt == log
    assert len(rebuilt.SerializeToString()) == len(record)  # nothing else is in it


@pytest.mark.parametrize('exported', ['mc_dropout', 'ensemble'], indirect=True)
def test_every_model_answers_them(logs, exported):
  serve = tf.saved_model.load(str(exported.path)).signatures
  for log in logs:
    request = log.predict_log.request
    answer = serve[request.model_spec.signature_name](
        **{name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()})
    assert answer['status'].numpy().tolist() == [b'ok']
    assert np.isfinite(answer['points_mm']).all()


def test_the_file_is_the_same_every_time(tmp_path):
  for name in 'ab':
    (tmp_path / name).mkdir()
    warmup.write(tmp_path / name)
  first, second = ((tmp_path / name / warmup.PATH).read_bytes() for name in 'ab')
  assert first == second and len(first) < 200_000


@pytest.mark.parametrize('length', [0, 1, 127, 128, 16383, 16384, 300_000])
def test_lengths_of_any_size(length):
  message = tf.train.BytesList(value=[bytes(length)])
  assert tf.train.BytesList.FromString(warmup._field(1, bytes(length))) == message
