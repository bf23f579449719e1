"""What is exported: image bytes and spacing in, landmarks with uncertainty out.

`keras.export.ExportArchive` and not a bare `tf.Module`: a module that holds a
Keras 3 model loads in Python, but not in the C++ runtime TF Serving uses.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from ceph_tf import geometry, seeds
from ceph_tf.config import NetworkConfig, SamplerConfig
from ceph_tf.models import features, unet
from ceph_tf.models.half_weights import HalfWeights
from ceph_tf.serving import admission
from ceph_tf.serving.admission import Admitted
from ceph_tf.uncertainty import fitted as fitting
from ceph_tf.uncertainty import measures, ood, refinement, samplers, temperature
from ceph_tf.uncertainty.fitted import Fitted
from ceph_tf.uncertainty.ood import Density
from ceph_tf.uncertainty.refinement import Refiner
from ceph_tf.uncertainty.samplers import Samples

# What signatures are asked.
FILES = tf.TensorSpec([None], tf.string, name='image_bytes')
IMAGES = tf.TensorSpec([None, None, None, 1], tf.float32, name='image')
SPACING = tf.TensorSpec([None], tf.float32, name='spacing_mm')


class Predictor:
  """The sampler's networks behind the signatures; see `serve` and `serve_image`.

  With `second` they look twice: images are admitted at the second look's resolution.

  Without `fitted` the answers hold what is fitted from: `features` [B, F] of the first network's
  encoder. With it, they hold what `uncertainty.fitted` documents instead.
  """

  def __init__(self, networks: Sequence[unet.Network], cfg: NetworkConfig,
               sampler: SamplerConfig, seed: int, fitted: Fitted | None = None,
               second: Refiner | None = None):
    self.networks, self.cfg, self.sampler = list(networks), cfg, sampler
    # A variable is stored once, a constant by each signature.
    self.fitted = fitted and dataclasses.replace(
        fitted, density=Density(*(tf.Variable(value, trainable=False) for value in fitted.density)))
    self.second, self.input = second, second.cfg.input if second else cfg.input
    self.encoder = features.encoder(self.networks[0], cfg.model)
    looks = [*self.networks, *(second.networks if second else ())]
    self.weights = HalfWeights([network.model for network in looks])
    self.seed = seeds.tensor(seed, 'sampler')

  def predict(self, admitted: Admitted) -> dict[str, tf.Tensor]:
    """Network images and their frames to the answers, in source pixels."""
    samples, vector = self.look(admitted.images)
    samples = samples.to_source(admitted.frame)
    answers = {
        'points_px': measures.mean_points_px(samples),
        'samples_px': tf.transpose(samples.points_px, [1, 0, 2, 3]),
        'covariance_px2': measures.total_covariance_px2(samples),
        'aleatoric_px2': measures.aleatoric_covariance_px2(samples),
    }
    found = {name: measure(samples) for name, measure in measures.MEASURES.items()}
    if self.fitted is None:
      return answers | found | {'features': vector}
    score = ood.score(vector, self.fitted.density)
    return answers | found | fitting.answers(self.fitted, found, answers['covariance_px2'], score)

  def look(self, images: tf.Tensor) -> tuple[Samples, tf.Tensor]:
    """Samples in pixels of the network images [B, H, W, 1], and their features [B, F]; B is 1 or more."""
    some = tf.debugging.assert_positive(tf.shape(images)[0], 'no image: allowed is a batch of one or more')
    with tf.control_dependencies([some]):  # or what follows would fail first, in other words
      images = tf.identity(images)
    first = self.first_images(images)
    with self.weights.scope():
      vector, trunk = features.encode(self.encoder, first, self.cfg.model)
      samples = samplers.draw(self.networks, [first], self.cfg, self.sampler, self.seed, trunk)
      if self.second:
        samples = refinement.refine(samples, images, self.second, self.sampler, self.seed)
    return samples, vector

  def first_images(self, images: tf.Tensor) -> tf.Tensor:
    """What the first networks see of them."""
    return refinement.coarse_images(images, self.second.scale) if self.second else images

  def serve(self, image_bytes: tf.Tensor, spacing_mm: tf.Tensor) -> dict[str, tf.Tensor]:
    """Image files, string [B], of any size each, and mm per pixel, float32 [B], NaN where unknown."""
    return self._answer(admission.admit_bytes(image_bytes, self.input), spacing_mm)

  def serve_image(self, image: tf.Tensor, spacing_mm: tf.Tensor) -> dict[str, tf.Tensor]:
    """Gray images float32 [B, h, w, 1], any intensity scale; answers in their pixels."""
    return self._answer(admission.admit_images(image, self.input), spacing_mm)

  def _answer(self, admitted: Admitted, spacing_mm: tf.Tensor) -> dict[str, tf.Tensor]:
    alike = tf.debugging.assert_equal(tf.shape(admitted.images)[0], tf.shape(spacing_mm)[0],
                                      'spacing_mm: allowed is one for each image')
    with tf.control_dependencies([alike]):
      spacing_mm = tf.identity(spacing_mm)
    admitted = admitted.with_spacing(spacing_mm)
    answers = refused(self.predict(admitted), admitted.ok)
    return answers | in_mm(answers, spacing_mm) | {'status': admitted.status}

  def serve_heatmap(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
    """The mean heatmaps of image files, `density` [B, h, w, L], and where they lie.

    A pixel of the heatmap is one of the source image times `scale` plus `offset`, [B, 2], (x, y).
    What is fitted holds temperatures: then the density is tempered, by `temperature` [B, L].
    """
    admitted = admission.admit_bytes(image_bytes, self.input)
    samples, _ = self.look(admitted.images)
    stride, frame = self.second.scale if self.second else self.cfg.model.stem_stride, admitted.frame
    answers = {'density': samples.mean_density, 'scale': frame.scale / stride,
               'offset': geometry.network_to_heatmap(frame.offset, stride)}
    if self.fitted is not None:
      by = tf.constant(self.fitted.temperatures, tf.float32)
      answers['density'] = temperature.tempered(samples.mean_density, by)
      answers['temperature'] = tf.tile(by[None], [tf.shape(admitted.images)[0], 1])
    return refused(answers, admitted.ok) | {'status': admitted.status}

  def serve_network_image(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
    """What the network sees of image files: `image` [B, H, W, 1], and where it lies.

    A pixel of it is one of the source image times `scale` plus `offset`, [B, 2], (x, y).
    """
    admitted = admission.admit_bytes(image_bytes, self.input)
    answers = {'image': admitted.images, **admitted.frame._asdict()}
    return refused(answers, admitted.ok) | {'status': admitted.status}

  def serve_features(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
    """The features of image files alone, [B, F]: one pass of an encoder, nothing is sampled."""
    admitted = admission.admit_bytes(image_bytes, self.input)
    with self.weights.scope():
      vector, _ = features.encode(self.encoder, self.first_images(admitted.images), self.cfg.model)
    answers = {'features': vector}
    return refused(answers, admitted.ok) | {'status': admitted.status}

  def export(self, directory: pathlib.Path) -> None:
    """Writes a SavedModel with the signatures that `saved_models/README.md` documents.

    Before anything is fitted there is `features`, too.
    """
    archive = keras.export.ExportArchive()  # variables that endpoints use are found; tracked, they come twice
    archive.add_endpoint('serving_default', self.serve, [FILES, SPACING])
    archive.add_endpoint('predict_image', self.serve_image, [IMAGES, SPACING])
    archive.add_endpoint('mean_heatmap', self.serve_heatmap, [FILES])
    archive.add_endpoint('preprocess', self.serve_network_image, [FILES])
    if self.fitted is None:
      archive.add_endpoint('features', self.serve_features, [FILES])
    archive.write_out(str(directory), verbose=False)


def refused(answers: dict[str, tf.Tensor], ok: tf.Tensor) -> dict[str, tf.Tensor]:
  """Answers [B, ...] without those of images that are not `ok` [B]: NaN, 0, and True, so `refer`."""
  def masked(value):
    nothing = {tf.bool: True, tf.int32: 0}.get(value.dtype, np.nan)
    rows = tf.reshape(ok, [-1] + [1] * (value.shape.rank - 1))
    return tf.where(rows, value, tf.constant(nothing, value.dtype))
  return {name: masked(value) for name, value in answers.items()}


def in_mm(answers: dict[str, tf.Tensor], spacing_mm: tf.Tensor) -> dict[str, tf.Tensor]:
  """`name_mm` for each `name_px`, `name_mm2` for each `name_px2`, but not for single samples."""
  found = {}
  for name, value in answers.items():
    stem, _, unit = name.rpartition('_')
    if unit in ('px', 'px2') and stem != 'samples':
      factor = spacing_mm**2 if unit == 'px2' else spacing_mm
      found[f'{stem}_{unit.replace("px", "mm")}'] = value * tf.reshape(
          factor, [-1] + [1] * (value.shape.rank - 1))
  return found
