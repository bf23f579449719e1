"""What the uncertainties of saved predictions are worth: figures, tables, a page."""

import datetime

from ceph_tf import seeds
from ceph_tf.config import AnalyzeConfig
from ceph_tf.data.records import TRAINING_SPLITS
from ceph_tf.data.validate import leak_free_ids
from ceph_tf.evaluation import (
    analyze,
    analyze_pictures,
    analyze_report,
    evaluate,
    stress,
    tensorboard,
)
from pipelines.artifacts import (
    Anomalies,
    Examples,
    HeatmapScores,
    Predictions,
    UncertaintyAnalysis,
)
from pipelines.cases import split_of, with_heatmaps
from pipelines.dsl import In, Out, component


@component
def uncertainty_analyzer(
    predictions: In[Predictions],
    calibration: In[Predictions],
    heatmaps: In[HeatmapScores],
    heatmaps_calibration: In[HeatmapScores],
    examples: In[Examples],
    anomalies: In[Anomalies],
    analysis: Out[UncertaintyAnalysis],
    *,
    cfg: AnalyzeConfig,
    split: str,
    truth: str,
    title: str,
    seed: int,
):
  """Analyses the predictions of `split`, with thresholds from the calibration split.

  Args:
    predictions: of all images of `split`.
    calibration: of all images of the split 'calibration'.
    heatmaps, heatmaps_calibration: of the same images.
    examples: with the truths.
    anomalies: names the films that occur more than once.
    analysis: `analysis.json` (see `ceph_tf.evaluation.analyze`), `analysis.html`,
      `figures/*.png`, `logs/` for TensorBoard. Without labels or spacing it says so, and
      whether the images are like the calibration images.
    cfg: coverage, bins, resamples, gross errors.
    split: what `predictions` are of.
    truth: the truth the network was trained on, or that it is to be judged by.
    title: model and preset, for people.
    seed: of the bootstrap.

  Raises:
    DataError: predictions and examples do not fit together, or there are none.
  """
  cases = with_heatmaps(predictions, heatmaps, examples, split)
  primary = evaluate.primary_truth(cases, truth)
  if words := analyze.obstacle(cases, primary):
    found, charts = analyze.heading(
        title, cases.split, primary, cases.landmark_names, 'not_possible', words), []
  else:
    before = with_heatmaps(calibration, heatmaps_calibration, examples, 'calibration')
    pairs = anomalies.read()['duplicates']
    clean = leak_free_ids(cases.image_id, pairs, split_of(examples, TRAINING_SPLITS, split))
    unseen = leak_free_ids(
        before.image_id, pairs, split_of(examples, TRAINING_SPLITS, 'calibration'))
    found = analyze.analyze(cases, before, clean, unseen, cfg, truth, title, seed)
    charts = analyze_pictures.charts(cases, found)

  # Needs no labels, so it is done for a set without any, too.
  shifted = stress.shifts(
      {split: stress.scores_of(predictions.read())}, stress.scores_of(calibration.read()),
      seeds.rng(seed, 'shift'), cfg.coverage).get(split)
  found['shift'] = shifted and {
      **shifted, 'strange_ids': [cases.image_id[i] for i in shifted['strange_images']]}

  found = evaluate.plain(found)
  analysis.write(found)
  (analysis.path / 'figures').mkdir()
  for chart in charts:
    (analysis.path / 'figures' / f'{chart.name}.png').write_bytes(chart.png)
  tensorboard.write_pictures(analysis.path / 'logs', 'uncertainty', charts)
  date = datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%d %H:%M UTC')
  analysis.page.write_text(analyze_report.render(found, charts, date), 'utf-8')
