"""Which files are read, what they are called, what is refused and with which words."""

import importlib.util
import math
import os
import pathlib
import struct
import time
import zlib

import cv2
import numpy as np
import pytest

from ceph_tf.data.records import DataError
from ceph_tf.serving import admission, intake

SPEC = importlib.util.spec_from_file_location(
    'xray_files', pathlib.Path(__file__).parents[1] / 'xray_files.py')
files = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(files)
DICOM_HEAD = bytes(128) + b'DICM' + bytes(8)


def touch(folder, *names, content=b'x'):
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def found(*paths, out='/nowhere'):
  return intake.find([str(path) for path in paths], pathlib.Path(out))


def relative(sources, folder):
  return [str(source.path.relative_to(folder)) for source in sources]


def test_a_folder_is_searched_for_images_and_dicom_of_any_name(tmp_path):
  touch(tmp_path, 'b.PNG', 'a.jpg', 'deep/er/c.tiff', 'notes.txt', '.hidden.png', '.git/x.png', 'x.png/d.bmp')
  touch(tmp_path, 'IM0001', 'DICOMDIR', content=DICOM_HEAD)
  assert relative(found(tmp_path), tmp_path) == ['IM0001', 'a.jpg', 'b.PNG', 'deep/er/c.tiff', 'x.png/d.bmp']


def test_a_file_that_is_named_is_always_tried(tmp_path):
  touch(tmp_path, 'notes.txt', '.hidden.png')
  assert relative(found(tmp_path / 'notes.txt', tmp_path / '.hidden.png'), tmp_path) == [
      'notes.txt', '.hidden.png']


def test_patterns(tmp_path):
  touch(tmp_path, 'a.png', 'b.png', 'c.jpg', 'deep/d.png', '[x].png')
  assert relative(found(tmp_path / '?.png'), tmp_path) == ['a.png', 'b.png']
  assert relative(found(tmp_path / '**/d*'), tmp_path) == ['deep/d.png']
  assert relative(found(tmp_path / '[x].png'), tmp_path) == ['[x].png']  # a name comes before a pattern


def test_what_is_named_twice_is_read_once(tmp_path):
  touch(tmp_path, 'a.png', 'b.png')
  (tmp_path / 'link').symlink_to(tmp_path)
  sources = found(tmp_path / 'a.png', tmp_path, tmp_path / 'link/a.png')
  assert relative(sources, tmp_path) == ['a.png', 'b.png']


def test_links_are_followed_and_circles_end(tmp_path):
  touch(tmp_path, 'in/a.png', 'elsewhere/b.png')
  (tmp_path / 'in/around').symlink_to(tmp_path / 'in')
  (tmp_path / 'in/away').symlink_to(tmp_path / 'elsewhere')
  (tmp_path / 'in/self.png').symlink_to('self.png')
  assert relative(found(tmp_path / 'in'), tmp_path / 'in') == ['a.png', 'self.png', 'away/b.png']
  with pytest.raises(DataError, match='cannot be read: Too many levels'):
    intake.read(tmp_path / 'in/self.png')


def test_nothing_is_found(tmp_path):
  touch(tmp_path, 'notes.txt')
  for path in ('missing.png', '*.png'):
    with pytest.raises(DataError, match=f'no such file or folder: .*{path[-4:]}'):
      found(tmp_path / path)
  with pytest.raises(DataError, match=r'no image in .*: \.bmp, \.png'):
    found(tmp_path)


def test_an_empty_folder_among_others_is_a_reason(tmp_path):
  touch(tmp_path, 'a/x.png')
  (tmp_path / 'b').mkdir()
  assert [(s.path.name, s.reason) for s in found(tmp_path / 'a', tmp_path / 'b')] == [
      ('x.png', ''), ('b', 'there is no image in the folder')]


def test_the_output_folder_is_not_searched_and_no_image_in_it_is_overwritten(tmp_path):
  touch(tmp_path, 'a.png', 'out/a.png')
  (tmp_path / 'link').symlink_to(tmp_path / 'out')
  assert relative(found(tmp_path, out=tmp_path / 'out'), tmp_path) == ['a.png']
  for named in ('out', 'out/a.png', 'link/a.png'):
    with pytest.raises(DataError, match='--out=.*out holds .*a.png, which an output might replace'):
      found(tmp_path / named, out=tmp_path / 'out')


def test_an_image_of_the_output_is_not_overwritten_by_way_of_a_link(tmp_path):
  touch(tmp_path, 'out/a.png', 'in/b.png')
  (tmp_path / 'in/a.png').symlink_to(tmp_path / 'out/a.png')
  with pytest.raises(DataError, match='--out=.*out holds .*in/a.png, which an output might replace'):
    found(tmp_path / 'in', out=tmp_path / 'out')


def test_everything_in_a_folder_but_the_output(tmp_path):
  touch(tmp_path, 'a.png', 'b.png', 'out/a.png')
  everything = [tmp_path / name for name in ('a.png', 'b.png', 'out')]
  for paths in (everything, [tmp_path / '*']):
    assert relative(found(*paths, out=tmp_path / 'out'), tmp_path) == ['a.png', 'b.png']


def test_what_may_not_be_entered_is_not_said_to_be_empty_or_missing(tmp_path, monkeypatch):
  def denied(path, *args, **options):
    raise PermissionError(13, 'Permission denied', str(path))

  touch(tmp_path, 'a/x.png')
  with monkeypatch.context() as patched, pytest.raises(DataError, match='/a: the folder cannot be read: P'):
    patched.setattr(os, 'scandir', denied)
    found(tmp_path / 'a')
  with monkeypatch.context() as patched, pytest.raises(DataError, match=r'x\.png cannot be read: Permission'):
    patched.setattr(os, 'lstat', denied)
    found(tmp_path / 'a' / 'x.png')


def test_an_unreadable_folder_is_a_reason(tmp_path, monkeypatch):
  touch(tmp_path, 'a/x.png', 'b/y.png')
  scandir = os.scandir

  def denied(path):
    if str(path).endswith('/b'):
      raise PermissionError(13, 'Permission denied', str(path))
    return scandir(path)

  monkeypatch.setattr(os, 'scandir', denied)
  assert [(s.path.name, s.reason) for s in found(tmp_path)] == [
      ('x.png', ''), ('b', 'the folder cannot be read: Permission denied')]


@pytest.mark.parametrize(('paths', 'names'), [
    (['a/x.png', 'b/x.png', 'x.jpg'], ['x', 'x_2', 'x_3']),
    (['x_2.png', 'x.png', 'x.jpg'], ['x_2', 'x', 'x_3']),
    (['X.png', 'x.png'], ['X', 'x_2']), (['x.png', 'X.png'], ['x', 'X_2']),  # one file where case is none
    (['1.2.840.dcm', '1.2.840'], ['1.2.840', '1.2.840_2']),
    (['a b\n<i>.png', 'c$d"e.png', '\u4e16\u754c.png'], ['a b__i_', 'c_d_e', '\u4e16\u754c']),
    (['..png', '.hidden.png', '=1+1.png'], ['image', 'hidden', '_1+1']),
    ([os.fsdecode(b'\xff.png'), '-rf.png', '-.x.png'], ['_', 'rf', 'x']),
    (['x.png', 'x_2.png', 'x.jpg', 'x.bmp'], ['x', 'x_2', 'x_3', 'x_4']),
])
def test_outputs_have_plain_and_different_names(paths, names):
  assert intake.unique_names(paths) == names


def test_long_names_are_cut_where_a_letter_ends():
  first, second = intake.unique_names(['\u00e4' * 120 + '.png', '\u00e4' * 120 + '.jpg'])
  assert first == '\u00e4' * 60 and second == first + '_2'


def test_shown_is_one_line_of_text():
  assert intake.shown('a b\n\x1b[31m.png') == r'a b\n\x1b[31m.png'
  assert intake.shown(os.fsdecode(b'\xff.png')) == r'\xff.png'


@pytest.mark.parametrize('extension', ['.jpg', '.png', '.bmp', '.tiff'])
def test_the_content_decides_and_not_the_suffix(tmp_path, extension):
  data = files.picture(extension)
  (tmp_path / 'x.dcm').write_bytes(data)
  film = intake.read(tmp_path / 'x.dcm')
  np.testing.assert_array_equal(files.decoded(film.image_bytes), files.decoded(data))
  assert math.isnan(film.spacing_mm) and film.spacing_origin == intake.UNKNOWN_SPACING
  assert (film.image_bytes == data) == (extension != '.tiff')
  assert intake.read(tmp_path / 'x.dcm', 0.1)[1:] == (0.1, '--spacing_mm')


def test_a_dicom_file_keeps_its_own_spacing(tmp_path):
  pytest.importorskip('pydicom', reason='needs the extra `medical`')
  (tmp_path / 'a').write_bytes(files.dicom(PixelSpacing=[0.2, 0.2]))
  (tmp_path / 'b').write_bytes(files.dicom())
  assert intake.read(tmp_path / 'a', 0.1)[1:] == (0.2, 'PixelSpacing')
  assert intake.read(tmp_path / 'b', 0.1)[1:] == (0.1, '--spacing_mm')
  (tmp_path / 'c').write_bytes(files.dicom(PixelSpacing=[0, 0]))
  spacing, origin = intake.read(tmp_path / 'c', 0.1)[1:]
  assert spacing == 0.1 and origin.startswith('--spacing_mm; by the file unknown: PixelSpacing=')


def tiff_of_size(height, width):
  entries = ((256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 122), (277, 1), (278, height),
             (279, 8))
  return (b'II*\0' + struct.pack('<IH', 8, len(entries))
          + b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in entries) + bytes(12))


def turned(extension, orientation):
  data = cv2.imencode(extension, np.zeros((40, 40), np.uint8))[1].tobytes()
  tag = struct.pack('<HHIHH', 274, 3, 1, orientation, 0)
  if extension == '.png':
    block = b'eXIf' + b'II*\0' + struct.pack('<IH', 8, 1) + tag + bytes(4)
    chunk = struct.pack('>I', len(block) - 4) + block + struct.pack('>I', zlib.crc32(block))
    return data[:33] + chunk + data[33:]
  last = data.index(struct.pack('<HHI', 339, 3, 1))  # an entry that can be spared
  return data[:last] + tag + data[last + 12:]


def bmp_of_size(height, width):
  data = bytearray(cv2.imencode('.bmp', np.zeros((4, 4), np.uint8))[1].tobytes())
  data[18:26] = struct.pack('<ii', width, height)
  data[30:34] = struct.pack('<I', 1)  # run-length encoded: it has to be transcoded
  return bytes(data)


@pytest.mark.parametrize(('data', 'words'), [
    (b'', 'the file is empty'), (b'no image', 'the file starts with .* or DICOM'),
    (tiff_of_size(30000, 30000), 'TIFF image is 30000 x 30000 pixels'),
    (bmp_of_size(30000, 30000), 'BMP image is 30000 x 30000 pixels'),
    (b'II*\0', 'TIFF image ends within its header'), (tiff_of_size(100, 100), 'TIFF image cannot be decoded'),
    (b'II*\0' + bytes(4), 'TIFF file holds no image'), (turned('.tiff', 6), 'TIFF image is stored turned'),
    (turned('.png', 3), 'PNG image is stored turned'),
    (cv2.imencodemulti('.tiff', [np.zeros((40, 40), np.uint8)] * 2)[1].tobytes(), 'TIFF file holds 2 images'),
    (cv2.imencode('.bmp', np.zeros((4, 4), np.uint8))[1].tobytes()[:60], 'BMP image ends within its palette'),
    (cv2.imencode('.bmp', np.zeros((4, 4), np.uint8))[1].tobytes()[:40], 'BMP image'),
    (DICOM_HEAD, 'DICOM file is truncated, or holds neither'),
])
def test_what_is_refused_before_the_model_sees_it(tmp_path, data, words):
  (tmp_path / 'x.png').write_bytes(data)
  start = time.monotonic()
  with pytest.raises(DataError, match=words):
    intake.read(tmp_path / 'x.png')
  assert time.monotonic() - start < 5  # the bombs are not unfolded


def test_a_picture_that_viewers_turn_is_refused(tmp_path):
  jpeg = files.picture('.jpg')
  block = b'Exif\0\0II' + struct.pack('<HIHHHIHHI', 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
  head = b'\xff\xe1' + struct.pack('>H', len(block) + 2)
  (tmp_path / 'x.jpg').write_bytes(jpeg[:2] + head + block + jpeg[2:])
  with pytest.raises(DataError, match=r'stored turned \(EXIF orientation 6\).*save it upright'):
    intake.read(tmp_path / 'x.jpg')


def test_a_png_bomb_is_left_to_the_model_which_reads_its_header_first(tmp_path):
  data = files.picture()
  header = struct.pack('>4sII5B', b'IHDR', 30000, 30000, 8, 0, 0, 0, 0)
  data = data[:12] + header + struct.pack('>I', zlib.crc32(header)) + data[33:]
  (tmp_path / 'x.png').write_bytes(data)
  assert intake.read(tmp_path / 'x.png').image_bytes == data


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path):
  os.mkfifo(tmp_path / 'pipe.png')
  with pytest.raises(DataError, match='is no regular file'):
    intake.read(tmp_path / 'pipe.png')
  with pytest.raises(DataError, match='is a folder'):
    intake.read(tmp_path)
  os.mkfifo(tmp_path / 'pipe')
  assert relative(found(tmp_path), tmp_path) == ['pipe.png']


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
  with pytest.raises(DataError, match='cannot be read: No such file'):
    intake.read(tmp_path / 'x.png')
  touch(tmp_path, 'x.png', content=bytes(100))
  monkeypatch.setattr(intake, 'MAX_BYTES', 99)
  with pytest.raises(DataError, match='has 100 bytes; allowed are 99'):
    intake.read(tmp_path / 'x.png')


def test_limits_are_those_of_the_model():
  assert intake.MAX_BYTES > 2 * admission.MAX_PIXELS
