import numpy as np
import pytest

from ceph_tf.evaluation import label_places

NOTHING = np.zeros((0, 2))


def place(points, names, size=(400, 400), regions=None, lines=NOTHING, taken=()):
  points = np.asarray(points, float)
  regions = np.zeros_like(points) if regions is None else np.asarray(regions, float)
  return label_places.place(points, names, (8, 12), size, regions, lines, np.reshape(taken, (-1, 4)))


def boxes(centres, names):
  half = np.array([[4 * len(name), 6] for name in names])
  return centres - half, centres + half


def overlaps(centres, names):
  low, high = boxes(centres, names)
  return sum((low[i] < high[j]).all() and (low[j] < high[i]).all()
             for i in range(len(names)) for j in range(i))


@pytest.mark.parametrize('seed', range(5))
def test_names_cover_neither_each_other_nor_points_and_stay_inside(seed):
  points = np.random.default_rng(seed).uniform(20, 380, (19, 2))
  names = ['Pog', 'S'] * 9 + ['A']
  centres, _ = place(points, names)
  assert overlaps(centres, names) == 0
  low, high = boxes(centres, names)
  assert (low >= 0).all() and (high <= 400).all()
  on = [((low[k] < points) & (points < high[k])).all(-1).sum() for k in range(19)]
  assert sum(on) == 0


def test_a_name_avoids_lines_regions_and_what_is_written():
  point = [[200, 200]]
  free = place(point, ['abc'])[0][0]
  box = [[*free, 12, 6]]
  for obstacle in ({'taken': box}, {'lines': free + np.linspace(-20, 20, 50)[:, None]}):
    moved = place(point, ['abc'], **obstacle)[0][0]
    assert np.abs(moved - free).max() > 5
  far = place(point, ['abc'], regions=[[60, 60]])[0][0]
  assert np.linalg.norm(far - point) > np.linalg.norm(free - point)


def test_a_line_leads_to_a_name_that_could_be_of_another_point():
  _, led = place([[200, 200], [300, 100]], ['a', 'b'])
  assert not led.any()
  crowd = [[200 + dx, 200 + dy] for dx in (0, 4, 8) for dy in (0, 4, 8)]
  centres, led = place(crowd, list('abcdefghi'))
  away = np.linalg.norm(centres[:, None] - np.array(crowd), axis=-1)
  unclear = away.argmin(1) != np.arange(9)
  assert unclear.any() and led[unclear].all()


def test_points_that_are_missing_or_outside_have_no_name():
  centres, led = place([[np.nan, 3], [500, 5], [-1, 5], [50, 50]], list('abcd'))
  assert np.isnan(centres).all(-1).tolist() == [True, True, True, False]
  assert not led[:3].any()
  assert place(np.zeros((0, 2)), [])[0].shape == (0, 2)
