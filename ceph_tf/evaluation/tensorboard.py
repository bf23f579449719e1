"""What TensorBoard shows: curves, weights and X-rays of a training; an evaluation."""

import dataclasses
import math
import pathlib
from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from ceph_tf import geometry
from ceph_tf.config import NetworkConfig
from ceph_tf.evaluation import plots
from ceph_tf.evaluation.pictures import Picture
from ceph_tf.models import heatmaps, unet
from ceph_tf.models.train import EpochReport

_IMAGES = 3
_IMAGES_EVERY = 10  # epochs; pictures and histograms take longer than curves


class Board:
  """Writes the TensorBoard logs of one training.

  Args:
    directory: of the logs.
    cfg: the network; its fields become the hyperparameters.
    validation: dataset of `data.input.validation`; its first images are shown.
    names: L landmark names.
  """

  def __init__(self, directory: pathlib.Path, cfg: NetworkConfig, validation: tf.data.Dataset,
               names: Sequence[str]):
    self._cfg, self._names = cfg, names
    self._writer = tf.summary.create_file_writer(str(directory))
    self._images = next(iter(validation.batch(_IMAGES)))

  def write(self, report: EpochReport, model: keras.Model) -> None:
    """One epoch: its report, and now and then weights, X-rays and heatmaps."""
    with self._writer.as_default(step=report.epoch):
      tf.summary.scalar('loss/train', report.loss)
      tf.summary.scalar('learning_rate', report.learning_rate)
      tf.summary.scalar('time/seconds_per_epoch', report.seconds)
      tf.summary.scalar('time/share_waiting_for_data', report.waiting)
      if not math.isnan(report.validation_mre_mm):
        tf.summary.scalar('validation/mre_mm', report.validation_mre_mm)
      if not math.isnan(report.validation_mre_px):
        tf.summary.scalar('validation/mre_px', report.validation_mre_px)
      if report.epoch == 1 or report.epoch % _IMAGES_EVERY == 0:
        for weight in model.trainable_weights:
          tf.summary.histogram(f'weights/{weight.path}', weight.value)
        self._write_images(model)
    self._writer.flush()

  def close(self, history: Sequence[EpochReport]) -> None:
    """Hyperparameters with the final validation error, for the HPARAMS tab."""
    with self._writer.as_default(step=len(history)):
      flat = {f'{group}.{name}': value if isinstance(value, int | float | str) else str(value)
              for group, fields in dataclasses.asdict(self._cfg).items()
              for name, value in fields.items()}
      hparams.hparams(flat)
      known = [report.validation_mre_mm for report in history if not math.isnan(report.validation_mre_mm)]
      if known:
        tf.summary.scalar('validation/final_mre_mm', known[-1])
    self._writer.close()

  def _write_images(self, model: keras.Model) -> None:
    cfg, batch = self._cfg, self._images
    noise = unet.no_noise(cfg.model)
    output = model(unet.bare([*unet.seen(batch), *noise]), training=False)
    decoded = heatmaps.decode(output, cfg.train.loss, cfg.heatmap, cfg.model.head)
    stride = cfg.model.stem_stride
    points = geometry.heatmap_to_network(decoded.points_px, stride).numpy()
    covariance = (decoded.covariance_px2 * stride**2).numpy()
    for i, image in enumerate(batch['image'].numpy()[..., 0]):
      which = [int(batch['landmark'][i, 0])] if 'landmark' in batch else range(len(self._names))
      figure = plots.overlay(image, image.shape, points[i], batch['points_px'][i].numpy(),
                             covariance_px2=covariance[i], names=[self._names[k] for k in which])
      tf.summary.image(f'validation/{i}', tf.io.decode_png(plots.png(figure, dpi=100))[None])
      tf.summary.image(f'heatmaps/{i}', _together(decoded.density[i].numpy()))


def write_evaluation(directory: pathlib.Path, figures: dict, pictures: Iterable[Picture]) -> None:
  """The figures and pictures of an evaluation, beside the curves of the training.

  Args:
    directory: of the logs.
    figures: as in `evaluation.json`.
    pictures: charts and overlays.
  """
  with tf.summary.create_file_writer(str(directory)).as_default(step=0):
    for truth, subsets in figures['results'].items():
      for subset, result in subsets.items():
        for name in ('mre_mm', 'sdr_2mm'):
          if result[name] is not None and math.isfinite(result[name]):
            tf.summary.scalar(f'evaluation/{truth}/{subset}/{name}', result[name])
  write_pictures(directory, 'evaluation', pictures)


def write_pictures(directory: pathlib.Path, group: str, pictures: Iterable[Picture]) -> None:
  """Charts and overlays, as images named `<group>/<name>`."""
  with tf.summary.create_file_writer(str(directory)).as_default(step=0):
    for picture in pictures:
      image = tf.io.decode_png(picture.png, channels=3)
      tf.summary.image(f'{group}/{picture.name}', image[None], description=picture.caption)


def _together(density: np.ndarray) -> np.ndarray:
  """Densities [h, w, L], each scaled to its maximum, on top of each other: [1, h, w, 1]."""
  return (density / density.max((0, 1), keepdims=True)).max(-1)[None, ..., None]
