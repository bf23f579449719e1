"""Which images are shown, and that each picture is a PNG file with true words."""

import cv2
import numpy as np
import pytest

from ceph_tf.data.records import DataError, Record
from ceph_tf.evaluation import evaluate, pictures

NAMES = ('sella', 'nasion')


def make_cases(errors_px, sd_px=None, spacing=0.5):
  n = len(errors_px)
  truth = np.full((2, 2), 20, np.float32)
  png = cv2.imencode('.png', np.tile(np.arange(40, dtype=np.uint8), (60, 1)))[1].tobytes()
  rows = [Record(str(i), png, spacing, 'test', str(i), {'truth': truth}, 60, 40, NAMES)
          for i in range(n)]
  points = np.stack([truth + np.array([e, 0], np.float32) for e in errors_px])
  variance = np.square(sd_px if sd_px is not None else np.ones(n))
  arrays = {
      'image_id': np.array([r.image_id for r in rows]), 'points_px': points,
      'samples_px': points[:, None],
      'covariance_px2': variance[:, None, None, None] * np.broadcast_to(np.eye(2), (n, 2, 2, 2)),
      'measure/spread_px': np.tile(np.arange(1.0, n + 1)[:, None], (1, 2)),
  }
  return evaluate.align(arrays, rows), rows


def groups(choices):
  return {g: [c.index for c in choices if c.group == g] for g in {c.group for c in choices}}


def test_best_median_worst_and_most_uncertain():
  cases, _ = make_cases([1, 2, 3, 4, 5, 6, 7, 8, 9], [9, 1, 1, 1, 1, 1, 8, 1, 1])
  assert groups(pictures.choose(cases, 'truth', 4)) == {
      'Worst': [8], 'Most uncertain': [0], 'Median': [4], 'Best': [1]}
  eight = groups(pictures.choose(cases, 'truth', 8))
  assert {name: sorted(indices) for name, indices in eight.items()} == {
      'Worst': [7, 8], 'Most uncertain': [0, 6], 'Median': [3, 4], 'Best': [1, 2]}


@pytest.mark.parametrize('count, expected', [(0, 0), (1, 1), (3, 3), (12, 5)])
def test_no_more_than_asked_and_none_twice(count, expected):
  cases, _ = make_cases([1, 2, 3, 4, np.nan])
  indices = [c.index for c in pictures.choose(cases, 'truth', count)]
  assert len(indices) == len(set(indices)) == expected


def test_an_image_of_unknown_error_is_neither_best_nor_worst():
  cases, _ = make_cases([1, np.nan, 2, 3], [1, 5, 1, 1])
  assert groups(pictures.choose(cases, 'truth', 4)) == {
      'Worst': [3], 'Most uncertain': [1], 'Median': [2], 'Best': [0]}


def test_without_spacing_images_are_ranked_by_pixels():
  cases, rows = make_cases([5, 1, 9], spacing=np.nan)
  choices = pictures.choose(cases, 'truth', 1)
  assert (choices[0].group, choices[0].index) == ('Worst', 2)
  shown = pictures.overlays(cases, 'truth', choices, rows)
  assert shown[0].caption == 'Worst: image 2, mean error 9.00 px, mean uncertainty 1.41 px'
  assert pictures.charts(cases, 'truth') == []


def test_overlays_are_png_files_with_their_errors_in_the_caption():
  cases, rows = make_cases([4, 2])
  shown = pictures.overlays(cases, 'truth', pictures.choose(cases, 'truth', 4), rows)
  assert all(picture.png.startswith(b'\x89PNG') for picture in shown)
  assert len({picture.name for picture in shown}) == 2
  worst = [p for p in shown if p.name.endswith('worst')][0]
  assert worst.caption == 'Worst: image 0, mean error 2.00 mm, mean uncertainty 0.71 mm'


def test_an_image_without_record_is_named():
  cases, rows = make_cases([4, 2])
  with pytest.raises(DataError, match="image '1' is not among"):
    pictures.overlays(cases, 'truth', [pictures.Choice('Best', 1)], rows[:1])


def test_charts_have_one_scatter_per_measure():
  cases, _ = make_cases([1, 2, 3])
  assert [p.name for p in pictures.charts(cases, 'truth')] == [
      'error_curve', 'landmarks', 'error_against_spread_mm']
