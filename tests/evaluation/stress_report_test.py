"""Charts, overlays and page of the experiments with changed X-rays."""

import base64
import functools

import cv2
import numpy as np
import pytest

from ceph_tf.data.stress_films import Film
from ceph_tf.evaluation import stress_report

WORDS = 'The 90 % regions should not be trusted on <this> set.'


@pytest.fixture
def found():
  """The content of a small `stress.json`."""
  curve = {'mean': [1.0, 2.0, 4.0], 'pearson': 0.987, 'spearman': 1.0, 'auroc': [0.5, 0.75, 1.0]}
  turned = {'value': [3.0, 1.0, 3.5], 'pearson': 0.876, 'spearman': 0.5}
  score = {'auroc': 0.934, 'aupr': 0.9, 'fpr_at_95_tpr': 0.27}
  return {
      'schema_version': 1, 'title': 'a <model>', 'truth': 'senior & junior',
      'published': [{'measure': 'mha', 'model': 'one network', 'elastic': -0.95, 'rotation': -0.91}],
      'elastic': {'levels': [0.0, 0.02, 0.04], 'images': 2, 'error_mm': [0.5, None, 3.0],
                  'measures': {'mha': curve, 'spread_mm': curve, 'ood_score': curve}},
      'rotation': {'source': 'phantom', 'levels': [-45.0, 0.0, 45.0], 'error_mm': [4.0, 1.0, 4.0],
                   'measures': {'mha': turned, 'spread_mm': turned}},
      'separation': {'noise': {'films': 7, 'referred': 0.857, 'scores': {'mha': score}},
                     'flipped': {'films': 8, 'referred': None,
                                 'scores': {'ood_score': score | {'auroc': None}}}},
      'scanner': {'clean': {'films': 9, 'mre_mm': 1.234, 'sdr_2mm': 0.876, 'coverage': 0.91,
                            'referred': 0.0, 'ood_auroc': 0.5},
                  'black <frame>': {'films': 9, 'mre_mm': None, 'sdr_2mm': None, 'coverage': None,
                                    'referred': 0.333, 'ood_auroc': 0.987}},
      'shift': {'noise': {'words': WORDS}}}


def image_of(picture):
  decoded = cv2.imdecode(np.frombuffer(picture.png, np.uint8), cv2.IMREAD_COLOR)
  assert decoded is not None, picture.name
  return decoded


def test_charts_are_pictures_of_a_plausible_size(found):
  pictures = stress_report.charts(found)
  assert [picture.name for picture in pictures] == ['elastic', 'elastic_auroc', 'rotation']
  for picture in pictures:
    height, width = image_of(picture).shape[:2]
    assert 200 < height < 3000 and 500 < width < 3000
    assert image_of(picture).std() > 5  # something is drawn
  assert '2 X-rays' in pictures[0].caption and 'phantom' in pictures[2].caption


def test_without_a_truth_the_chart_lacks_the_panel_of_the_errors(found):
  wide = image_of(stress_report.charts(found)[2]).shape[1]
  found['rotation']['error_mm'] = None
  pictures = stress_report.charts(found)
  assert image_of(pictures[2]).shape[1] < wide  # two panels instead of three
  page = stress_report.render(found, pictures, 'today')
  assert 'Changed X-rays' in page
  found['elastic']['error_mm'] = [None, None, None]
  assert image_of(stress_report.charts(found)[0]).shape[1] < image_of(pictures[0]).shape[1]


def test_the_page_holds_each_picture_and_what_the_shift_check_says(found):
  pictures = stress_report.charts(found)
  page = stress_report.render(found, pictures, '2026-01-01')
  for picture in pictures:
    assert base64.b64encode(picture.png).decode() in page, picture.name
  assert 'should not be trusted on &lt;this&gt; set.' in page
  assert '<model>' not in page and 'a &lt;model&gt;' in page and 'senior &amp; junior' in page
  assert '2026-01-01' in page


def test_the_page_shows_correlations_published_ones_and_separations(found):
  page = stress_report.render(found, [], 'today')
  assert '<td>MHA</td><td>0.99</td><td>1.00</td><td>0.88</td><td>0.50</td>' in page
  assert '<td>one network: -0.95 / -0.91</td>' in page
  # The OOD score is constant in the rotation, and nobody published it.
  assert '<td>OOD score</td><td>0.99</td><td>1.00</td><td>–</td><td>–</td><td></td>' in page
  assert '<td>noise</td><td>7</td><td>85.7</td><td>93 (27)</td><td></td>' in page
  assert '<td>flipped</td><td>8</td><td>–</td><td></td><td></td>' in page


def test_the_page_shows_what_other_scanners_change(found):
  page = stress_report.render(found, [], 'today')
  assert '<td>clean</td><td>9</td><td>1.23</td><td>87.6</td><td>91.0</td><td>0.0</td><td>50.0</td>' in page
  scanner = ('<td>black &lt;frame&gt;</td><td>9</td><td>–</td><td>–</td><td>–</td><td>33.3</td>'
             '<td>98.7</td>')
  assert scanner in page


def test_an_unknown_correlation_does_not_stop_the_charts(found):
  found['rotation']['measures']['mha']['pearson'] = None  # a NaN among the values, or no variation
  assert len(stress_report.charts(found)) == 3


@pytest.mark.parametrize('changed', ['points_px', 'samples_px', 'truth_px', 'measure/total_sd_px'])
def test_an_overlay_draws_the_rows_asked_for(changed):
  rng = np.random.default_rng(0)
  films = [Film('x', 'elastic', 0.0, '', np.zeros((80, 64), np.float32), np.zeros((3, 2)), 0.5)] * 2
  points = np.repeat(rng.uniform(15, 45, (1, 3, 2)), 5, 0)
  predictions = {'points_px': points, 'truth_px': points + 3, 'measure/total_sd_px': np.full((5, 3), 4.0),
                 'samples_px': np.repeat(points[:, None] + rng.normal(0, 2, (1, 6, 3, 2)), 5, 0)}
  predictions['truth_px'][:, 0] = np.nan
  predictions[changed][4] += 6  # all rows are alike but for this
  draw = functools.partial(stress_report.overlay, 'elastic_overlay', films, predictions)
  first, other = draw([0, 1], ['0 %', '4 %']), draw([0, 4], ['0 %', '4 %'])
  assert first.name == 'elastic_overlay' and first.caption
  before, after = image_of(first), image_of(other)
  height, width = before.shape[:2]
  assert 200 < height < 2000 and width > 1.2 * height  # two films of 64 x 80 beside each other
  half = width // 2
  np.testing.assert_array_equal(before[:, :half - 20], after[:, :half - 20])
  assert (before[:, half:] != after[:, half:]).any()
