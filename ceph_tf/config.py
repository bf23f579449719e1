"""The configuration of one experiment: frozen dataclasses, each field checked.

An `Experiment` is resolved once, on the command line (preset, then `--set`), and
never changes afterwards. Components receive only the slice they need, so that a
change of, say, `evaluate.bootstrap` cannot invalidate a trained network.

Units are in the names: `_px` are pixels of the network image unless said
otherwise, `_mm` millimetres, `_deg` degrees.
"""

import dataclasses
import difflib
import pathlib
import typing

PRECISIONS = ('float32', 'mixed_bfloat16')


class ConfigError(ValueError):
  """A configuration field that does not exist or holds a value it may not hold."""


def _check(condition: bool, field: str, value: object, allowed: str) -> None:
  if not condition:
    raise ConfigError(f'{field}={value!r}: allowed is {allowed}')


def one_of(field: str, value: str, allowed: typing.Iterable[str]) -> None:
  """Raises `ConfigError` with the nearest name unless `value` is in `allowed`."""
  allowed = sorted(allowed)
  if value not in allowed:
    near = difflib.get_close_matches(value, allowed, n=1, cutoff=0.4)
    hint = f'; did you mean {near[0]!r}?' if near else ''
    raise ConfigError(f'{field}={value!r}: allowed is {", ".join(allowed)}{hint}')


def _check_rate(field: str, rate: float) -> None:
  _check(rate == 0 or 0.001 <= rate <= 0.999, field, rate, '0, or 0.001..0.999')


def _check_blocks(field: str, blocks: tuple[str, ...], filters: tuple[int, ...]) -> None:
  levels = range(len(filters))
  for block in blocks:
    one_of(field, block, [f'down{i}' for i in levels] + [f'up{i}' for i in levels[:-1]])


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Which images, whose truth, which splits. The slice of `example_gen`.

  `validation_images` (tuning, early stopping) and `calibration_images` (what
  uncertainties are calibrated on) are taken out of the training images.
  `test_fraction`: share of the images that test, where a table of own images does not say which. 1: nothing
  is trained, and images that calibrate are taken out of those that test.
  """

  dataset: str = 'phantom'
  data_dir: str = ''
  validation_images: int = 15
  calibration_images: int = 20
  test_fraction: float = 0.2
  phantom_images: int = 150  # training side (validation, calibration included)
  phantom_test_images: int = 50
  phantom_size_px: int = 480  # height of a phantom image; its width is 0.8 of it
  shards: int = 2

  def __post_init__(self):
    _check(self.validation_images >= 1, 'data.validation_images', self.validation_images, '>= 1')
    _check(self.calibration_images >= 0, 'data.calibration_images', self.calibration_images, '>= 0')
    _check(0 < self.test_fraction <= 1, 'data.test_fraction', self.test_fraction, '0 < share <= 1')
    _check(self.phantom_images >= 4, 'data.phantom_images', self.phantom_images, '>= 4')
    _check(self.phantom_test_images >= 1, 'data.phantom_test_images', self.phantom_test_images, '>= 1')
    _check(64 <= self.phantom_size_px <= 4096, 'data.phantom_size_px', self.phantom_size_px, '64..4096')
    _check(1 <= self.shards <= 100, 'data.shards', self.shards, '1..100')

  @property
  def trained(self) -> bool:
    """Whether a network is to be trained on the data."""
    return self.test_fraction < 1


@dataclasses.dataclass(frozen=True)
class ValidateConfig:
  """What `example_validator` does about an anomaly: `stop` or `warn`.

  `leaks='auto'` warns for isbi2015, whose official splits share films, and stops
  for every other dataset.
  """

  leaks: str = 'auto'
  points: str = 'stop'
  images: str = 'stop'

  def __post_init__(self):
    one_of('validate.leaks', self.leaks, ('auto', 'stop', 'warn'))
    one_of('validate.points', self.points, ('stop', 'warn'))
    one_of('validate.images', self.images, ('stop', 'warn'))


@dataclasses.dataclass(frozen=True)
class InputConfig:
  """The network image. `fit='pad'` keeps the aspect ratio, `stretch` fills."""

  height: int = 320
  width: int = 256
  fit: str = 'pad'

  def __post_init__(self):
    _check(self.height >= 16, 'input.height', self.height, '>= 16')
    _check(self.width >= 16, 'input.width', self.width, '>= 16')
    one_of('input.fit', self.fit, ('pad', 'stretch'))


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
  """Random changes of training images; each value but `erased` is the largest drawn.

  `elastic_px` is the standard deviation of the displacement of a control point
  of a cubic B-spline grid whose knots are `elastic_grid_px` apart.
  """

  rotate_deg: float = 12.0
  scale: float = 0.5  # factors from 1/(1+scale) to 1+scale
  shift: float = 0.12  # of the image's height and width
  elastic_px: float = 5.0
  elastic_grid_px: float = 48.0
  outside: float = 2.0  # gray of what lies beyond the film, in standard deviations of the image
  gamma: float = 1.0  # exponents from 1/(1+gamma) to 1+gamma
  local_contrast: float = 1.0  # factors of what is smaller than a twentieth of the image, likewise
  shading: float = 0.3  # smooth additive field, in standard deviations of the image
  contrast: float = 0.2  # factors from 1/(1+contrast) to 1+contrast
  brightness: float = 0.2  # in standard deviations of the image
  noise: float = 0.1  # standard deviation of the largest noise, likewise
  erased: float = 0.0  # share of the images that rectangles are drawn over

  def __post_init__(self):
    largest = {'rotate_deg': 180, 'shift': 1, 'erased': 1, 'elastic_px': 1000, 'elastic_grid_px': 10000}
    for field in dataclasses.fields(self):
      value, limit = getattr(self, field.name), largest.get(field.name, 10)
      _check(0 <= value <= limit, f'augment.{field.name}', value, f'0..{limit}')
    _check(self.scale < 1, 'augment.scale', self.scale, '0 <= scale < 1')
    _check(self.elastic_grid_px >= 4, 'augment.elastic_grid_px', self.elastic_grid_px, '>= 4')


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """One network. `filters` has one entry per resolution, finest first.

  `stem_stride=2` computes at half the network image's resolution, from a strided
  first convolution; heatmaps then have half the network image's size.
  `dropout_at` names blocks: `down0`.. (finest first), `up0`.. (finest first), and so does
  `variational_at`: the blocks whose kernels are distributions, trained as `variational_kind` says.
  `prior_scale`, `posterior_scale`: see `models.layers`. `members`: how many gains and offsets the
  normalizations of the blocks `members_at` have, 0 for one network; `member_spread`: of initial gains.
  `head`: `heatmap`, or `gaussian`, which regresses a covariance of each landmark as well.
  `spread_gradient`: share of its gradient that reaches the features it is regressed from. With 0
  heatmaps are just those of the other head; with more the likelihood gains and accuracy pays.
  `landmarks`: of how many it is told one, the one to look for (see `CropConfig`); 0 where it looks for
  all of them at once. Whoever trains a network of crops sets it, since the data say how many there are.
  """

  name: str = 'baseline'
  filters: tuple[int, ...] = (32, 64, 96, 128, 160)
  convs: int = 2
  stem_stride: int = 2
  norm: str = 'batch'
  head: str = 'heatmap'
  spread_gradient: float = 0.0
  dropout_rate: float = 0.0
  dropout_at: tuple[str, ...] = ()
  variational_at: tuple[str, ...] = ()
  variational_kind: str = 'flipout'
  prior_scale: float = 1.0
  posterior_scale: float = 0.1  # before training
  members: int = 0
  members_at: tuple[str, ...] = ()
  member_spread: float = 0.5
  landmarks: int = 0

  def __post_init__(self):
    _check(self.landmarks >= 0, 'model.landmarks', self.landmarks, '>= 0')
    _check(not (self.landmarks and self.members), 'model.landmarks', self.landmarks, '0 with model.members')
    _check(len(self.filters) >= 2 and min(self.filters) >= 1, 'model.filters', self.filters,
           'two or more positive numbers')
    _check(self.convs >= 1, 'model.convs', self.convs, '>= 1')
    _check(self.stem_stride in (1, 2, 4), 'model.stem_stride', self.stem_stride, '1, 2 or 4')
    one_of('model.norm', self.norm, ('batch', 'group', 'none'))
    _check(self.norm != 'group' or all(width < 8 or width % 8 == 0 for width in self.filters),
           'model.filters', self.filters, 'numbers below 8 or multiples of 8 with model.norm=group')
    one_of('model.head', self.head, ('heatmap', 'gaussian'))
    _check(0 <= self.spread_gradient <= 1, 'model.spread_gradient', self.spread_gradient, '0..1')
    _check_rate('model.dropout_rate', self.dropout_rate)
    for name in ('dropout_at', 'variational_at', 'members_at'):
      _check_blocks(f'model.{name}', getattr(self, name), self.filters)
    one_of('model.variational_kind', self.variational_kind, ('flipout', 'reparameterization'))
    _check(1e-3 <= self.prior_scale <= 1e3, 'model.prior_scale', self.prior_scale, '0.001..1000')
    _check(self.posterior_scale == 0 or 1e-3 <= self.posterior_scale <= 10, 'model.posterior_scale',
           self.posterior_scale, '0, or 0.001..10')
    _check(self.members == 0 or self.members >= 2, 'model.members', self.members, '0, or >= 2')
    _check(0 <= self.member_spread <= 1, 'model.member_spread', self.member_spread, '0..1')
    if self.members:
      _check(self.members_at != (), 'model.members_at', self.members_at, 'a block or more with model.members')
      _check(self.norm != 'none', 'model.norm', self.norm, 'batch or group with model.members')
    else:
      _check(self.members_at == (), 'model.members_at', self.members_at, 'no block without model.members')

  @property
  def channels(self) -> int:
    """Of what the network sees: an image has one, a crop another for its surroundings."""
    return 2 if self.landmarks else 1


@dataclasses.dataclass(frozen=True)
class HeatmapConfig:
  """Target heatmaps and how a landmark is read from a heatmap.

  `target_sigma_px` and `filter_sigma_px` are in pixels of the heatmap.
  `decode`: `argmax` (Gaussian filter, then the largest pixel: the thesis),
  `global` (mean of the whole density) or `local` (mean of the density in a
  window of `window_px` to each side of the filtered maximum). `outside`: what a landmark beyond the
  heatmap's border teaches in training: nothing (`ignored`), or not to know it (`uniform`).
  """

  target_sigma_px: float = 0.5
  amplitude: float = 1000.0  # of the regression target; cross-entropy needs none
  decode: str = 'local'
  filter_sigma_px: float = 1.5
  window_px: int = 6
  outside: str = 'ignored'

  def __post_init__(self):
    one_of('heatmap.outside', self.outside, ('ignored', 'uniform'))
    _check(self.target_sigma_px > 0, 'heatmap.target_sigma_px', self.target_sigma_px, '> 0')
    _check(self.amplitude > 0, 'heatmap.amplitude', self.amplitude, '> 0')
    one_of('heatmap.decode', self.decode, ('argmax', 'global', 'local'))
    _check(self.filter_sigma_px >= 0, 'heatmap.filter_sigma_px', self.filter_sigma_px, '>= 0')
    _check(self.window_px >= 1, 'heatmap.window_px', self.window_px, '>= 1')


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """The fit loop.

  `schedule`: `cosine` to zero over `epochs`, `plateau` (a tenth after `plateau_epochs` without a better
  validation MRE), or `constant`, which is for averaged weights (`ema`). `stop_epochs=0`: never stop
  early. `target_mre_mm=0`: no target; otherwise training stops at the first
  epoch whose validation MRE reaches it (deliberately under-trained models).
  Validation takes place every `validate_epochs` and after the last epoch; the
  weights kept are those of the `last` or of the `best` validated epoch. `kl_weight`: what the
  divergence of kernels from their prior, per training image, counts in the loss.
  `nll_weight`, `nll_beta`: of the likelihood that `model.head=gaussian` adds to the loss of the
  heatmaps, see `models.spread.beta_nll`. The weight is one against the heatmaps', so it matters
  where `model.spread_gradient` is above 0. `precision`: of all layers but the last. `pipelines.run`
  chooses the one that is fast on its machine, unless told.
  """

  truth: str = 'mean'
  loss: str = 'cross_entropy'
  nll_weight: float = 1.0
  nll_beta: float = 0.0
  optimizer: str = 'adamw'
  learning_rate: float = 2e-3
  weight_decay: float = 1e-2
  schedule: str = 'cosine'
  warmup_steps: int = 100
  plateau_epochs: int = 15
  stop_epochs: int = 0
  epochs: int = 60
  batch_size: int = 8
  ema: float = 0.99  # 0: no averaging of the weights
  precision: str = 'float32'
  keep: str = 'last'
  validate_epochs: int = 2
  target_mre_mm: float = 0.0
  kl_weight: float = 1e-4

  def __post_init__(self):
    one_of('train.truth', self.truth, ('senior', 'junior', 'mean', 'truth'))
    one_of('train.loss', self.loss, ('cross_entropy', 'mse'))
    one_of('train.optimizer', self.optimizer, ('adam', 'adamw'))
    one_of('train.schedule', self.schedule, ('cosine', 'plateau', 'constant'))
    one_of('train.keep', self.keep, ('best', 'last'))
    _check(self.validate_epochs >= 1, 'train.validate_epochs', self.validate_epochs, '>= 1')
    one_of('train.precision', self.precision, PRECISIONS)
    _check(self.learning_rate > 0, 'train.learning_rate', self.learning_rate, '> 0')
    _check(self.epochs >= 1, 'train.epochs', self.epochs, '>= 1')
    _check(1 <= self.batch_size <= 512, 'train.batch_size', self.batch_size, '1..512')
    _check(0 <= self.ema < 1, 'train.ema', self.ema, '0 <= ema < 1')
    _check(self.nll_weight > 0, 'train.nll_weight', self.nll_weight, '> 0')
    _check(0 <= self.nll_beta <= 1, 'train.nll_beta', self.nll_beta, '0..1')
    for name in ('weight_decay', 'warmup_steps', 'plateau_epochs', 'stop_epochs', 'target_mre_mm',
                 'kl_weight'):
      _check(getattr(self, name) >= 0, f'train.{name}', getattr(self, name), '>= 0')


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
  """How many networks answer for one image: `one`, `passes`, `views` or `members`.

  `chunk`: dropout passes computed at once, which bounds the memory. Passes with kernels of their own
  are computed one by one. `view_rotate_deg`, `view_scale`, `view_shift` (of the image's height): how
  far a view is turned, scaled and shifted at most, see `uncertainty.views`.
  """

  kind: str = 'one'
  num_samples: int = 1
  chunk: int = 5
  view_rotate_deg: float = 5.0
  view_scale: float = 0.07
  view_shift: float = 0.016

  def __post_init__(self):
    one_of('sampler.kind', self.kind, ('one', 'passes', 'views', 'members'))
    _check(0 <= self.view_rotate_deg <= 45, 'sampler.view_rotate_deg', self.view_rotate_deg, '0..45')
    _check(0 <= self.view_scale <= 0.5, 'sampler.view_scale', self.view_scale, '0..0.5')
    _check(0 <= self.view_shift <= 0.2, 'sampler.view_shift', self.view_shift, '0..0.2')
    _check(1 <= self.num_samples <= 1000, 'sampler.num_samples', self.num_samples, '1..1000')
    _check(self.chunk >= 1, 'sampler.chunk', self.chunk, '>= 1')
    if self.kind == 'one':
      _check(self.num_samples == 1, 'sampler.num_samples', self.num_samples, '1 when sampler.kind=one')
    else:
      _check(self.num_samples >= 2, 'sampler.num_samples', self.num_samples,
             f'>= 2 when sampler.kind={self.kind}')
    if self.kind == 'views':
      _check(any((self.view_rotate_deg, self.view_scale, self.view_shift)), 'sampler.view_rotate_deg',
             self.view_rotate_deg, '> 0 where sampler.view_scale=0 and sampler.view_shift=0')


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
  """Evaluation and blessing. A model is blessed when all thresholds hold."""

  split: str = 'test1'
  bootstrap: int = 1000
  overlays: int = 12
  max_mre_mm: float = 4.0
  min_sdr_4mm: float = 0.0  # a fraction

  def __post_init__(self):
    one_of('evaluate.split', self.split, ('test', 'test1', 'test2', 'validation'))
    _check(self.bootstrap >= 1, 'evaluate.bootstrap', self.bootstrap, '>= 1')
    _check(self.overlays >= 0, 'evaluate.overlays', self.overlays, '>= 0')
    _check(self.max_mre_mm > 0, 'evaluate.max_mre_mm', self.max_mre_mm, '> 0')
    _check(0 <= self.min_sdr_4mm <= 1, 'evaluate.min_sdr_4mm', self.min_sdr_4mm, '0..1')


@dataclasses.dataclass(frozen=True)
class AnalyzeConfig:
  """Analysis of the uncertainties of the test split, calibrated on the calibration split.

  `coverage` is what conformal regions state, and needs coverage / (1 - coverage)
  calibration images. `bins`: quantile bins. Errors above `gross_mm` are to be found by
  their uncertainty; the last one is the headline. `alpha`: share of ordinary images that
  the alarm of strange images may refer, and that of uncertain ones twice, see `uncertainty.fitted`.
  `rescans`: copies of each training and calibration image, framed and exposed as by another scanner, which
  these alarms take for ordinary, see `data.rescan`; 0: only the images as they are. `rescan_strength`:
  the share of the training augmentation that copies of calibration images show; those of training
  images show all.
  """

  coverage: float = 0.9
  bins: int = 5
  bootstrap: int = 1000
  gross_mm: tuple[float, ...] = (2.0, 4.0)
  alpha: float = 0.05
  rescans: int = 8
  rescan_strength: float = 0.5

  def __post_init__(self):
    _check(0 <= self.rescans <= 100, 'analyze.rescans', self.rescans, '0..100')
    _check(0 <= self.rescan_strength <= 1, 'analyze.rescan_strength', self.rescan_strength, '0..1')
    _check(0 < self.alpha < 1, 'analyze.alpha', self.alpha, '0 < alpha < 1')
    _check(0 < self.coverage < 1, 'analyze.coverage', self.coverage, '0 < coverage < 1')
    _check(self.bins >= 2, 'analyze.bins', self.bins, '>= 2')
    _check(self.bootstrap >= 1, 'analyze.bootstrap', self.bootstrap, '>= 1')
    rising = list(self.gross_mm) == sorted(set(self.gross_mm))
    _check(bool(self.gross_mm) and rising and min(self.gross_mm) > 0, 'analyze.gross_mm',
           self.gross_mm, 'one or more rising lengths > 0')


@dataclasses.dataclass(frozen=True)
class StressConfig:
  """Experiments on test images that were changed on purpose: elastic copies, a turning head, OOD.

  `images`: that many test images, evenly spread over the split, because all of their copies cost
  as much as evaluating the split 40 times; 0 leaves the experiments out. `elastic_max`: the
  strongest distortion, as the standard deviation of a control point's displacement, a fraction
  of the image's height; control points are `elastic_grid` of the height apart. `height_px`: what
  test images are reduced to first. `volume`: a CT that turns instead of the phantom;
  `volume_axes`: see `data.volumes.read`.
  """

  images: int = 20
  copies: int = 40
  elastic_max: float = 0.04
  elastic_grid: float = 0.1
  height_px: int = 640
  angle_step_deg: float = 1.0
  volume: str = ''
  volume_axes: str = ''

  def __post_init__(self):
    _check(self.images >= 0, 'stress.images', self.images, '>= 0')
    _check(self.copies >= 3, 'stress.copies', self.copies, '>= 3')
    _check(0 < self.elastic_max <= 0.2, 'stress.elastic_max', self.elastic_max, '0 < fraction <= 0.2')
    _check(0.02 <= self.elastic_grid <= 1, 'stress.elastic_grid', self.elastic_grid, '0.02..1')
    _check(64 <= self.height_px <= 4096, 'stress.height_px', self.height_px, '64..4096')
    _check(bool(self.volume) or not self.volume_axes, 'stress.volume_axes', self.volume_axes,
           "'' unless there is a stress.volume")
    _check(0 < self.angle_step_deg <= 15, 'stress.angle_step_deg', self.angle_step_deg, '0 < step <= 15')


@dataclasses.dataclass(frozen=True)
class CropConfig:
  """How much of its network image a network sees: all of it, or crops around landmarks.

  With `size_px=0` all of it. Else it sees one square crop of that side per landmark, and what surrounds
  it, is told which landmark that is, and answers with one heatmap. In training a crop's centre is off
  the landmark by a normal distribution, whose standard deviation is drawn between the two of `jitter_px`,
  and a step takes crops of `landmarks` landmarks of each image, drawn anew each time.
  """

  size_px: int = 0
  jitter_px: tuple[float, ...] = (1.0, 16.0)
  landmarks: int = 8

  def __post_init__(self):
    _check(self.size_px == 0 or self.size_px >= 8, 'refine.crop.size_px', self.size_px, '0, or >= 8')
    _check(len(self.jitter_px) == 2 and 0 < self.jitter_px[0] <= self.jitter_px[1], 'refine.crop.jitter_px',
           self.jitter_px, 'two rising lengths > 0')
    _check(self.landmarks >= 1, 'refine.crop.landmarks', self.landmarks, '>= 1')


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
  """What makes one trained network, besides examples and seed: the slice of `trainer`."""

  input: InputConfig
  augment: AugmentConfig
  model: ModelConfig
  heatmap: HeatmapConfig
  train: TrainConfig
  crop: CropConfig = CropConfig()

  @property
  def seen(self) -> InputConfig:
    """The size of what the network is shown: the network image, or a crop of it."""
    size = self.crop.size_px
    return dataclasses.replace(self.input, height=size, width=size) if size else self.input

  def heatmaps(self, num_landmarks: int) -> int:
    """How many heatmaps it answers with."""
    return 1 if self.crop.size_px else num_landmarks

  def of_landmarks(self, num_landmarks: int) -> 'NetworkConfig':
    """The same, where the number of landmarks is known: a network of crops is told which it sees."""
    told = num_landmarks if self.crop.size_px else 0
    return dataclasses.replace(self, model=dataclasses.replace(self.model, landmarks=told))


@dataclasses.dataclass(frozen=True)
class RefineConfig:
  """A second look: another network, at crops of a finer network image around what the first one found.

  `scale`: how many times finer that image is than the first network's (see `input`), 0 for no second
  look. `crop`, `filters`, `dropout_rate`, `dropout_at`, `target_sigma_px`, `window_px`, `epochs`,
  `learning_rate`: of the second network, in pixels of that image. All else is as for the first: sampler,
  training, augmentation (whose lengths are scaled). Crops are jittered by more than the first look errs:
  where their middle says much about the landmark, the second look repeats the first one's errors.
  """

  scale: int = 0
  crop: CropConfig = CropConfig(size_px=64, jitter_px=(8.0, 12.0), landmarks=4)
  filters: tuple[int, ...] = (24, 48, 72, 96)
  dropout_rate: float = 0.0
  dropout_at: tuple[str, ...] = ()
  target_sigma_px: float = 1.0
  window_px: int = 12
  epochs: int = 120
  learning_rate: float = 2e-3

  def __post_init__(self):
    _check(0 <= self.scale <= 8, 'refine.scale', self.scale, '0..8')
    _check(self.crop.size_px >= 8, 'refine.crop.size_px', self.crop.size_px, '>= 8')
    _check(len(self.filters) >= 2 and min(self.filters) >= 1, 'refine.filters', self.filters,
           'two or more positive numbers')
    _check_rate('refine.dropout_rate', self.dropout_rate)
    _check_blocks('refine.dropout_at', self.dropout_at, self.filters)
    _check(self.target_sigma_px > 0, 'refine.target_sigma_px', self.target_sigma_px, '> 0')
    _check(self.window_px >= 1, 'refine.window_px', self.window_px, '>= 1')
    _check(self.epochs >= 1, 'refine.epochs', self.epochs, '>= 1')
    _check(self.learning_rate > 0, 'refine.learning_rate', self.learning_rate, '> 0')


@dataclasses.dataclass(frozen=True)
class Experiment:
  """Everything that decides the outcome of a run, besides code and data.

  `name` is what is run, `model.name` the network it trains: an `ensemble` trains
  several `baseline` networks, which is why they are shared with that experiment.
  `under_trained_mm`: where `--model=all` compares models, it also trains each until its validation
  MRE first falls to this. 10 mm: networks have left chance (dozens of mm) but not arrived (2 mm one
  epoch later): they find some landmarks and not others, so errors of all sizes occur.
  `teachers`: a network learns what this many others, which differ by their seeds and are trained on the
  truth, believe together; 0: it learns the truth itself. `serving_precision`: of the SavedModel, `trained`
  for that of the training. A model that is to answer on another processor than it was trained on may want
  another one.
  """

  name: str = 'baseline'
  preset: str = 'default'
  seed: int = 0
  under_trained_mm: float = 10.0
  teachers: int = 0
  serving_precision: str = 'trained'
  data: DataConfig = DataConfig()
  validate: ValidateConfig = ValidateConfig()
  input: InputConfig = InputConfig()
  augment: AugmentConfig = AugmentConfig()
  model: ModelConfig = ModelConfig()
  heatmap: HeatmapConfig = HeatmapConfig()
  train: TrainConfig = TrainConfig()
  sampler: SamplerConfig = SamplerConfig()
  evaluate: EvaluateConfig = EvaluateConfig()
  analyze: AnalyzeConfig = AnalyzeConfig()
  stress: StressConfig = StressConfig()
  refine: RefineConfig = RefineConfig()

  def __post_init__(self):
    for field in ('name', 'preset'):
      value = getattr(self, field)
      plain = value and value == pathlib.PurePath(value).name and not value.startswith('.')
      _check(plain, field, value, 'a plain folder name')
    _check(self.under_trained_mm > 0, 'under_trained_mm', self.under_trained_mm, '> 0')
    _check(0 <= self.seed < 2**31, 'seed', self.seed, '0..2147483647')
    _check(0 <= self.teachers <= 100, 'teachers', self.teachers, '0..100')
    if self.teachers:
      _check(self.train.loss == 'cross_entropy', 'train.loss', self.train.loss, 'cross_entropy with teachers')
      _check(self.model.head == 'heatmap', 'model.head', self.model.head, 'heatmap with teachers')
      _check(self.model.members == 0, 'model.members', self.model.members, '0 with teachers')
    one_of('serving_precision', self.serving_precision, ('trained', *PRECISIONS))
    step = self.model.stem_stride * 2 ** (len(self.model.filters) - 1)
    for name in ('height', 'width'):
      value = getattr(self.input, name)
      _check(value % step == 0, f'input.{name}', value,
             f'a multiple of {step} for model.stem_stride={self.model.stem_stride} and '
             f'{len(self.model.filters)} model.filters')
    _check(self.model.landmarks == 0, 'model.landmarks', self.model.landmarks, '0: only crops are of one')
    if self.sampler.kind == 'passes' and not self.model.members:
      self._check_passes()
    _check(self.model.members == 0 or self.sampler.kind != 'members', 'sampler.kind', self.sampler.kind,
           'passes or views with model.members: of networks with members one each would answer')
    if self.model.members and self.sampler.kind in ('passes', 'views'):  # each answers once
      _check(self.sampler.num_samples == self.model.members, 'sampler.num_samples', self.sampler.num_samples,
             f'{self.model.members}, the number of model.members, when sampler.kind={self.sampler.kind}')
    if self.refine.scale:
      self._check_refine()

  def _check_passes(self) -> None:
    model, when = self.model, 'when sampler.kind=passes'
    if model.variational_at:
      _check(model.posterior_scale > 0 or model.dropout_rate > 0 and model.dropout_at != (),
             'model.posterior_scale', model.posterior_scale, f'> 0 {when}')
    else:
      alone = f'{when} and there is neither model.variational_at nor model.members'
      _check(model.dropout_rate > 0, 'model.dropout_rate', model.dropout_rate, f'> 0 {alone}')
      _check(model.dropout_at != (), 'model.dropout_at', model.dropout_at, f'at least one block {alone}')

  def _check_refine(self) -> None:
    refine, when = self.refine, 'with refine.scale'
    _check(self.train.loss == 'cross_entropy', 'train.loss', self.train.loss, f'cross_entropy {when}')
    _check(self.model.head == 'heatmap', 'model.head', self.model.head, f'heatmap {when}')
    _check(self.model.members == 0, 'model.members', self.model.members, f'0 {when}')
    _check(self.model.variational_at == (), 'model.variational_at', self.model.variational_at, f'none {when}')
    step = 2 ** (len(refine.filters) - 1)
    _check(refine.crop.size_px % step == 0, 'refine.crop.size_px', refine.crop.size_px,
           f'a multiple of {step} for {len(refine.filters)} refine.filters')
    if self.sampler.kind == 'passes':
      for name in ('dropout_rate', 'dropout_at'):
        _check(bool(getattr(refine, name)), f'refine.{name}', getattr(refine, name),
               f'some {when} and sampler.kind=passes')

  @property
  def network(self) -> NetworkConfig:
    return NetworkConfig(self.input, self.augment, self.model, self.heatmap, self.train)

  @property
  def refiner(self) -> NetworkConfig | None:
    """The network of the second look, if there is one."""
    cfg, replace = self.refine, dataclasses.replace
    if not cfg.scale:
      return None
    return NetworkConfig(
        input=replace(self.input, height=cfg.scale * self.input.height, width=cfg.scale * self.input.width),
        augment=replace(self.augment, elastic_px=cfg.scale * self.augment.elastic_px,
                        elastic_grid_px=cfg.scale * self.augment.elastic_grid_px),
        model=ModelConfig(f'{self.model.name}_crops', cfg.filters, stem_stride=1, norm=self.model.norm,
                          dropout_rate=cfg.dropout_rate, dropout_at=cfg.dropout_at),
        heatmap=replace(self.heatmap, target_sigma_px=cfg.target_sigma_px, window_px=cfg.window_px,
                        outside='uniform'),
        train=replace(self.train, epochs=cfg.epochs, learning_rate=cfg.learning_rate),
        crop=cfg.crop)
