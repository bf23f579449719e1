"""Artifact types: components hand each other folders, and the type says what is in one.

`files` lists (as glob patterns) what an artifact of the type always holds; the
runner refuses an output that lacks one of them. `undigested` names top folders
that are for the eye only: they may be deleted, and do not count as content.
"""

import dataclasses
import json
import pathlib
from typing import ClassVar

import numpy as np


@dataclasses.dataclass(frozen=True)
class Artifact:
  """A folder with content of a known kind.

  Attributes:
    path: the folder. As an input it may only be read; as an output it exists, is
      empty (unless the component resumes) and is to be filled.
    digest: of the content of an input: equal digests, equal content.
  """

  path: pathlib.Path
  digest: str = ''

  files: ClassVar[tuple[str, ...]] = ()
  undigested: ClassVar[tuple[str, ...]] = ()

  def missing_files(self) -> list[str]:
    """The patterns in `files` that nothing in the folder matches."""
    return [pattern for pattern in self.files if not any(self.path.glob(pattern))]

  def shown(self) -> tuple[str, str] | None:
    """What a user wants to see after a run: a label, and a path or words."""
    return None


class JsonArtifact(Artifact):
  """An artifact whose heart is one JSON file, the first of `files`."""

  def read(self) -> dict:
    return json.loads((self.path / self.files[0]).read_text('utf-8'))

  def write(self, content: dict) -> None:
    (self.path / self.files[0]).write_text(json.dumps(content, indent=2) + '\n', 'utf-8')


class Examples(Artifact):
  """Images with their landmarks: `<split>-00000-of-00002.tfrecord` and `schema.json`."""

  files = ('schema.json', '*-*-of-*.tfrecord')

  def splits(self) -> list[str]:
    """The names of the splits that have at least one file, sorted."""
    return sorted({file.name.split('-')[0] for file in self.path.glob('*-*-of-*.tfrecord')})

  def shards(self, split: str) -> list[pathlib.Path]:
    """The TFRecord files of `split`, in order. Raises `FileNotFoundError` if there is none."""
    found = sorted(self.path.glob(f'{split}-*-of-*.tfrecord'))
    if not found:
      raise FileNotFoundError(
          f'no split {split!r} in {self.path}; there are: {", ".join(self.splits())}')
    return found


class Anomalies(JsonArtifact):
  """What is wrong with the examples: `anomalies.json` with `anomalies`, `duplicates`, `counts`."""

  files = ('anomalies.json',)


class TrainedModel(Artifact):
  """One trained network: `model.weights.h5`, `network.json`, `history.json`, `logs/`."""

  files = ('model.weights.h5', 'network.json', 'history.json')
  undigested = ('logs',)

  @property
  def logs(self) -> pathlib.Path:
    return self.path / 'logs'

  def shown(self) -> tuple[str, str]:
    return 'TensorBoard logs', str(self.logs)


class ServableModel(Artifact):
  """A SavedModel that TF Serving serves, in `saved_model/`."""

  files = ('saved_model/saved_model.pb',)

  @property
  def saved_model(self) -> pathlib.Path:
    return self.path / 'saved_model'

  @property
  def calibrated(self) -> bool:
    """Whether regions, bins and alarms are inside."""
    return (self.saved_model / 'assets.extra' / 'calibration.json').is_file()

  def shown(self) -> tuple[str, str]:
    return 'SavedModel', str(self.saved_model)


class ImportedModel(ServableModel):
  """A SavedModel that was made elsewhere; whoever named it knows where it is."""

  def shown(self) -> None:
    return None


class InfraBlessing(JsonArtifact):
  """Whether the SavedModel runs outside the code that wrote it: `infra_blessing.json`."""

  files = ('infra_blessing.json',)


class Calibration(Artifact):
  """What was fitted on training and calibration images: `fitted.npz`."""

  files = ('fitted.npz',)

  @property
  def fitted(self) -> pathlib.Path:
    return self.path / 'fitted.npz'


class Predictions(Artifact):
  """What the SavedModel says about every image of a split: `predictions.npz`."""

  files = ('predictions.npz',)

  def read(self) -> dict[str, np.ndarray]:
    with np.load(self.path / 'predictions.npz', allow_pickle=False) as arrays:
      return dict(arrays)

  def write(self, arrays: dict[str, np.ndarray]) -> None:
    np.savez_compressed(self.path / 'predictions.npz', **arrays)


class HeatmapScores(Artifact):
  """What is kept of the mean heatmaps of a split: `scores.npz`, see `heatmap_inferrer`."""

  files = ('scores.npz',)

  def read(self) -> dict[str, np.ndarray]:
    with np.load(self.path / 'scores.npz', allow_pickle=False) as arrays:
      return dict(arrays)


class Evaluation(JsonArtifact):
  """Errors against the truth: `evaluation.json`, `per_landmark.csv`, `report.html`, `figures/`, `logs/`."""

  files = ('evaluation.json', 'per_landmark.csv', 'report.html')
  undigested = ('logs',)

  @property
  def report(self) -> pathlib.Path:
    return self.path / 'report.html'

  def shown(self) -> tuple[str, str]:
    return 'report', str(self.report)


class UncertaintyAnalysis(JsonArtifact):
  """What the uncertainties are worth: `analysis.json`, `analysis.html`, `figures/`, `logs/`."""

  files = ('analysis.json', 'analysis.html')
  undigested = ('logs',)

  @property
  def page(self) -> pathlib.Path:
    return self.path / 'analysis.html'

  def shown(self) -> tuple[str, str]:
    return 'uncertainty', str(self.page)


class StressAnalysis(JsonArtifact):
  """Uncertainty under distortion: `stress.json`, `stress.html`, `figures/`, `logs/`."""

  files = ('stress.json', 'stress.html')
  undigested = ('logs',)

  def shown(self) -> tuple[str, str]:
    return 'distortion', str(self.path / 'stress.html')


class Comparison(JsonArtifact):
  """Several models in one table, beside the published figures: `comparison.json`, `comparison.html`."""

  files = ('comparison.json', 'comparison.html')

  def shown(self) -> tuple[str, str]:
    return 'comparison', str(self.path / 'comparison.html')


class Costs(JsonArtifact):
  """Time and memory of several SavedModels: `costs.json`, see `cost_meter`."""

  files = ('costs.json',)


class Tradeoff(JsonArtifact):
  """What models cost against what they are worth: `tradeoff.json`, `tradeoff.html`, `figures/`."""

  files = ('tradeoff.json', 'tradeoff.html')

  def shown(self) -> tuple[str, str]:
    return 'cost and quality', str(self.path / 'tradeoff.html')


class Improvement(JsonArtifact):
  """What one model does better than another: `improvement.json`, see `improvement_analyzer`."""

  files = ('improvement.json',)


class ModelBlessing(JsonArtifact):
  """Whether the errors are small enough to push the model: `blessing.json`."""

  files = ('blessing.json',)


class PushedModel(JsonArtifact):
  """Where the pusher put the model (`path`), or why it did not (`reasons`): `pushed.json`."""

  files = ('pushed.json',)

  def shown(self) -> tuple[str, str]:
    content = self.read()
    return 'pushed model', content['path'] or f'none: {"; ".join(content["reasons"])}'
