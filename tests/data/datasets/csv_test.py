import collections

import cv2
import numpy as np
import pytest

from ceph_tf.config import DataConfig
from ceph_tf.data import records
from ceph_tf.data.datasets import csv

HEADER = 'image,spacing_mm,landmark,x,y'


def write(folder, rows, header=HEADER, images=10, name='landmarks.csv'):
  for i in range(images):
    image = np.full((40, 30), i, np.uint8)
    (folder / f'{i}.png').write_bytes(cv2.imencode('.png', image)[1].tobytes())
  (folder / name).write_text('\n'.join([header, *rows]) + '\n', 'utf-8')
  return folder


def rows(images=10, extra=lambda i: ''):
  return [f'{i}.png,0.2,{name},{j},{j + 1}.5{extra(i)}'
          for i in range(images) for j, name in enumerate(records.LANDMARKS)]


def read(folder, seed=0, **changes):
  values = {'validation_images': 1, 'calibration_images': 1} | changes
  cfg = DataConfig(dataset='csv', data_dir=str(folder), **values)
  return list(csv.records(cfg, seed))


def counts(found):
  return collections.Counter(r.split for r in found)


def test_read_and_divide(tmp_path):
  found = read(write(tmp_path, rows()))
  assert counts(found) == {'train': 6, 'validation': 1, 'calibration': 1, 'test': 2}
  assert found[3].image_id == found[3].patient_id == '3.png'
  assert found[3].spacing_mm == 0.2 and (found[3].height_px, found[3].width_px) == (40, 30)
  np.testing.assert_array_equal(found[3].points_px['truth'][2], [2, 3.5])
  assert [r.split for r in found] == [r.split for r in read(tmp_path)]


def test_missing_points(tmp_path):
  table = rows()
  table[1] = '0.png,0.2,nasion,,'
  del table[2]
  first, second = (r.points_px['truth'] for r in read(write(tmp_path, table))[:2])
  assert np.isnan(first[1:3]).all()
  assert not np.isnan(first[[0, *range(3, 19)]]).any() and not np.isnan(second).any()


def test_unknown_spacing_is_nan(tmp_path):
  found = read(write(tmp_path, [row.replace(',0.2,', ',,') for row in rows()]))
  assert all(np.isnan(r.spacing_mm) for r in found)


def test_patients_stay_together(tmp_path):
  table = rows(extra=lambda i: f',p{i // 2}')
  found = read(write(tmp_path, table, HEADER + ',patient'))
  splits = collections.defaultdict(set)
  for record in found:
    splits[record.patient_id].add(record.split)
  assert len(splits) == 5 and all(len(s) == 1 for s in splits.values())


def test_given_split(tmp_path):
  given = ['train', 'validation', 'test', 'calibration'] + ['train'] * 6
  found = read(write(tmp_path, rows(extra=lambda i: ',' + given[i]), HEADER + ',split'))
  assert [r.split for r in found] == given


def test_given_test_split_leaves_validation_to_chance(tmp_path):
  table = rows(extra=lambda i: ',test' if i < 4 else ',train')
  found = read(write(tmp_path, table, HEADER + ',split'))
  assert counts(found) == {'test': 4, 'train': 4, 'validation': 1, 'calibration': 1}
  assert all(r.split == 'test' for r in found[:4])


def test_more_images_test(tmp_path):
  found = read(write(tmp_path, rows()), test_fraction=0.5)
  assert counts(found) == {'train': 3, 'validation': 1, 'calibration': 1, 'test': 5}


def test_where_nothing_is_trained_all_test_but_those_that_calibrate(tmp_path):
  write(tmp_path, rows())
  assert counts(read(tmp_path, test_fraction=1, calibration_images=0)) == {'test': 10}
  found = read(tmp_path, test_fraction=1, calibration_images=3)
  assert counts(found) == {'test': 7, 'calibration': 3}
  another = read(tmp_path, 1, test_fraction=1, calibration_images=3)
  assert [r.split for r in found] != [r.split for r in another]


def test_where_nothing_is_trained_a_table_needs_test_images_alone(tmp_path):
  write(tmp_path, rows(extra=lambda i: ',test' if i else ',calibration'), HEADER + ',split')
  assert counts(read(tmp_path, test_fraction=1, calibration_images=5)) == {'test': 9, 'calibration': 1}
  with pytest.raises(records.DataError, match='no image has split=train'):
    read(tmp_path)


def test_where_nothing_is_trained_images_marked_for_it_are_left_out(tmp_path):
  given = ['train', 'validation'] * 2 + ['test'] * 6
  write(tmp_path, rows(extra=lambda i: ',' + given[i]), HEADER + ',split')
  assert counts(read(tmp_path, test_fraction=1, calibration_images=0)) == {'test': 6}
  assert counts(read(tmp_path, test_fraction=1, calibration_images=2)) == {'test': 4, 'calibration': 2}


def test_any_single_csv_and_a_byte_order_mark_will_do(tmp_path):
  write(tmp_path, rows(), '\ufeff' + HEADER, name='mine.csv')
  assert len(read(tmp_path)) == 10
  (tmp_path / 'other.csv').write_text('')
  with pytest.raises(records.DataError, match='2 CSV files'):
    read(tmp_path)


@pytest.mark.parametrize('line,message', [
    ('0.png,0.2,sela,1,2', r"landmarks\.csv:2: landmark='sela'; allowed are sella, nasion"),
    ('0.png,0.2,sella,1,', r"csv:2: x='1', y=''"),
    ('0.png,0.2,sella,nan,2', r"csv:2: x='nan'"),
    ('0.png,0.2,sella,one,2', r"csv:2: x='one'"),
    ('0.png,-1,sella,1,2', r"csv:2: spacing_mm='-1'"),
    ('0.png,wide,sella,1,2', r"csv:2: spacing_mm='wide'"),
    ('0.png,0.3,sella,1,2', r"csv:3: spacing_mm='0.2' for image '0.png', but line 2 says '0.3'"),
    ('0.png,0.2,nasion,1,2', r"csv:3: a second row for landmark 'nasion'"),
    ('0.png,0.2,sella,1', r'csv:2: more or fewer cells'),
    ('0.png,0.2,sella,1,2,3', r'csv:2: more or fewer cells'),
    (',0.2,sella,1,2', r'csv:2: image is empty'),
    ('../0.png,0.2,sella,1,2', r"csv:2: image='\.\./0\.png'; allowed is .* in the folder"),
    ('/tmp/0.png,0.2,sella,1,2', r"csv:2: image='/tmp/0.png'; allowed"),
    ('./0.png,0.2,sella,1,2', r"csv:2: image='\./0.png'; allowed"),
    ('x.png,0.2,sella,1,2', r"csv:2: image='x.png': no such file")])
def test_malformed_rows_name_file_and_line(tmp_path, line, message):
  with pytest.raises(records.DataError, match=message):
    read(write(tmp_path, [line, *rows()[1:]]))


@pytest.mark.parametrize('header,message', [
    ('image,spacing_mm,landmark,x', 'needed.*x, y'), ('image;spacing_mm;landmark;x;y', 'commas'),
    (HEADER + ',colour', 'colour'), ('', 'needed')])
def test_wrong_columns(tmp_path, header, message):
  with pytest.raises(records.DataError, match=rf'landmarks\.csv:1: .*{message}'):
    read(write(tmp_path, rows(), header))


def test_wrong_splits(tmp_path):
  write(tmp_path, rows(extra=lambda i: ',hold'), HEADER + ',split')
  with pytest.raises(records.DataError, match="csv:2: split='hold'; allowed is train, validation"):
    read(tmp_path)
  write(tmp_path, rows(extra=lambda i: ',train'), HEADER + ',split')
  with pytest.raises(records.DataError, match='no image has split=test'):
    read(tmp_path)
  table = rows(extra=lambda i: ',p,test' if i < 5 else ',p,train')
  write(tmp_path, table, HEADER + ',patient,split')
  with pytest.raises(records.DataError, match="patient 'p' is in the splits test and train"):
    read(tmp_path)


def test_image_without_row_empty_table_and_few_patients(tmp_path):
  with pytest.raises(records.DataError, match=r'9\.png: no row in landmarks\.csv'):
    read(write(tmp_path, rows(9)))
  with pytest.raises(records.DataError, match='no rows'):
    read(write(tmp_path, []))
  for i in range(3, 10):
    (tmp_path / f'{i}.png').unlink()
  with pytest.raises(records.DataError, match='too few patients'):
    read(write(tmp_path, rows(3), images=3))


def test_not_a_text_file_and_no_folder(tmp_path):
  (tmp_path / 'landmarks.csv').write_bytes('image,é'.encode('latin-1'))
  with pytest.raises(records.DataError, match='not UTF-8'):
    read(tmp_path)
  (tmp_path / 'landmarks.csv').unlink()
  with pytest.raises(records.DataError, match='0 CSV files'):
    read(tmp_path)
  with pytest.raises(records.DataError, match='no such folder'):
    read(tmp_path / 'nowhere')
  with pytest.raises(records.DataError, match='data_dir'):
    list(csv.records(DataConfig(dataset='csv'), 0))
