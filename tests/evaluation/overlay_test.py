"""The picture shows what the document says, and warns where it must."""

import copy
import re

import numpy as np
import pytest

from ceph_tf.data.records import LANDMARKS
from ceph_tf.evaluation import overlay, plots

RNG = np.random.default_rng(0)
POINTS = RNG.uniform(30, 170, (19, 2))


def landmark(k):
  return {'name': LANDMARKS[k], 'point_px': POINTS[k].tolist(), 'bin': 1 + k % 5, 'region': {
      'coverage': 0.9, 'radius_px': 5.0, 'ellipse': {
          'semi_axes_px': [6.0, 3.0], 'angle_deg': 30.0, 'matrix_px2': [[36.0, 0.0], [0.0, 9.0]]}}}


DOCUMENT = {
    'name': 'film $1 <b>', 'status': 'ok',
    'model': {'name': 'm', 'version': 3, 'coverage': 0.9, 'bins': 5, 'regions': 'stated', 'refer': 'stated'},
    'image': {'width_px': 200, 'height_px': 200, 'spacing_mm': 0.5},
    'referral': {'refer': False, 'reason': None, 'ood_p_value': 0.8, 'uncertainty_p_value': 0.9},
    'landmarks': [landmark(k) for k in range(19)]}


def changed(**parts):
  document = copy.deepcopy(DOCUMENT)
  for name, value in parts.items():
    document[name] = document[name] | value if isinstance(value, dict) else value
  return document


def draw(document, shape=(200, 200)):
  figure = overlay.draw(RNG.uniform(size=shape), document)
  plots.png(figure, 40)  # nothing fails while it is drawn
  return figure


def words(figure):
  return [text.get_text() for text in figure.texts]


def test_every_landmark_has_its_name_its_ellipse_and_its_colour():
  axes = draw(DOCUMENT).axes[0]
  written = [text.get_text() for text in axes.texts]
  assert {plots.short_name(name) for name in LANDMARKS} <= set(written)
  assert {'SN', 'FH', 'PP', 'MP'} <= set(written)
  assert len(axes.patches) == 2 * 19 + 1  # filled and as a line; below the scale
  ellipse = axes.patches[1]
  assert (ellipse.width, ellipse.height, ellipse.angle) == (12, 6, 30)
  colours = axes.collections[0].get_facecolors()
  assert len(np.unique(colours, axis=0)) == 5
  np.testing.assert_array_equal(axes.collections[0].get_offsets(), POINTS)


def test_planes_lie_on_their_landmarks():
  axes = draw(DOCUMENT).axes[0]
  for (_, start, end, beyond), line in zip(overlay.PLANES, axes.lines, strict=False):
    (ax, bx), (ay, by) = line.get_data()
    a, b = POINTS[LANDMARKS.index(start)], POINTS[LANDMARKS.index(end)]
    reach = np.linalg.norm([bx - ax, by - ay]) / np.linalg.norm(b - a)
    assert reach == pytest.approx(1.36 if beyond else 1)
    np.testing.assert_allclose([(ax + bx) / 2, (ay + by) / 2], (a + b) / 2)


def test_all_planes_are_among_the_landmarks():
  assert {end for _, *ends, _ in overlay.PLANES for end in ends} <= set(LANDMARKS)


@pytest.mark.parametrize(('spacing', 'label', 'long_px'), [
    (0.5, '20 mm', 40), (0.1, '2 mm', 20), (3.0, '100 mm', 100 / 3), (1e-9, '2e-08 mm', 20)])
def test_scale_bar(spacing, label, long_px):
  axes = draw(changed(image={'spacing_mm': spacing})).axes[0]
  assert label in [text.get_text() for text in axes.texts]
  x = axes.lines[len(overlay.PLANES)].get_xdata()
  assert x[1] - x[0] == pytest.approx(long_px)


def test_without_spacing_there_is_no_scale():
  axes = draw(changed(image={'spacing_mm': None})).axes[0]
  assert not [text for text in axes.texts if 'mm' in text.get_text()]


def test_a_referred_image_says_so_and_why():
  assert overlay.warnings(DOCUMENT) == []
  document = changed(referral={'refer': True, 'reason': 'Unlike the films.'})
  assert {'REFER: a doctor must check every point.', 'Unlike the films.'} <= set(words(draw(document)))


@pytest.mark.parametrize('strange,uncertain,expected', [
    (0.04, 0.3, r'Unlike the calibration films .*, p = 0\.040\.'),
    (0.06, 0.09, r'Less certain than .*, p = 0\.090\.'),
    (0.05, 0.048, r'Unlike .*, p = 0\.050; less certain than .*, p = 0\.048\.'),
    (None, None, 'It cannot be compared .*')])
def test_every_alarm_that_was_raised_is_a_reason(strange, uncertain, expected):
  found = overlay.why({'ood_p_value': strange, 'uncertainty_p_value': uncertain},
                      'ood_p_value <= 0.05 or uncertainty_p_value <= 0.1')
  assert re.fullmatch(expected, found)


def test_without_spacing_it_is_said_that_nothing_is_checked():
  document = changed(image={'spacing_mm': None})
  assert ['without a spacing' in w for _, w in overlay.warnings(document)] == [True]
  referred = changed(image={'spacing_mm': None}, referral={'refer': True, 'reason': 'Why.'})
  assert [w for _, w in overlay.warnings(referred)][1:] == ['Why.']


def test_landmarks_without_a_region_are_named_as_not_checked():
  landmarks = copy.deepcopy(DOCUMENT['landmarks'])
  landmarks[15]['region'] = None
  document = changed(landmarks=landmarks)
  assert [w for _, w in overlay.warnings(document)] == ["Not checked, for want of a region: Pog'."]
  assert any("region: Pog'" in w for w in words(draw(document)))
  referred = document | {'referral': {'refer': True, 'reason': 'Why.'}}
  assert [w for _, w in overlay.warnings(referred)][1:] == ['Why.']


def test_a_landmark_that_may_be_far_off_is_named_though_the_image_is_not_referred():
  landmarks = copy.deepcopy(DOCUMENT['landmarks'])
  for k, radius in ((2, 4.0), (15, 13.2), (16, None)):
    landmarks[k]['region']['radius_mm'] = radius
  document = changed(landmarks=landmarks)
  assert [w for _, w in overlay.warnings(document)] == [
      "Check: Pog' 13.2 mm (radius of the region above 4 mm)."]
  assert any("Pog' 13.2 mm" in w for w in words(draw(document)))
  referred = document | {'referral': {'refer': True, 'reason': 'Why.'}}
  assert [w for _, w in overlay.warnings(referred)][1:] == ['Why.']  # every point is to be checked


@pytest.mark.parametrize('refer,expected', [
    (False, 'meant to hold the true point with 90 %'), (True, '90 % region, not valid for this X-ray')])
def test_what_an_ellipse_holds_is_not_said_of_a_referred_image(refer, expected):
  assert any(expected in w for w in words(draw(changed(referral={'refer': refer, 'reason': 'Why.'}))))


def test_a_model_without_calibration_is_drawn_and_says_what_is_missing():
  bare = [{**landmark(k), 'region': None, 'bin': None} for k in range(19)]
  document = changed(landmarks=bare, referral={'refer': None}, model={
      'coverage': None, 'bins': None, 'regions': 'absent: a coverage of 0.9 needs 9 calibration images',
      'refer': 'absent: nothing was calibrated'})
  figure = draw(document)
  assert len(figure.axes[0].patches) == 1
  said = ' '.join(words(figure))
  assert 'No regions: a coverage of 0.9 needs 9' in said and 'No referral policy: nothing' in said
  assert 'ellipse' not in said and 'uncertain' not in said


@pytest.mark.parametrize('shape', [(32, 32), (40, 1000), (1500, 40)])
def test_any_size_and_any_points(shape):
  wild = [{**landmark(k), 'point_px': [1e7 * (-1)**k, 5.0]} for k in range(19)]
  same = [{**landmark(k), 'point_px': [5.0, 5.0]} for k in range(19)]
  for landmarks in (DOCUMENT['landmarks'], wild, same):
    figure = draw(changed(landmarks=landmarks), shape)
    assert max(figure.get_size_inches()) < 12


def test_landmarks_of_another_data_set_are_drawn_without_planes():
  other = [{**landmark(0), 'name': 'left_ear'}, {**landmark(1), 'name': '$\\frac{$'}]
  figure = draw(changed(landmarks=other))
  assert not figure.axes[0].lines[1:]
  assert 'Frankfort' not in ' '.join(words(figure))


def test_names_are_no_formulas_and_letters_the_font_lacks_are_replaced(recwarn):
  figure = draw(changed(name='$\\frac{1$ \u4e16\n' + 'x' * 500))
  title = words(figure)[0]
  assert title.startswith('$\\frac{1$ ??xx') and title.endswith('...')
  assert not [w for w in recwarn if 'Glyph' in str(w.message)]
