"""stress_analyzer: do uncertainties rise when X-rays are distorted or turned, and only then?"""

import datetime

import numpy as np

from ceph_tf import seeds
from ceph_tf.config import AnalyzeConfig, StressConfig
from ceph_tf.data import examples as tfrecords
from ceph_tf.data import stress_films
from ceph_tf.evaluation import evaluate, stress, stress_report, tensorboard
from ceph_tf.evaluation.pictures import Picture
from pipelines.artifacts import Examples, Predictions, StressAnalysis
from pipelines.dsl import In, Out, component

_SHOWN = 4  # films of an overlay


@component
def stress_analyzer(elastic: In[Predictions], rotation: In[Predictions], condition: In[Predictions],
                    scanner: In[Predictions], calibration: In[Predictions], examples: In[Examples],
                    analysis: Out[StressAnalysis], *, cfg: StressConfig, analyze: AnalyzeConfig,
                    split: str, truth: str, title: str, seed: int):
  """Writes `stress.json` (see `ceph_tf.evaluation.stress`), `stress.html`, `figures/`, `logs/`.

  Args:
    elastic, rotation, condition, scanner: of `stress_inferrer`.
    calibration: predictions of the calibration split by the same model.
    examples: to draw a few films again, which are not stored.
    analysis: the page.
    cfg, split, truth, seed: as for `stress_inferrer`.
    analyze: its `coverage` is what the shift check speaks about.
    title: for people.
  """
  arrays = {'elastic': elastic.read(), 'rotation': rotation.read()}
  found = stress.stress(
      arrays['elastic'], arrays['rotation'], condition.read(), scanner.read(), calibration.read(), title,
      truth, analyze.coverage, seeds.rng(seed, 'stress'))
  found = evaluate.plain(found)
  analysis.write(found)
  pictures = stress_report.charts(found) + _overlays(arrays, examples, cfg, split, truth, seed)
  (analysis.path / 'figures').mkdir()
  for picture in pictures:
    (analysis.path / 'figures' / f'{picture.name}.png').write_bytes(picture.png)
  tensorboard.write_pictures(analysis.path / 'logs', 'stress', pictures)
  date = datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%d %H:%M UTC')
  (analysis.path / 'stress.html').write_text(stress_report.render(found, pictures, date), 'utf-8')


def _overlays(arrays: dict, examples: Examples, cfg: StressConfig, split: str, truth: str,
              seed: int) -> list[Picture]:
  """One X-ray at four magnitudes, the head at four angles."""
  schema = tfrecords.read_schema(examples.path)
  total = schema['counts'][split]
  records = stress_films.chosen(
      tfrecords.read_records(examples.shards(split)), min(cfg.images, total), total)
  series = {
      'elastic': (stress_films.elastic_films([next(records)], cfg, truth, seed),
                  lambda level: f'{100 * level:.2g} % of the height'),
      'rotation': (stress_films.rotation_films(cfg, len(schema['landmark_names']), seed),
                   lambda level: f'{level:g} degrees')}
  pictures = []
  for name, (films, words) in series.items():
    answered = list(zip(arrays[name]['image_id'].tolist(), arrays[name]['level'].tolist(), strict=True))
    films = [film for film in films if (film.image_id, film.level) in answered]  # others were refused
    if not films:
      continue
    order = np.argsort([film.level for film in films], kind='stable')
    first = len(films) // 2 if name == 'rotation' else 0  # a head turns from profile
    shown = [films[order[i]] for i in np.linspace(first, len(films) - 1, _SHOWN).round().astype(int)]
    pictures.append(stress_report.overlay(
        f'{name}_overlay', shown, arrays[name],
        [answered.index((film.image_id, film.level)) for film in shown],
        [words(film.level) for film in shown]))
  return pictures
