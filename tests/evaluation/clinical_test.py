"""Measurements on a face drawn by hand: x right, y down, facing right."""

import numpy as np
import pytest

from ceph_tf import seeds
from ceph_tf.data.records import LANDMARKS
from ceph_tf.evaluation import clinical

FACE = {
    'sella': (0, 0), 'nasion': (60, 0), 'orbitale': (50, 20), 'porion': (-20, 20), 'pns': (10, 40),
    'ans': (55, 40), 'subspinale': (50, 50), 'supramentale': (50, 80), 'pogonion': (50, 100),
    'menton': (40, 110), 'gnathion': (47, 107), 'gonion': (-20, 110), 'lower_incisor': (50, 65),
    'upper_incisor': (53, 61),
}


def face(**moved):
  points = {**FACE, **moved}
  return np.array([points.get(name, (0, 0)) for name in LANDMARKS], float)


def value(name, spacing=1.0, **moved):
  return float(clinical.values(face(**moved), spacing)[name])


def test_angles_at_nasion():
  # From (60, 0) straight back to sella; A is 50 below and 10 behind nasion.
  assert value('SNA') == pytest.approx(np.degrees(np.arctan2(50, 10)))
  assert value('SNB') == pytest.approx(np.degrees(np.arctan2(80, 10)))
  assert value('ANB') == pytest.approx(value('SNA') - value('SNB')) and value('ANB') < 0
  assert value('ANB', subspinale=(58, 50)) > 0


def test_the_palatal_plane_is_signed():
  # ANS lower than PNS turns the palate clockwise from Frankfort, which the challenge counts positive.
  assert value('ODI', ans=(55, 49)) - value('ODI') == pytest.approx(np.degrees(np.arctan2(9, 45)))
  assert value('ODI') - value('ODI', ans=(55, 31)) == pytest.approx(np.degrees(np.arctan2(9, 45)))


def test_odi_and_apdi_by_hand():
  # Me -> Go points straight back, B -> A straight up: 90 degrees; the planes are parallel.
  assert value('ODI', gonion=(-20, 110)) == pytest.approx(90)
  # Or -> Po back, N -> Pog (-10, 100), A -> B straight down and so before it: the cross product is < 0.
  facial = np.degrees(np.arctan2(100, 10))
  assert value('APDI') == pytest.approx(facial + np.degrees(np.arctan2(10, 100)))
  behind = value('APDI', supramentale=(30, 80))
  assert behind == pytest.approx(facial - (np.degrees(np.arctan2(20, 30)) - np.degrees(np.arctan2(10, 100))))


def test_ratio_heights_and_overjet():
  assert value('FHI') == pytest.approx(np.hypot(20, 110) / np.hypot(20, 110))
  assert value('FHA') == pytest.approx(np.degrees(np.arctan2(3, 67)))
  assert value('MW', spacing=0.1) == pytest.approx(0.5)
  assert value('MW', upper_incisor=(47, 61)) == pytest.approx(-5)


def test_downs():
  assert value('facial_angle') == pytest.approx(np.degrees(np.arctan2(100, 10)))
  assert value('mandibular_plane', gonion=(-20, 80)) == pytest.approx(np.degrees(np.arctan2(30, 60)))
  assert value('convexity', subspinale=(60, 50)) > 0 > value('convexity', subspinale=(45, 50))


@pytest.mark.parametrize('name,below,normal,above', [
    ('SNA', 3, 1, 2), ('SNB', 2, 1, 3), ('ANB', 3, 1, 2), ('ODI', 3, 1, 2), ('APDI', 2, 1, 3),
    ('FHI', 3, 1, 2), ('FHA', 3, 1, 2), ('MW', 3, 1, 4)])
def test_classes_of_the_challenge(name, below, normal, above):
  low, high = clinical.MEASUREMENTS[name].normal
  found = clinical.classify(name, np.array([low - 9, low, high, high + 9, np.nan]))
  assert found.tolist() == [below, normal, normal, above, clinical.UNKNOWN]


def test_what_the_challenge_leaves_undefined_has_a_name():
  classes = {way: clinical.classify('MW', np.array([0.0, 1.0, -0.1]), way).tolist()
             for way in clinical.MW_BETWEEN}
  assert classes == {'normal': [2, 1, 3], 'edge_to_edge': [2, 2, 3], 'unknown': [2, 0, 3]}
  with pytest.raises(ValueError, match='mw_between'):
    clinical.classify('MW', np.zeros(1), 'guess')


def test_a_missing_landmark_or_spacing_leaves_only_what_needs_it_unknown():
  found = clinical.values(face(subspinale=(np.nan, np.nan)), np.nan)
  assert {name for name, v in found.items() if np.isnan(v)} == {
      'SNA', 'ANB', 'ODI', 'APDI', 'MW', 'convexity'}
  with pytest.raises(ValueError, match='19, 2'):
    clinical.values(np.zeros((3, 2)), 1.0)


def test_uncertainty_is_carried_through():
  rng, spacing = seeds.rng(0, 'clinical'), np.array([1.0])
  covariance = np.zeros((1, 19, 2, 2))
  i = LANDMARKS.index('upper_incisor')
  covariance[0, i] = np.diag([4.0, 0.0])  # 2 mm along the overjet, which is 10 mm
  found = clinical.propagate(face(upper_incisor=(60, 65))[None], covariance, spacing, rng, 4000)
  mw = found['MW']
  assert mw['value'] == pytest.approx(10) and mw['sd'] == pytest.approx(2, rel=0.05)
  assert mw['low'] == pytest.approx(10 - 1.645 * 2, abs=0.15) and mw['high'] == pytest.approx(13.29, abs=0.15)
  assert mw['class'] == 4 and mw['decided'] and mw['probability'].sum() == pytest.approx(1)
  assert found['SNA']['sd'] == pytest.approx(0, abs=1e-9)
  assert found['SNA']['low'] == pytest.approx(found['SNA']['value'])
  doubtful = clinical.propagate(face(upper_incisor=(55, 65))[None], covariance, spacing, rng)['MW']
  assert not doubtful['decided'] and 0.3 < doubtful['probability'][0, 4] < 0.8


def test_rates_by_hand():
  true, found = np.array([1, 1, 1, 2, 3, 0]), np.array([1, 1, 2, 2, 1, 1])
  assert clinical.success_rate(found, true) == pytest.approx((2 / 3 + 1 + 0) / 3)
  assert np.isnan(clinical.success_rate(found[:1], np.zeros(1, int)))
  probability = np.array([[0, 0.5, 0.5, 0, 0], [0, 1.0, 0, 0, 0]])
  assert clinical.brier(probability, np.array([2, 1])) == pytest.approx((0.25 + 0.25 + 0) / 2)


def test_the_true_points_are_classified_as_themselves():
  truth = np.stack([face(), face(subspinale=(58, 50)), face(upper_incisor=(60, 65))])
  found = clinical.challenge(truth, np.zeros((3, 19, 2, 2)), truth, np.ones(3), seeds.rng(0, 'c'), 20)
  assert found['success_rate'] == 1
  assert all(row['interval_coverage'] == row['decided'] == 1 and row['brier'] == 0
             for row in found['measurements'].values())


def test_the_two_doctors_agree_as_published(isbi_dir):
  """The junior against the senior on Test1: 75.3 % in the challenge's report."""
  def read(doctor):
    files = [isbi_dir / 'AnnotationsByMD' / f'400_{doctor}' / f'{k:03d}.txt' for k in range(151, 301)]
    return np.array([[[float(v) for v in line.split(',')] for line in f.read_text('utf-8').split('\n')[:19]]
                     for f in files])
  senior, junior = (clinical.values(read(doctor), 0.1) for doctor in ('senior', 'junior'))
  rates = [clinical.success_rate(clinical.classify(n, junior[n]), clinical.classify(n, senior[n]))
           for n in clinical.CHALLENGE]
  assert 100 * np.mean(rates) == pytest.approx(75.3, abs=0.5)
