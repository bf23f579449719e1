"""Charts: they are drawn, they show what they should, they leave no global state."""

import struct
import sys

import numpy as np
import pytest

from ceph_tf.data.records import LANDMARKS
from ceph_tf.evaluation import plots

RNG = np.random.default_rng(0)
POINTS = RNG.uniform(20, 180, (19, 2))


def size(png):
  assert png[:8] == b'\x89PNG\r\n\x1a\n'
  return struct.unpack('>II', png[16:24])


def texts(figure):
  return [text.get_text() for text in figure.axes[0].texts]


def test_every_isbi_landmark_has_its_own_short_name():
  assert len({plots.short_name(name) for name in LANDMARKS}) == 19
  assert plots.short_name('left_ear') == 'left_ear'
  assert [plots.label(n) for n in ('sella', 'pns', 'left_ear')] == ['S  sella', 'PNS', 'left ear']


def test_overlay_names_every_landmark_and_draws_an_ellipse_each():
  image = RNG.uniform(size=(100, 80))
  covariance = np.broadcast_to(np.diag([9.0, 1.0]), (19, 2, 2))
  samples = POINTS + RNG.normal(size=(5, 19, 2))
  figure = plots.overlay(image, (200, 200), POINTS, POINTS + 1, samples, covariance, LANDMARKS)
  assert texts(figure) == [plots.short_name(name) for name in LANDMARKS]
  ellipses = figure.axes[0].patches
  assert len(ellipses) == 19
  assert ellipses[0].width == pytest.approx(2 * 3 * np.sqrt(5.991), rel=1e-3)
  assert ellipses[0].height == pytest.approx(2 * np.sqrt(5.991), rel=1e-3)
  assert abs(ellipses[0].angle) % 180 == pytest.approx(0)
  legend = {text.get_text() for text in figure.axes[0].get_legend().get_texts()}
  assert legend == {'truth', 'predicted', 'samples', '95 % ellipse'}
  assert size(plots.png(figure, 50))[0] == 320


def test_overlay_keeps_source_pixels_when_the_image_was_reduced():
  axes = plots.overlay(np.zeros((10, 5)), (100, 50), np.array([[49.0, 99.0]])).axes[0]
  assert axes.get_xlim() == (-0.5, 49.5)
  assert axes.get_ylim() == (99.5, -0.5)


def test_overlay_leaves_missing_landmarks_out():
  points = POINTS.copy()
  points[3:] = np.nan
  covariance = np.full((19, 2, 2), np.nan)
  image = np.zeros((10, 10))
  figure = plots.overlay(image, (200, 200), points, points, None, covariance, LANDMARKS)
  assert texts(figure) == ['S', 'N', 'Or']
  assert not figure.axes[0].patches
  nothing = np.full((19, 2), np.nan)
  plots.png(plots.overlay(np.zeros((9, 9)), (200, 200), nothing, nothing, names=LANDMARKS), 40)


def test_one_sample_is_no_cloud():
  figure = plots.overlay(np.zeros((9, 9)), (200, 200), POINTS, samples_px=POINTS[None])
  legend = {text.get_text() for text in figure.axes[0].get_legend().get_texts()}
  assert legend == {'predicted'}


def test_cumulative_error_is_the_detection_rate_at_each_distance():
  error = np.array([[0.5, 1.5], [2.5, np.nan]])
  figure = plots.cumulative_error({'truth': error})
  curve = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 4][0]
  np.testing.assert_allclose(curve.get_xdata(), [0, 0.5, 1.5, 2.5])
  np.testing.assert_allclose(curve.get_ydata(), [0, 100 / 3, 200 / 3, 100])


def test_error_axis_is_fixed_for_good_models_and_grows_for_bad_ones():
  good = plots.cumulative_error({'truth': np.full((5, 2), 1.0)})
  bad = plots.cumulative_error({'truth': np.full((5, 2), 40.0)})
  assert good.axes[0].get_xlim() == (0, 6)
  assert bad.axes[0].get_xlim() == (0, 40)


@pytest.mark.parametrize('error', [
    RNG.gamma(2, 1, (30, 3)), np.full((2, 3), np.nan), np.array([[1.0, np.nan, 0.0]])])
def test_charts_survive_few_and_missing_errors(error):
  names = ('sella', 'nasion', 'mine')
  for figure in (plots.landmark_errors(error, names), plots.cumulative_error({'a': error}),
                 plots.error_against_measure(error + 1, error, 'spread_mm'),
                 plots.error_against_measure(error, error, 'mha')):
    assert min(size(plots.png(figure, 40))) > 100


def test_the_same_figure_gives_the_same_bytes():
  draw = lambda: plots.png(plots.cumulative_error({'a': np.array([[1.0, 2.0]])}), 40)  # noqa: E731
  assert draw() == draw()


def test_pyplot_is_not_touched():
  plots.png(plots.cumulative_error({'a': np.ones((1, 1))}), 40)
  pyplot = sys.modules.get('matplotlib.pyplot')
  assert pyplot is None or not pyplot.get_fignums()
