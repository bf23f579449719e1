"""DICOM X-rays: pixels as a computation by hand has them, spacing by the rules, refusals in words."""

import importlib.util
import io
import math
import pathlib
import sys

import cv2
import numpy as np
import pytest

from ceph_tf.data import dicom
from ceph_tf.data.records import DataError

pydicom = pytest.importorskip('pydicom', reason='needs the extra `medical`')
SPEC = importlib.util.spec_from_file_location(
    'xray_files', pathlib.Path(__file__).parents[1] / 'xray_files.py')
files = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(files)
LIMIT = 2**20


def read(data):
  return dicom.read(data, LIMIT)


def pixels(data):
  return files.decoded(read(data).image_bytes)


def corpus(name):
  return (pathlib.Path(pydicom.__file__).parent / 'data/test_files' / name).read_bytes()


def test_16_bits_are_written_as_they_are():
  values = files.pixels(dtype=np.uint16)
  found = pixels(files.dicom(values))
  assert found.dtype == np.uint16
  np.testing.assert_array_equal(found, values)


def test_8_bits_stay_8_bits():
  values = files.pixels()
  found = pixels(files.dicom(values))
  assert found.dtype == np.uint8
  np.testing.assert_array_equal(found, values)


def test_12_bits_are_stretched_and_what_lies_above_them_is_ignored():
  values = files.pixels(dtype=np.uint16) >> 4
  found = pixels(files.dicom(values | 0xA000, BitsStored=12))
  np.testing.assert_array_equal(found, values << 4)


@pytest.mark.parametrize('bits', [12, 16])
def test_signed_values_are_shifted_by_the_lowest(bits):
  values = (files.pixels(dtype=np.uint16).astype(int) >> (16 - bits)) - 2**(bits - 1)
  found = pixels(files.dicom(values.astype(np.int16), BitsStored=bits))
  np.testing.assert_array_equal(found, (values + 2**(bits - 1)) << (16 - bits))
  cut = values.astype(np.int16).view(np.uint16) & (2**bits - 1)  # without the sign in the bits above
  np.testing.assert_array_equal(found, pixels(files.dicom(cut, BitsStored=bits, PixelRepresentation=1)))


@pytest.mark.parametrize(('kind', 'slope', 'turned'), [
    ('MONOCHROME2', None, False), ('MONOCHROME1', None, True), ('MONOCHROME2', '2.5', False),
    ('MONOCHROME2', '-1', True), ('MONOCHROME1', '-1', False)])
def test_bone_is_bright_whatever_the_file_calls_bright(kind, slope, turned):
  values = files.pixels(dtype=np.uint16) >> 4
  found = pixels(files.dicom(values, BitsStored=12, PhotometricInterpretation=kind, RescaleSlope=slope,
                             RescaleIntercept='-1024' if slope else None))
  np.testing.assert_array_equal(found, (4095 - values if turned else values) << 4)


def test_colour():
  values = files.pixels(channels=3)
  np.testing.assert_array_equal(pixels(files.dicom(values)), values[..., ::-1])  # cv2 has BGR


@pytest.mark.parametrize('syntax', ['RLELossless', 'JPEG2000Lossless'])
def test_lossless_compression_changes_nothing(syntax):
  values = files.pixels(dtype=np.uint16)
  made = files.dataset(values)
  made.compress(getattr(pydicom.uid, syntax))
  np.testing.assert_array_equal(pixels(files.saved(made)), values)


def test_baseline_jpeg():
  assert np.abs(pixels(files.dicom_of_jpeg(files.picture('.jpg'))).astype(int) - files.pixels()).max() < 20


@pytest.mark.parametrize('share', [0.6, 0.9, 0.99])
def test_a_truncated_jpeg_in_a_whole_file_is_refused(share):
  jpeg = files.picture('.jpg')
  with pytest.raises(DataError, match='compressed image is truncated'):
    read(files.dicom_of_jpeg(jpeg[:int(share * len(jpeg))]))


def test_what_decoders_log_goes_nowhere(caplog):
  made = files.dataset(files.pixels(dtype=np.uint16))
  made.compress(pydicom.uid.RLELossless)
  frame = pydicom.encaps.get_frame(made.PixelData, 0, number_of_frames=1)
  made.PixelData = pydicom.encaps.encapsulate([frame[:len(frame) // 2]])
  with pytest.raises(DataError):
    read(files.saved(made))
  assert not caplog.records


@pytest.mark.parametrize('name', [
    'SC_rgb_jpeg_gdcm.dcm', 'SC_rgb_jpeg_dcmtk.dcm', 'SC_rgb_rle_16bit.dcm',
    'SC_rgb_small_odd_big_endian.dcm', 'SC_ybr_full_422_uncompressed.dcm'])
def test_files_of_other_makers(name):
  expected = pydicom.dcmread(io.BytesIO(corpus(name))).pixel_array
  np.testing.assert_array_equal(pixels(corpus(name)), expected[..., ::-1])


@pytest.mark.parametrize('name', ['MR_small_jpeg_ls_lossless.dcm',
                                  'JPGExtended.dcm', 'J2K_pixelrep_mismatch.dcm', 'MR_small_bigendian.dcm'])
def test_their_gray_values_keep_their_order(name):
  made = pydicom.dcmread(io.BytesIO(corpus(name)))
  made.Modality = 'DX'
  expected, found = made.pixel_array.astype(float), pixels(files.saved(made)).astype(float)
  if made.PhotometricInterpretation == 'MONOCHROME1':
    expected = -expected
  assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] == pytest.approx(1, abs=1e-9)


SAME, OTHER = [0.2, 0.2], [0.18, 0.18]
FACTOR = 'EstimatedRadiographicMagnificationFactor'


@pytest.mark.parametrize(('tags', 'mm', 'words'), [
    ({}, math.nan, 'unknown: the DICOM file states none'),
    ({'PixelSpacing': OTHER}, 0.18, 'PixelSpacing'),
    ({'PixelSpacing': ['1e-9', '1e-9']}, math.nan, 'is no length'),
    ({'PixelSpacing': ['1e300', '1e300']}, math.nan, 'is no length'),
    ({'ImagerPixelSpacing': SAME, FACTOR: '1000'}, 0.2, 'is not within 1 to 10'),
    ({'PixelSpacing': OTHER, 'PixelSpacingCalibrationType': 'FIDUCIAL'}, 0.18, "calibrated by 'FIDUCIAL'"),
    # Corrected already: it must not be divided a second time.
    ({'PixelSpacing': OTHER, 'ImagerPixelSpacing': SAME, FACTOR: '1.1111'}, 0.18, 'PixelSpacing'),
    # Repeated, so not corrected.
    ({'PixelSpacing': SAME, 'ImagerPixelSpacing': SAME, FACTOR: '1.25'}, 0.16, 'magnification of 1.25'),
    ({'ImagerPixelSpacing': SAME, FACTOR: '1.25'}, 0.16, 'magnification of 1.25'),
    ({'ImagerPixelSpacing': SAME}, 0.2, 'at the detector, not corrected'),
    ({'ImagerPixelSpacing': SAME, FACTOR: '0.9'}, 0.2, 'is not within 1 to 10'),
    ({'NominalScannedPixelSpacing': SAME}, 0.2, 'on the scanned film'),
    ({'PixelSpacing': OTHER, 'NominalScannedPixelSpacing': SAME}, 0.18, 'PixelSpacing'),
    ({'PixelSpacing': [0, 0]}, math.nan, "unknown: PixelSpacing='[0.0, 0.0]' is no length"),
    ({'PixelSpacing': [-1, -1], 'ImagerPixelSpacing': SAME}, math.nan, 'is no length'),
    ({'PixelSpacing': None}, math.nan, 'unknown'),
])
def test_spacing(tags, mm, words):
  film = read(files.dicom(**tags))
  assert film.spacing_mm == pytest.approx(mm, nan_ok=True)
  assert words in film.spacing_origin


@pytest.mark.parametrize(('tags', 'words'), [
    ({'Modality': 'CT'}, "Modality='CT': allowed are X-rays: CR, DX"), ({'Modality': 'MR'}, "Modality='MR'"),
    ({'Modality': 'US'}, "Modality='US'"), ({'Modality': None}, 'Modality=missing: allowed are X-rays'),
    ({'NumberOfFrames': 3}, 'NumberOfFrames=3: allowed is one image'),
    ({'PixelSpacing': [0.2, 0.3]}, r"PixelSpacing='\[0.2, 0.3\]': the pixels are not square"),
    ({'PixelAspectRatio': [4, 3]}, 'PixelAspectRatio=.*not square'),
    ({'PhotometricInterpretation': 'PALETTE COLOR'}, "PhotometricInterpretation='PALETTE COLOR'"),
    ({'BitsStored': 4, 'HighBit': 3}, 'BitsStored=4'), ({'HighBit': 12, 'BitsStored': 12}, 'HighBit=12'),
    ({'Rows': 2000, 'Columns': 2000}, f'2000 x 2000 pixels; allowed are 1 to {LIMIT}'),
    ({'Rows': 0}, '70 x 0 pixels'), ({'Rows': 200}, 'damaged; ValueError: The number of bytes of pixel data'),
    ({'RescaleSlope': '0'}, 'RescaleSlope='),
])
def test_what_is_no_xray_is_refused_in_words(tags, words):
  with pytest.raises(DataError, match=words) as caught:
    read(files.dicom(**tags))
  assert '\n' not in str(caught.value)


def test_a_compressed_image_that_unfolds_to_another_size_is_refused_before_it_is_decoded():
  jpeg = bytearray(files.picture('.jpg'))
  at = jpeg.index(b'\xff\xc0') + 5
  jpeg[at:at + 4] = (30000).to_bytes(2, 'big') * 2
  with pytest.raises(DataError, match='compressed image is 30000 x 30000 pixels, but .* 70 x 90'):
    read(files.dicom_of_jpeg(bytes(jpeg)))


def test_a_deflated_file_is_refused_before_it_is_inflated():
  with pytest.raises(DataError, match='deflated'):
    read(corpus('image_dfl.dcm'))


@pytest.mark.parametrize('compressed', [False, True])
def test_every_truncation_is_refused(compressed):
  made = files.dataset(files.pixels(dtype=np.uint16))
  if compressed:
    made.compress(pydicom.uid.JPEG2000Lossless)
  whole = files.saved(made)
  for length in [*range(132, 700, 7), *range(700, len(whole) - 9, 97)]:
    with pytest.raises(DataError):
      read(whole[:length])


def test_no_dicom():
  with pytest.raises(DataError, match=r'starts with b.\\x89PNG'):
    read(files.picture())


def test_a_missing_decoder_is_named(monkeypatch):
  made = files.dataset(files.pixels(dtype=np.uint16))
  made.compress(pydicom.uid.JPEG2000Lossless)
  data = files.saved(made)
  decoder = pydicom.pixels.get_decoder(pydicom.uid.JPEG2000Lossless)
  monkeypatch.setattr(decoder, '_available', {})
  with pytest.raises(DataError, match=r"'JPEG 2000 .*needs a decoder: pip install .* '\.\[medical\]'"):
    read(data)


def test_missing_pydicom_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'pydicom', None)
  with pytest.raises(DataError, match=r"need pydicom: pip install .* '\.\[medical\]'"):
    read(b'')


def test_the_png_is_what_tensorflow_decodes():
  from ceph_tf.data import preprocess
  values = files.pixels(dtype=np.uint16)
  gray = preprocess.decode_gray(read(files.dicom(values)).image_bytes).numpy()[..., 0]
  np.testing.assert_allclose(gray, values / 65535, atol=1e-6)
  assert cv2.imdecode(np.frombuffer(read(files.dicom(values)).image_bytes, np.uint8), -1).shape == (90, 70)
