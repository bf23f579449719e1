import dataclasses
import re

import cv2
import numpy as np
import pytest

from ceph_tf.config import DataConfig, ValidateConfig
from ceph_tf.data import anomalies, records, validate
from ceph_tf.data.datasets import isbi2015

POINTS = np.stack([np.arange(19) * 5 + 10, np.arange(19) * 7 + 10], 1).astype(np.float32)
COPIES = """001=275 007=293 010=295 014=287 028=296 038=283 056=280 062=288 080=282 088=297 103=201
    108=289 118=285 123=276 126=299 132=291 137=292 138=281 141=279 144=173
    159=278 188=294 196=277"""


def texture(seed, size=(150, 120)):
  """A smooth random image."""
  rng = np.random.default_rng(seed)
  image = sum(cv2.resize(rng.normal(size=(n, n)).astype(np.float32), size[::-1],
                         interpolation=cv2.INTER_CUBIC) for n in (6, 12, 25, 50))
  return cv2.normalize(image, None, 20, 230, cv2.NORM_MINMAX).astype(np.uint8)


def rescanned(image):
  """Shifted by 1 percent, darker, and compressed."""
  height, width = image.shape
  matrix = np.float32([[1, 0, 0.01 * width], [0, 1, -0.01 * height]])
  image = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
  image = (255 * (image / 255.0) ** 1.4).astype(np.uint8)
  return cv2.imdecode(np.frombuffer(encoded(image, '.jpg'), np.uint8), 0)


def encoded(image, suffix='.png'):
  return cv2.imencode(suffix, image)[1].tobytes()


def record(i, split='train', image=None, points=POINTS, **changes):
  image = texture(i) if image is None else image
  height, width = image.shape[:2]
  made = records.Record(f'{i:03d}', encoded(image), 0.1, split, f'{i:03d}', {'truth': points},
                        height, width)
  return dataclasses.replace(made, **changes)


def good():
  return [record(i, split) for i, split in enumerate(
      ['train', 'train', 'train', 'validation', 'test', 'test'])]


def kinds(report):
  return [(a['kind'], a['image_id']) for a in report['anomalies']]


def test_nothing_is_wrong_with_good_records():
  report = validate.inspect(good(), 'mine')
  assert report == {'dataset': 'mine', 'anomalies': [], 'duplicates': [],
                    'counts': {'train': 3, 'validation': 1, 'test': 2}}
  validate.enforce(report['anomalies'], validate.policy(ValidateConfig(), 'mine'))


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp'])
@pytest.mark.parametrize('part', [0.3, 0.97, 0.999])
def test_a_truncated_image_is_unreadable(suffix, part):
  data = encoded(texture(1), suffix)
  anomalies.decode(data)
  with pytest.raises(records.DataError, match='truncated'):
    anomalies.decode(data[:int(part * len(data))])


def test_damage_inside_is_unreadable():
  data = bytearray(encoded(texture(1), '.jpg'))
  start = data.index(b'\xff\xc4')
  data[start + 4:start + 40] = b'\xff' * 36
  with pytest.raises(records.DataError, match=r'cannot be decoded: [^{}\[\]]+$'):
    anomalies.decode(bytes(data))


def test_bad_images_are_reported_and_do_not_hide_the_others():
  rows = good()
  rows[0] = dataclasses.replace(rows[0], image_bytes=encoded(texture(0), '.jpg')[:-50])
  rows[1] = record(1, image=np.full((150, 120), 9, np.uint8))
  rows[2] = record(2, image=texture(2, (30, 40)), points=POINTS / 5)
  rows[3] = dataclasses.replace(rows[3], height_px=151)
  report = validate.inspect(rows, 'mine')
  assert kinds(report) == [('unreadable_image', '000'), ('blank_image', '001'),
                           ('small_image', '002'), ('wrong_size', '003')]


def test_bad_points():
  outside, twice, gone = POINTS.copy(), POINTS.copy(), POINTS.copy()
  outside[3], outside[4], twice[7], gone[5] = (-0.6, 5), (119.5, 149.5), POINTS[6], np.nan
  nothing = np.full((19, 2), np.nan)
  bad = enumerate([outside, twice, gone, nothing])
  rows = [*good(), *(record(10 + i, points=p) for i, p in bad)]
  report = validate.inspect(rows, 'mine')
  assert kinds(report) == [('point_outside', '010'), ('points_at_same_place', '011'),
                           ('missing_point', '012'), ('no_points', '013')]
  details = [a['detail'] for a in report['anomalies']]
  assert details[0] == 'truth: porion at (-0.6, 5); the image is 120 x 150 px'
  assert 'pogonion' in details[1] and 'menton' in details[1]
  assert 'supramentale' in details[2]


def test_neighbours_within_a_pixel_are_two_points():
  near = POINTS.copy()
  near[7] = near[6] + 0.01
  assert validate.inspect([*good(), record(9, points=near)], 'mine')['anomalies'] == []


def test_own_data_may_miss_landmarks_but_not_one_everywhere():
  gone = POINTS.copy()
  gone[5] = np.nan
  rows = good()
  rows[0] = record(0, points=gone)
  report = validate.inspect(rows, 'csv')
  assert kinds(report) == [('expected_missing_point', '000')]
  validate.enforce(report['anomalies'], validate.policy(ValidateConfig(), 'csv'))
  rows[1], rows[2] = record(1, points=gone), record(2, points=gone)
  report = validate.inspect(rows, 'csv')
  assert kinds(report)[-1] == ('landmark_never_seen', '')
  with pytest.raises(records.DataError, match='supramentale'):
    validate.enforce(report['anomalies'], validate.policy(ValidateConfig(), 'csv'))


def test_unknown_spacing_is_reported_and_passes():
  report = validate.inspect([*good(), record(9, spacing_mm=float('nan'))], 'mine')
  assert kinds(report) == [('unknown_spacing', '009')]
  validate.enforce(report['anomalies'], validate.policy(ValidateConfig(), 'mine'))


def test_wrong_counts():
  expected = anomalies.expected_of('isbi2015')
  complete = {'train': 115, 'validation': 15, 'calibration': 20, 'test1': 150}
  assert anomalies.count_anomalies(complete, expected) == []
  found = anomalies.count_anomalies({**complete, 'test1': 149}, expected)
  assert [(a.split, a.detail[:10]) for a in found] == [('test1', '149 images')]
  found = anomalies.count_anomalies({'train': 3}, anomalies.Expected())
  assert [a.split for a in found] == ['validation', 'test']
  found = anomalies.count_anomalies({'test': 3}, anomalies.Expected())
  assert [a.split for a in found] == ['train', 'validation']
  assert anomalies.count_anomalies({'test': 3}, anomalies.Expected(), trained=False) == []


def test_the_same_film_in_two_splits_and_in_one():
  copies = [record(20, 'test', rescanned(texture(0, (300, 240)))),
            record(21, 'train', rescanned(texture(2)))]
  rows = good()
  rows[0] = record(0, image=texture(0, (300, 240)))
  report = validate.inspect([*rows, *copies], 'mine')
  assert report['duplicates'] == [['000', '020'], ['002', '021']]
  assert kinds(report) == [('same_film_in_two_splits', '000'), ('same_film_in_split', '002')]
  with pytest.raises(records.DataError, match='1 anomalies.*train 000.*020 of test.*leaks=warn'):
    validate.enforce(report['anomalies'], validate.policy(ValidateConfig(), 'mine'))
  validate.enforce(report['anomalies'], validate.policy(ValidateConfig(leaks='warn'), 'mine'))


def test_policy_resolves_auto():
  assert validate.policy(ValidateConfig(), 'isbi2015')['leaks'] == 'warn'
  assert validate.policy(ValidateConfig(), 'csv')['leaks'] == 'stop'
  assert validate.policy(ValidateConfig(leaks='stop'), 'isbi2015')['leaks'] == 'stop'


def test_a_stop_names_the_first_few_and_the_number():
  many = [dataclasses.asdict(anomalies.Anomaly('point_outside', f'{i}', 'train', 'far'))
          for i in range(7)]
  message = '7 anomalies: .*train 0: far.*train 2: far; and 4 more'
  with pytest.raises(records.DataError, match=message):
    validate.enforce(many, validate.policy(ValidateConfig(), 'mine'))
  validate.enforce(many, validate.policy(ValidateConfig(points='warn'), 'mine'))


def test_leak_free_ids():
  split_of = {'a': 'train', 'b': 'validation', 'c': 'calibration', 'u': 'test2',
              'v': 'test1', 'w': 'test1', 'x': 'test1', 'y': 'test1', 'z': 'test1'}
  test = ['z', 'y', 'x', 'w', 'v']
  leak_free = lambda *pairs: validate.leak_free_ids(test, pairs, split_of)  # noqa: E731
  assert leak_free() == test
  assert leak_free(('a', 'z'), ('y', 'b'), ('c', 'v')) == ['x', 'w']
  assert leak_free(('x', 'y'), ('w', 'x')) == ['z', 'w', 'v']  # three scans of one film
  assert leak_free(('a', 'x'), ('x', 'y')) == ['z', 'w', 'v']  # a copy of a copy
  assert leak_free(('u', 'v'), ('a', 'b')) == test


def test_the_copies_of_isbi2015(isbi_dir):
  """Precision and recall 1 against the known list, from the images alone."""
  cfg = DataConfig(dataset='isbi2015', data_dir=str(isbi_dir))
  split_of = {r.image_id: r.split for r in isbi2015.records(cfg, 0)}
  report = validate.inspect(isbi2015.records(cfg, 0), 'isbi2015')
  known = {tuple(pair) for pair in re.findall(r'(\d+)=(\d+)', COPIES)}
  assert {tuple(pair) for pair in report['duplicates']} == known
  validate.enforce(report['anomalies'], validate.policy(ValidateConfig(), 'isbi2015'))
  assert {k for k, _ in kinds(report)} == {'same_film_in_two_splits', 'same_film_in_split'}
  test1 = [i for i, split in split_of.items() if split == 'test1']
  assert len(validate.leak_free_ids(test1, report['duplicates'], split_of)) == 127
