"""distiller: what several networks believe together becomes one network."""

import tensorflow as tf

from ceph_tf.config import NetworkConfig
from ceph_tf.models import heatmaps, unet
from pipelines.artifacts import Anomalies, Examples, TrainedModel
from pipelines.components import trainer
from pipelines.dsl import Context, In, Out, component
from pipelines.trained import look, read_network


@component(resumable=True)
def distiller(examples: In[Examples], anomalies: In[Anomalies], teachers: In[list[TrainedModel]],
              model: Out[TrainedModel], *, cfg: NetworkConfig, seed: int, context: Context):
  """Trains one network to answer with the mean heatmap of others instead of with the truth.

  Student and teachers see the same augmented images, as Beyer et al. advise ("Knowledge distillation: a good
  teacher is patient and consistent", CVPR 2022). Each step one of the teachers, in turns, is asked: the
  loss is linear in what is taught, so the student learns their mean at the price of one.

  Args:
    examples, anomalies, model, cfg, seed, context: as for `trainer`.
    teachers: networks of one configuration, which see what the student sees.

  Raises:
    ComponentError: the teachers differ in more than their seed.
    ConfigError, DataError: see `train.fit`.
  """
  del anomalies
  networks, taught, _ = look([(one, *read_network(one)) for one in teachers], 'trained')

  def asked(network):
    return tf.function(lambda seen: heatmaps.to_density(
        unet.run(network, seen, unet.no_noise(taught.model), training=False), taught.train.loss))

  ask = [asked(network) for network in networks]
  trainer.learn(examples, model, cfg, seed, context, lambda step, seen: ask[step % len(ask)](seen))
