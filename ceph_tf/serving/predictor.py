"""What is exported: image bytes in, landmarks with uncertainty out.

`keras.export.ExportArchive` and not a bare `tf.Module`: a module that holds a
Keras 3 model loads in Python, but not in the C++ runtime TF Serving uses.
"""

import pathlib
from collections.abc import Sequence

import keras
import tensorflow as tf

from ceph_tf import geometry, seeds
from ceph_tf.config import NetworkConfig, SamplerConfig
from ceph_tf.data import preprocess
from ceph_tf.models import features, unet
from ceph_tf.uncertainty import fitted as fitting
from ceph_tf.uncertainty import measures, samplers
from ceph_tf.uncertainty.fitted import Fitted


class Predictor:
  """The sampler's networks behind two functions; see `serve` and `serve_image`.

  Without `fitted` the answers hold what is fitted from: `features` [B, F] of the first network's
  encoder. With it, they hold what `uncertainty.fitted` documents instead.
  """

  def __init__(self, networks: Sequence[unet.Network], cfg: NetworkConfig,
               sampler: SamplerConfig, seed: int, fitted: Fitted | None = None):
    self.networks, self.cfg, self.sampler, self.fitted = list(networks), cfg, sampler, fitted
    self.encoder = features.encoder(self.networks[0], cfg.model)
    self.seed = seeds.tensor(seed, 'sampler')

  def predict(self, images: tf.Tensor, frame: geometry.Frame) -> dict[str, tf.Tensor]:
    """Network images [B, H, W, 1] and their frames (shapes [B, 2]) to the answers."""
    samples = samplers.draw(self.networks, images, self.cfg, self.sampler, self.seed)
    samples = samples.to_source(frame)
    answers = {
        'points_px': measures.mean_points_px(samples),
        'samples_px': tf.transpose(samples.points_px, [1, 0, 2, 3]),
        'covariance_px2': measures.total_covariance_px2(samples),
        'aleatoric_px2': measures.aleatoric_covariance_px2(samples),
    }
    found = {name: measure(samples) for name, measure in measures.MEASURES.items()}
    vector = features.pooled(self.encoder, images, self.cfg.model)
    if self.fitted is None:
      return answers | found | {'features': vector}
    return answers | found | fitting.answers(self.fitted, found, answers['covariance_px2'], vector)

  def serve(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
    """Image files, string [B], of any size each; answers in source pixels."""
    return self.predict(*self._each(preprocess.encode, image_bytes))

  def serve_image(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
    """Gray images float32 [B, h, w, 1], any intensity scale; answers in their pixels."""
    return self.predict(*self._each(preprocess.to_network_image, image))

  def serve_heatmap(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
    """The mean heatmaps of image files, `density` [B, h, w, L], and where they lie.

    A pixel of the heatmap is one of the source image times `scale` plus `offset`, [B, 2], (x, y).
    """
    images, frame = self._each(preprocess.encode, image_bytes)
    samples = samplers.draw(self.networks, images, self.cfg, self.sampler, self.seed)
    stride = self.cfg.model.stem_stride
    return {'density': samples.mean_density, 'scale': frame.scale / stride,
            'offset': geometry.network_to_heatmap(frame.offset, stride)}

  def serve_features(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
    """The features of image files alone, [B, F]: one pass of an encoder, nothing is sampled."""
    images, _ = self._each(preprocess.encode, image_bytes)
    return {'features': features.pooled(self.encoder, images, self.cfg.model)}

  def _each(self, preprocess_one, batch: tf.Tensor) -> tuple[tf.Tensor, geometry.Frame]:
    """Network images [B, H, W, 1] and frames of a batch whose images are of any size each."""
    size = self.cfg.input
    frame = geometry.Frame(tf.TensorSpec([2]), tf.TensorSpec([2]))
    return tf.map_fn(lambda one: preprocess_one(one, size), batch,
                     fn_output_signature=(tf.TensorSpec([size.height, size.width, 1]), frame))

  def export(self, directory: pathlib.Path) -> None:
    """Writes a SavedModel with signatures `serving_default`, `predict_image` and `mean_heatmap`.

    Before anything is fitted there is `features`, too.
    """
    archive = keras.export.ExportArchive()
    for network in self.networks:
      archive.track(network.model)
    archive.track(self.encoder)
    archive.add_endpoint('serving_default', self.serve,
                         [tf.TensorSpec([None], tf.string, name='image_bytes')])
    archive.add_endpoint('predict_image', self.serve_image,
                         [tf.TensorSpec([None, None, None, 1], tf.float32, name='image')])
    archive.add_endpoint('mean_heatmap', self.serve_heatmap,
                         [tf.TensorSpec([None], tf.string, name='image_bytes')])
    if self.fitted is None:
      archive.add_endpoint('features', self.serve_features,
                           [tf.TensorSpec([None], tf.string, name='image_bytes')])
    archive.write_out(str(directory), verbose=False)
