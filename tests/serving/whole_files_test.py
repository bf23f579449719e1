import os

import pytest

from ceph_tf.serving import whole_files


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt, GeneratorExit])
def test_a_file_appears_whole_or_not_at_all(tmp_path, error):
  path = tmp_path / 'x.csv'
  with pytest.raises(error), whole_files.writing(path) as file:
    file.write('half')
    raise error
  assert os.listdir(tmp_path) == []
  whole_files.write(path, 'old')
  with pytest.raises(error), whole_files.writing(path) as file:
    file.write('half')
    raise error
  assert os.listdir(tmp_path) == ['x.csv'] and path.read_text() == 'old'
  with whole_files.writing(path) as file:
    file.write('new')
    assert path.read_text() == 'old'
  assert os.listdir(tmp_path) == ['x.csv'] and path.read_text() == 'new'


def test_an_error_names_the_file_that_is_meant(tmp_path):
  path = tmp_path / 'x.csv'
  with pytest.raises(OSError, match=r"No space left on device: '.*/x\.csv'"), whole_files.writing(path):
    raise OSError(28, 'No space left on device')
  with pytest.raises(FileNotFoundError, match=r"'.*/nowhere/x\.csv'"):
    whole_files.write(tmp_path / 'nowhere' / 'x.csv', '')
  path.mkdir()
  with pytest.raises(IsADirectoryError, match=r"there is a folder of this name: '.*/x\.csv'"):
    whole_files.write(path, '')
  assert os.listdir(tmp_path) == ['x.csv']


def test_bytes(tmp_path):
  whole_files.write(tmp_path / 'x', b'\r\n\xff')
  assert (tmp_path / 'x').read_bytes() == b'\r\n\xff'


def test_a_link_is_replaced_and_not_followed(tmp_path):
  (tmp_path / 'precious').write_text('kept')
  (tmp_path / 'x').symlink_to(tmp_path / 'precious')
  whole_files.write(tmp_path / 'x', 'new')
  assert (tmp_path / 'precious').read_text() == 'kept' and (tmp_path / 'x').read_text() == 'new'
