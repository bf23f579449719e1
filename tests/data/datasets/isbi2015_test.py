import collections
import dataclasses
import shutil

import cv2
import numpy as np
import pytest

from ceph_tf.config import DataConfig
from ceph_tf.data import records
from ceph_tf.data.datasets import isbi2015

LINES = [f'{10 + i},{20 + 2 * i}' for i in range(19)]
CLASSES = ['1'] * 8


def write_image(path, value=0):
  image = np.random.default_rng(value).integers(0, 256, (80, 60)).astype(np.uint8)
  path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


@pytest.fixture
def folder(tmp_path):
  """Four training images of four formats, two of Test1, with annotations."""
  names = {'TrainingData': ['001.bmp', '002.png', '003.jpg', '004.tif'],
           'Test1Data': ['151.JPEG', '152.png']}
  for part, files in names.items():
    (tmp_path / 'RawImage' / part).mkdir(parents=True)
    for doctor in ('senior', 'junior'):
      (tmp_path / 'AnnotationsByMD' / f'400_{doctor}').mkdir(parents=True, exist_ok=True)
    for file in files:
      write_image(tmp_path / 'RawImage' / part / file, int(file[:3]))
      for doctor in ('senior', 'junior'):
        path = tmp_path / 'AnnotationsByMD' / f'400_{doctor}' / f'{file[:3]}.txt'
        path.write_text('\n'.join(LINES + CLASSES) + '\n')
  return tmp_path


def read(folder, **changes):
  values = {'validation_images': 1, 'calibration_images': 1} | changes
  cfg = DataConfig(dataset='isbi2015', data_dir=str(folder), **values)
  return list(isbi2015.records(cfg, 0))


def annotation(folder, stem='002', doctor='senior'):
  return folder / 'AnnotationsByMD' / f'400_{doctor}' / f'{stem}.txt'


def test_all_formats_are_read(folder):
  found = read(folder)
  assert [r.image_id for r in found] == ['001', '002', '003', '004', '151', '152']
  assert collections.Counter(r.split for r in found) == {
      'train': 2, 'validation': 1, 'calibration': 1, 'test1': 2}
  for record in found:
    assert (record.height_px, record.width_px, record.spacing_mm) == (80, 60, 0.1)
    assert list(record.points_px) == ['senior', 'junior']
    np.testing.assert_array_equal(record.points_px['junior'][18], [28, 56])


def test_training_images_may_be_missing_where_nothing_is_trained_or_calibrates(folder):
  shutil.rmtree(folder / 'RawImage/TrainingData')
  assert [r.split for r in read(folder, test_fraction=1, calibration_images=0)] == ['test1', 'test1']
  for changes in ({'test_fraction': 1}, {'calibration_images': 0}):
    with pytest.raises(records.DataError, match='TrainingData: no such folder'):
      read(folder, **changes)


def test_a_folder_above_and_files_without_classes_do_as_well(folder):
  annotation(folder).write_text('\n'.join(LINES))
  (folder / 'RawImage' / 'TrainingData' / 'Thumbs.db').write_bytes(b'x')
  above = folder.parent / 'above'
  above.mkdir()
  (above / 'isbi2015').symlink_to(folder)
  assert len(read(above)) == 6


def test_test2_is_read_if_there(folder):
  (folder / 'RawImage' / 'Test2Data').mkdir()
  write_image(folder / 'RawImage' / 'Test2Data' / '301.png')
  for doctor in ('senior', 'junior'):
    annotation(folder, '301', doctor).write_text('\n'.join(LINES))
  assert read(folder)[-1].split == 'test2'


def test_no_or_wrong_data_dir(tmp_path):
  with pytest.raises(records.DataError, match='data_dir'):
    list(isbi2015.records(DataConfig(dataset='isbi2015'), 0))
  with pytest.raises(records.DataError, match='nowhere.*no such folder'):
    read(tmp_path / 'nowhere')
  with pytest.raises(records.DataError, match='empty'):
    read(tmp_path)


def test_empty_image_folder(folder):
  for path in (folder / 'RawImage' / 'Test1Data').iterdir():
    path.unlink()
  with pytest.raises(records.DataError, match='Test1Data: no images'):
    read(folder)


def test_missing_annotation_file_and_folder(folder):
  annotation(folder, '151', 'junior').unlink()
  with pytest.raises(records.DataError, match=r'151\.JPEG: no annotation; .*400_junior/151\.txt'):
    read(folder)
  annotation(folder).parent.rename(folder / 'elsewhere')
  with pytest.raises(records.DataError, match='400_senior: no such folder'):
    read(folder)


@pytest.mark.parametrize('lines,message', [
    (LINES[:18], r'002\.txt: 18 lines; allowed are 19'),
    (LINES + LINES[:1], r'002\.txt: 20 lines'),
    (LINES[:18] + CLASSES, r'002\.txt: 26 lines'),
    (LINES[:3] + ['here,there'] + LINES[4:], r"002\.txt:4: 'here,there'"),
    (LINES[:3] + ['5,nan'] + LINES[4:], r"002\.txt:4: '5,nan'"),
    (LINES[:3] + ['5,6,7'] + LINES[4:], r"002\.txt:4: '5,6,7'"),
    (LINES[:3] + ['5'] + LINES[4:], r"002\.txt:4: '5'"),
    ([], r'002\.txt: 0 lines')])
def test_malformed_annotation(folder, lines, message):
  annotation(folder).write_text('\n'.join(lines))
  with pytest.raises(records.DataError, match=message):
    read(folder)


@pytest.mark.parametrize('content,message', [(b'', '0 bytes'), (b'hello, world', 'hello')])
def test_empty_file_and_no_image(folder, content, message):
  (folder / 'RawImage' / 'TrainingData' / '003.jpg').write_bytes(content)
  with pytest.raises(records.DataError, match=rf'003\.jpg: .*{message}'):
    read(folder)


def test_two_images_of_one_name(folder):
  write_image(folder / 'RawImage' / 'TrainingData' / '003.png')
  with pytest.raises(records.DataError, match=r'003\.png and 003\.jpg'):
    read(folder)


def test_too_many_validation_images(folder):
  cfg = DataConfig(dataset='isbi2015', data_dir=str(folder), validation_images=3,
                   calibration_images=1)
  with pytest.raises(records.DataError, match='too few patients.*4 patients'):
    list(isbi2015.records(cfg, 0))


def test_the_real_data(isbi_dir):
  cfg = DataConfig(dataset='isbi2015', data_dir=str(isbi_dir))
  found = [dataclasses.replace(r, image_bytes=b'') for r in isbi2015.records(cfg, 0)]
  counts = collections.Counter(r.split for r in found)
  assert counts['train'] == 115 and counts['validation'] == 15 and counts['calibration'] == 20
  assert counts['test1'] == 150
  assert {(r.height_px, r.width_px) for r in found} == {(2400, 1935)}
  distance = [np.linalg.norm(r.points_px['senior'] - r.points_px['junior'], axis=1).mean()
              for r in found if r.split == 'test1']
  assert 0.1 * np.mean(distance) == pytest.approx(2.36, abs=0.01)  # mm, DESIGN's facts
