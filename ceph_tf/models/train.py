"""The fit loop: batches in, trained weights out; killed and resumed without a trace.

The whole state of a training (weights, their running average, optimizer, history)
is one checkpoint written after every epoch. Batches depend on seed and step only,
so a resumed training sees what an uninterrupted one would have seen.
"""

import json
import math
import pathlib
import shutil
import time
import typing
from collections.abc import Callable

import keras
import tensorflow as tf
from absl import logging

from ceph_tf import geometry, seeds
from ceph_tf.config import ConfigError, NetworkConfig, TrainConfig
from ceph_tf.data import input as data_input
from ceph_tf.models import half_weights, heatmaps, layers, losses, unet


class EpochReport(typing.NamedTuple):
  """What is known after an epoch.

  Attributes:
    epoch: 1 for the first.
    step: optimizer steps so far.
    loss: mean training loss of the epoch.
    learning_rate: of its last step.
    validation_mre_mm: mean radial error, NaN when the epoch was not validated or
      no spacing is known.
    validation_mre_px: likewise, in source pixels.
    seconds: wall time of the epoch, validation included.
    waiting: share of `seconds` that training waited for its input.
  """

  epoch: int
  step: int
  loss: float
  learning_rate: float
  validation_mre_mm: float
  validation_mre_px: float
  seconds: float
  waiting: float

  @property
  def criterion(self) -> float:
    """What is minimized: millimetres where the data have them, else pixels."""
    return self.validation_mre_px if math.isnan(self.validation_mre_mm) else self.validation_mre_mm


def learning_rate(cfg: TrainConfig, step: int, steps_per_epoch: int,
                  history: list[EpochReport]) -> float:
  """The learning rate of a step; a pure function, so that a resumed run agrees."""
  rate = cfg.learning_rate * min(1.0, (step + 1) / max(cfg.warmup_steps, 1))
  if cfg.schedule == 'cosine':
    rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, step / (cfg.epochs * steps_per_epoch))))
  elif cfg.schedule == 'plateau':
    rate *= 0.1 ** _plateaus(history, cfg.plateau_epochs)
  return rate


def _plateaus(history: list[EpochReport], patience: int) -> int:
  """How often `patience` epochs went by without a better criterion."""
  best, waited, count = math.inf, 0, 0
  for report in history:
    waited += 1
    if report.criterion < best:
      best, waited = report.criterion, 0
    elif waited >= max(patience, 1):
      waited, count = 0, count + 1
  return count


def _best(history: list[EpochReport]) -> EpochReport | None:
  validated = [report for report in history if not math.isnan(report.criterion)]
  return min(validated, key=lambda report: report.criterion, default=None)


def finished(cfg: TrainConfig, history: list[EpochReport]) -> str:
  """Why training is over, or '' while it is not."""
  if not history:
    return ''
  last, best = history[-1], _best(history)
  if cfg.target_mre_mm and best and best.validation_mre_mm <= cfg.target_mre_mm:
    return f'validation MRE {best.validation_mre_mm:.2f} mm reached {cfg.target_mre_mm} mm'
  if cfg.stop_epochs and best and last.epoch - best.epoch >= cfg.stop_epochs:
    return f'no better validation MRE for {cfg.stop_epochs} epochs'
  return 'all epochs done' if last.epoch >= cfg.epochs else ''


class State:
  """Variables of a training on `num_images` images, and the functions that change them."""

  def __init__(self, cfg: NetworkConfig, num_landmarks: int, num_images: int, seed: int):
    self.cfg, self.num_images, self.seed = cfg, num_images, seed
    def build():
      return unet.build(cfg.model, cfg.seen, cfg.heatmaps(num_landmarks), cfg.train.precision,
                        seeds.derive(seed, 'weights'))
    self.network, self.average = build(), build()
    kinds = {'adam': keras.optimizers.Adam, 'adamw': keras.optimizers.AdamW}
    options = {'weight_decay': cfg.train.weight_decay} if cfg.train.optimizer == 'adamw' else {}
    self.optimizer = kinds[cfg.train.optimizer](cfg.train.learning_rate, **options)
    if options:
      # A raw scale of 0 is no small one, nor is a gain of 0 a simple one.
      self.optimizer.exclude_from_weight_decay(
          var_names=['bias', 'gamma', 'beta', 'raw_scale', 'gain', 'offset'])
    self.optimizer.build(self.network.model.trainable_variables)
    self.best = [tf.Variable(w.value) for w in self.network.model.weights]
    self.progress = tf.Variable('[]')  # the history, inside the same atomic checkpoint
    self.checkpoint = tf.train.Checkpoint(
        model=self.network.model, average=self.average.model, optimizer=self.optimizer,
        best=self.best, progress=self.progress)

  @property
  def history(self) -> list[EpochReport]:
    return [EpochReport(*row) for row in json.loads(self.progress.numpy())]

  @tf.function(reduce_retracing=True)
  def train_step(self, step, batch, rate, taught=None):
    """One step towards the truth or, if something is `taught`, densities [B, h, w, L], towards that."""
    cfg, seen = self.cfg, unet.seen(batch)
    points = geometry.network_to_heatmap(batch['points_px'], cfg.model.stem_stride)
    self.optimizer.learning_rate.assign(rate)
    noise = unet.training_noise(
        seeds.fold_in(seeds.tensor(self.seed, 'dropout'), step), tf.shape(seen[0])[0], cfg.model)
    model = self.network.model
    with tf.GradientTape() as tape:
      output = unet.run(self.network, seen, noise, training=True)
      loss = losses.of_output(output, points, cfg) if taught is None else losses.distillation(output, taught)
      loss += cfg.train.kl_weight / self.num_images * layers.kl_nats(model)
    self.optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
    done = tf.cast(step, tf.float32)
    momentum = tf.minimum(cfg.train.ema, (1.0 + done) / (10.0 + done))  # few steps: short memory
    for mean, weight in zip(self.average.model.weights, model.weights, strict=True):
      mean.assign(momentum * mean.value + (1.0 - momentum) * weight.value)
    return loss

  @tf.function(reduce_retracing=True)
  def predict(self, seen):
    """Landmarks [B, L, 2] in pixels of what the network sees, by the averaged weights, without noise."""
    cfg = self.cfg
    output = unet.run(self.average, seen, unet.no_noise(cfg.model), training=False)
    decoded = heatmaps.decode(output, cfg.train.loss, cfg.heatmap, cfg.model.head)
    return geometry.heatmap_to_network(decoded.points_px, cfg.model.stem_stride)

  def validate(self, validation: tf.data.Dataset) -> tuple[float, float]:
    """MRE in mm and in source pixels over all known landmarks (NaN where none)."""
    errors_mm, errors_px = [], []
    for batch in validation:
      frame = batch['frame']
      moved = frame.to_source(self.predict(unet.seen(batch))) - frame.to_source(batch['points_px'])
      error_px = tf.norm(moved, axis=-1)
      errors_px.append(tf.reshape(error_px, [-1]))
      errors_mm.append(tf.reshape(error_px * batch['spacing_mm'][:, None], [-1]))
    return _nanmean(tf.concat(errors_mm, 0)), _nanmean(tf.concat(errors_px, 0))


def _nanmean(values: tf.Tensor) -> float:
  return float(tf.reduce_mean(tf.boolean_mask(values, tf.math.is_finite(values))))


def fit(train_set: tf.data.Dataset, validation_set: tf.data.Dataset, num_landmarks: int,
        cfg: NetworkConfig, seed: int, directory: pathlib.Path,
        on_epoch: Callable[[EpochReport, keras.Model], None],
        teach: Callable[[int, list[tf.Tensor]], tf.Tensor] | None = None) -> list[EpochReport]:
  """Trains one network, or goes on where a killed call stopped.

  Args:
    train_set: `data.input.encoded` dataset.
    validation_set: what `data.input.validation` makes of another one.
    num_landmarks: L.
    cfg: the network and how to train it; `of_landmarks(L)`.
    seed: of weights, order, augmentation and noise.
    directory: holds the checkpoint while training; a later call with the same
      arguments resumes from it.
    on_epoch: called after each epoch with its report and the averaged model.
    teach: number of the step and what the network sees -> densities to be learned instead of the truth.

  Returns:
    The history; `directory/model.weights.h5` then holds the trained weights.

  Raises:
    ConfigError: a target or plateau that the validation data cannot measure.
    FloatingPointError: the loss is no longer finite, or a weight is larger than a SavedModel can hold.
  """
  # Decoded once and held in memory: a network image is small.
  train_set, validation_set = train_set.cache(), validation_set.batch(8).cache()
  num_examples = sum(1 for _ in train_set)
  steps_per_epoch = math.ceil(num_examples / cfg.train.batch_size)
  state = State(cfg, num_landmarks, num_examples, seed)
  if damage := _damage(directory / 'checkpoints'):
    logging.warning('%s is damaged (%s): training starts anew', directory / 'checkpoints', damage)
    forget(directory)
  manager = tf.train.CheckpointManager(state.checkpoint, directory / 'checkpoints', max_to_keep=1)
  state.checkpoint.restore(manager.latest_checkpoint)
  history = state.history
  batches = iter(data_input.training(train_set, num_examples, cfg.augment, cfg.crop,
                                     cfg.train.batch_size, seed, first_step=len(history) * steps_per_epoch))
  while not finished(cfg.train, history):
    report = _epoch(state, batches, validation_set, steps_per_epoch, history, teach)
    history.append(report)
    if report is _best(history):
      for best, weight in zip(state.best, state.average.model.weights, strict=True):
        best.assign(weight.value)
    state.progress.assign(json.dumps(history))
    manager.save()
    on_epoch(report, state.average.model)
  if cfg.train.keep == 'best':
    for best, weight in zip(state.best, state.average.model.weights, strict=True):
      weight.assign(best)
  try:
    # Not of the running statistics: those are folded into kernels, or stay as they are.
    half_weights.check(state.average.model.trainable_variables)
  except ValueError as error:
    raise FloatingPointError(f'training diverged: {error}; {_divergence(cfg)}') from error
  state.average.model.save_weights(directory / 'model.weights.h5')
  return history


def _epoch(state: State, batches, validation_set, steps_per_epoch: int, history: list[EpochReport],
           teach: Callable | None) -> EpochReport:
  cfg, start, waiting, total = state.cfg.train, time.monotonic(), 0.0, []
  for step in range(len(history) * steps_per_epoch, (len(history) + 1) * steps_per_epoch):
    asked = time.monotonic()
    _, batch = next(batches)
    waiting += time.monotonic() - asked
    rate = learning_rate(cfg, step, steps_per_epoch, history)
    taught = teach(step, unet.seen(batch)) if teach else None
    total.append(state.train_step(
        tf.constant(step, tf.int64), batch, tf.constant(rate, tf.float32), taught))
  loss = float(tf.reduce_mean(total))
  epoch = len(history) + 1
  if not math.isfinite(loss):
    raise FloatingPointError(
        f'training loss {loss} in epoch {epoch}: {_divergence(state.cfg)}')
  mre_mm, mre_px = math.nan, math.nan
  if epoch % cfg.validate_epochs == 0 or epoch == cfg.epochs:
    mre_mm, mre_px = state.validate(validation_set)
    if cfg.target_mre_mm and math.isnan(mre_mm):
      raise ConfigError(f'train.target_mre_mm={cfg.target_mre_mm}: no validation image has a '
                        'known spacing_mm and landmarks, so no error in mm can be measured')
  seconds = time.monotonic() - start
  return EpochReport(epoch, (len(history) + 1) * steps_per_epoch, loss, rate, mre_mm, mre_px,
                     seconds, waiting / seconds)


def _divergence(cfg: NetworkConfig) -> str:
  """What to do about a training that diverged."""
  fields = [f'train.learning_rate={cfg.train.learning_rate:g}']
  if cfg.model.variational_at:
    fields += [f'model.posterior_scale={cfg.model.posterior_scale:g}',
               f'train.kl_weight={cfg.train.kl_weight:g}']
  return f'lower {" or ".join(fields)}'


def _damage(checkpoints: pathlib.Path) -> str:
  """Why the checkpoint in a folder cannot be read to its end; '' where it can, or there is none."""
  try:
    if path := tf.train.latest_checkpoint(checkpoints):
      reader = tf.train.load_checkpoint(path)
      for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)
    elif checkpoints.exists() and any(checkpoints.iterdir()):
      return 'its files are incomplete'
  except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:
    return str(error).splitlines()[0]
  return ''


def forget(directory: pathlib.Path) -> None:
  """Removes the checkpoint of a training, if there is one: ten times the size of its weights."""
  if (directory / 'checkpoints').exists():
    shutil.rmtree(directory / 'checkpoints')
