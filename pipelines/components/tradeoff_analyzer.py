"""tradeoff_analyzer: what several models cost against what their uncertainty is worth."""

import json

import h5py

from ceph_tf.evaluation import evaluate, tradeoff
from pipelines.artifacts import (
    Costs,
    Evaluation,
    Examples,
    HeatmapScores,
    Predictions,
    StressAnalysis,
    Tradeoff,
    TrainedModel,
    UncertaintyAnalysis,
)
from pipelines.cases import with_heatmaps
from pipelines.dsl import In, Out, component


@component
def tradeoff_analyzer(networks: In[list[TrainedModel]], costs: In[Costs], evaluations: In[list[Evaluation]],
                      analyses: In[list[UncertaintyAnalysis]], stresses: In[list[StressAnalysis]],
                      predictions: In[list[Predictions]], heatmaps: In[list[HeatmapScores]],
                      examples: In[Examples], table: Out[Tradeoff], *, models: str, resamples: int,
                      seed: int):
  """Writes `tradeoff.json` (see `ceph_tf.evaluation.tradeoff`), `tradeoff.html` and `figures/`.

  Args:
    networks: all of the first model, those that answer before those that only taught them, then all of the
      second, and so on.
    costs: of the models' SavedModels.
    evaluations, analyses, stresses: of each model.
    predictions, heatmaps: of the images that are judged, of each model.
    examples: with their truths.
    table: the page.
    models: name and number of either of each, as in 'baseline:1:0|distilled:1:5'.
    resamples, seed: of the bootstrap of differences.
  """
  names, *counts = zip(*(one.split(':') for one in models.split('|')), strict=True)
  rest, spent = list(networks), []
  counts = [map(int, row) for row in counts]
  for answering, teachers, cost in zip(*counts, costs.read()['models'], strict=True):
    mine, rest = rest[:answering + teachers], rest[answering + teachers:]
    spent.append({'networks': answering, 'parameters': sum(_parameters(one) for one in mine[:answering]),
                  'training_minutes': sum(_minutes(one) for one in mine), **cost})
  analyzed = [one.read() for one in analyses]
  cases = [with_heatmaps(mine, of_heatmaps, examples, analyzed[0]['split'])
           for mine, of_heatmaps in zip(predictions, heatmaps, strict=True)]
  found = evaluate.plain(tradeoff.tradeoff(
      names, spent, [one.read() for one in evaluations], analyzed, [one.read() for one in stresses],
      tradeoff.differences(cases, analyzed[0]['truth'], seed, resamples)))
  table.write(found)
  pictures = tradeoff.charts(found)
  (table.path / 'figures').mkdir()
  for picture in pictures:
    (table.path / 'figures' / f'{picture.name}.png').write_bytes(picture.png)
  (table.path / 'tradeoff.html').write_text(tradeoff.render(found, pictures), 'utf-8')


def _parameters(model: TrainedModel) -> int:
  """All numbers of a trained network, running statistics included."""
  sizes = []
  with h5py.File(model.path / 'model.weights.h5') as file:
    file.visititems(lambda _, item: sizes.append(item.size) if isinstance(item, h5py.Dataset) else None)
  return sum(sizes)


def _minutes(model: TrainedModel) -> float:
  history = json.loads((model.path / 'history.json').read_text('utf-8'))
  return sum(epoch['seconds'] for epoch in history) / 60
