"""rescan_inferrer with a SavedModel whose feature is the standard deviation of the gray values."""

import numpy as np
import pytest
import tensorflow as tf

from ceph_tf.config import AugmentConfig, InputConfig
from ceph_tf.data import examples as tfrecords
from pipelines import artifacts
from pipelines.components.rescan_inferrer import rescan_inferrer
from pipelines.dsl import ComponentError, Context

CONTEXT = Context(node='rescans', run='test', key='0', lineage=lambda: [])


def new(kind, folder):
  folder.mkdir(parents=True)
  return kind(folder)


class _Contrast(tf.Module):

  @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='image_bytes')])
  def features(self, image_bytes):
    def one(data):
      image = tf.cast(tf.io.decode_image(data, dtype=tf.uint16, expand_animations=False), tf.float32)
      return tf.math.reduce_std(image)[None]
    found = tf.map_fn(one, image_bytes, fn_output_signature=tf.TensorSpec([1], tf.float32))
    return {'features': found, 'status': tf.fill([tf.shape(image_bytes)[0]], 'ok')}

  @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='image_bytes'),
                                tf.TensorSpec([None], tf.float32, name='spacing_mm')])
  def answer(self, image_bytes, spacing_mm):
    unknown = tf.cast(tf.math.is_nan(spacing_mm), tf.float32)
    return {**self.features(image_bytes), 'entropy_nats': unknown[:, None]}


@pytest.fixture(scope='module')
def servable(tmp_path_factory):
  made, module = new(artifacts.ServableModel, tmp_path_factory.mktemp('model') / 'servable'), _Contrast()
  tf.saved_model.save(module, str(made.saved_model), signatures={
      'features': module.features, 'serving_default': module.answer})
  return made


@pytest.fixture
def infer(tmp_path, servable, phantom_records):
  def run(name, copies=3, strength=0.5, seed=0, blessed=True, signature='features'):
    examples = new(artifacts.Examples, tmp_path / name / 'examples')
    tfrecords.write(iter(phantom_records), examples.path, 1, 'phantom')
    blessing = new(artifacts.InfraBlessing, tmp_path / name / 'blessing')
    blessing.write({'blessed': blessed, 'reasons': [] if blessed else ['it is broken']})
    found = new(artifacts.Predictions, tmp_path / name / 'predictions')
    rescan_inferrer.function(
        servable=servable, examples=examples, blessing=blessing, predictions=found, split='train',
        size=InputConfig(64, 48), augment=AugmentConfig(), strength=strength, copies=copies, seed=seed,
        context=CONTEXT, signature=signature)
    return found.read()
  return run


def test_each_image_comes_first_and_then_its_copies(infer, phantom_records):
  ids = [record.image_id for record in phantom_records if record.split == 'train']
  found, alone = infer('copies'), infer('alone', copies=0)
  assert found['image_id'].tolist() == np.repeat(ids, 4).tolist()
  assert found['features'].shape == (4 * len(ids), 1)
  assert alone['image_id'].tolist() == ids
  np.testing.assert_array_equal(found['features'][::4], alone['features'])
  per_image = found['features'].reshape(-1, 4)
  assert all(len(set(row)) == 4 for row in per_image.tolist())  # no copy is like another


def test_seed_and_strength_decide_the_copies(infer):
  first, again = infer('first')['features'], infer('again')['features']
  np.testing.assert_array_equal(first, again)
  for name, changed in (('seed', {'seed': 1}), ('strength', {'strength': 1.0})):
    other = infer(name, **changed)['features']
    np.testing.assert_array_equal(other[::4], first[::4])
    assert (np.abs(other - first).reshape(-1, 4)[:, 1:] > 0).all()


def test_all_answers_are_kept_and_no_spacing_is_told(infer):
  features, answers = infer('features'), infer('answers', signature='serving_default')
  np.testing.assert_array_equal(answers['features'], features['features'])
  assert answers['measure/entropy_nats'].tolist() == [[1]] * len(features['features'])


def test_a_model_that_is_not_blessed_is_not_asked(infer):
  with pytest.raises(ComponentError, match='it is broken'):
    infer('unblessed', blessed=False)
