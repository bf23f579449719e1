"""The report is one file, says what was measured, and cannot be injected."""

import csv
import html.parser
import io

import numpy as np

from ceph_tf.config import EvaluateConfig
from ceph_tf.data.records import Record
from ceph_tf.evaluation import evaluate, report
from ceph_tf.evaluation.pictures import Picture

SENIOR = np.array([[10, 10], [20, 20]], np.float32)
PICTURE = Picture('name', 'a <caption>', b'\x89PNG')


def record(image_id, spacing=0.5, junior=True, landmark_names=('sella', 'nasion')):
  points = {'senior': SENIOR, 'junior': SENIOR + np.array([4, 0], np.float32)}
  return Record(image_id, b'', spacing, 'test1', image_id, points if junior else {'truth': SENIOR},
                60, 40, landmark_names)


def predictions(ids):
  points = np.stack([SENIOR + np.array([0, 6], np.float32) for _ in ids])
  return {'image_id': np.array(ids), 'points_px': points, 'samples_px': points[:, None],
          'covariance_px2': np.broadcast_to(np.eye(2), (len(ids), 2, 2, 2)),
          'measure/mha': np.full((len(ids), 2), 0.5), 'milliseconds_per_image': np.float32(12)}


def figures(rows, **changes):
  cases = evaluate.align(predictions([r.image_id for r in rows]), rows)
  values = {'leak_free': {'a'}, 'cfg': EvaluateConfig(bootstrap=20), 'truth': 'senior',
            'title': 'mc_dropout, smoke', 'seed': 0} | changes
  return evaluate.evaluate(cases, **values)


def render(found, configuration=None):
  blessing = evaluate.bless(found, EvaluateConfig())
  return report.render(found, blessing, [PICTURE], [PICTURE], configuration or {}, '2026-01-02')


class Outside(html.parser.HTMLParser):
  """Collects what a browser would fetch, and checks that tags are closed."""

  def __init__(self):
    super().__init__()
    self.urls, self.open = [], []

  def handle_starttag(self, tag, attrs):
    self.urls += [v for k, v in attrs if k in ('src', 'href') and not v.startswith('data:')]
    if tag not in ('meta', 'img'):
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag


def test_report_is_self_contained_and_well_formed():
  text = render(figures([record('a'), record('b')]), {'trainer': {'epochs': 2}})
  parser = Outside()
  parser.feed(text)
  assert not parser.urls and not parser.open
  assert 'url(' not in text and '@import' not in text
  assert 'name="viewport"' in text
  assert text.count('data:image/png;base64,iVBORw==') == 2


def test_report_states_truth_split_spacing_and_date():
  text = render(figures([record('a'), record('b')]))
  for words in ('mc_dropout, smoke: test1', '<dt>Truth</dt><dd>senior', '0.5 mm/px', '2026-01-02',
                '<dt>Images</dt><dd>2</dd>', '12 ms per image', '>blessed<'):
    assert words in text, words


def test_summary_has_a_row_per_truth_and_subset_with_its_figures():
  text = render(figures([record('a'), record('b')]))
  for row in ('senior, official', 'senior, leak-free', 'junior, official', 'mean, leak-free',
              'junior against senior, official'):
    assert f'<td>{row}</td>' in text, row
  assert ('<tr class="main"><td>senior, official</td><td>2</td><td>4</td><td>3.00 ± 0.00</td>'
          in text)
  assert '<td>0.0</td><td>0.0</td><td>100.0</td><td>100.0</td>' in text
  assert text.count('random errors</td>') == 1
  assert '<td>senior, official, random errors</td><td></td><td>4</td><td>0.00 ± 0.00</td>' in text


def test_systematic_errors_have_a_sign_and_unknown_ones_a_dash():
  found = figures([record('a'), record('b')])
  assert '<td>+0.00, +3.00</td>' in render(found)
  assert '<td>-2.00, +3.00</td>' in render(found | {'truth': 'junior'})
  assert '<td>–, –</td>' in render(figures([record('a', spacing=np.nan)]))


def test_one_truth_without_copies_has_one_row_and_no_word_of_leaks():
  text = render(figures([record('a', junior=False), record('b', junior=False)],
                        leak_free={'a', 'b'}))
  assert '<td>truth</td>' in text
  assert 'leak-free' not in text.lower() and 'official' not in text and 'junior' not in text


def test_warnings_have_a_row_per_subset_and_name_a_few_films():
  found = figures([record('a'), record('b')])
  assert 'Warnings' not in render(found)  # without a policy
  row = {'referred': 0.5, 'referred_ids': [f'<{i}>' for i in range(11)], 'checked': 0.25, 'gross': 7,
         'gross_referred': 4, 'gross_checked': 2,}
  other = row | {'checked': None, 'referred_ids': ['x']}
  text = render(found | {'alarms': {'official': row, 'leak_free': other}})
  assert ('<td>official</td><td>50.0</td><td>25.0</td><td>7</td><td>4</td><td>2</td><td>&lt;0&gt;, &lt;1&gt;'
          in text)
  assert '&lt;9&gt;, ...' in text and '&lt;10&gt;' not in text
  assert '<td>leak-free</td><td>50.0</td><td>–</td><td>7</td><td>4</td><td>2</td><td>x</td>' in text


def test_circles_have_a_row_per_subset():
  found = figures([record('a'), record('b')])
  assert 'Circles' not in render(found)  # the model states no regions
  row = {'points': 4, 'coverage': 0.875, 'mean_radius_mm': np.nan}
  text = render(found | {'circles': {'official': row}})
  assert '<td>official</td><td>4</td><td>87.5</td><td>–</td>' in text


def test_unknown_figures_are_dashes_and_explained():
  text = render(figures([record('a', spacing=np.nan)]))
  assert 'not blessed' in text and 'nan' not in text.lower().replace('nanosecond', '')
  assert 'unknown for 1 of 1 images' in text
  assert 'MRE (px)' in text and '>6.00<' in text


def test_names_cannot_break_the_page():
  row = record('a', landmark_names=('<script>', '&'))
  text = render(figures([row], title='<b>x</b>'), {'n': {'v': '</pre><script>'}})
  assert '<script>' not in text and '<b>' not in text
  assert '&lt;script&gt;' in text and 'a &lt;caption&gt;' in text


def test_csv_has_every_landmark_of_every_truth_and_subset():
  found = figures([record('a'), record('b', spacing=np.nan)], leak_free={'b'})
  text = report.per_landmark_csv(found)
  rows = list(csv.DictReader(io.StringIO(text)))
  assert len(rows) == 3 * 2 * 2
  assert rows[0]['truth'] == 'senior' and rows[0]['landmark'] == 'sella'
  assert float(rows[0]['mre_mm']) == 3
  assert (float(rows[0]['systematic_x_mm']), float(rows[0]['systematic_y_mm'])) == (0, 3)
  assert rows[2]['subset'] == 'leak_free' and rows[2]['mre_mm'] == ''
