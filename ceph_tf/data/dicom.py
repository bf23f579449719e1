"""One DICOM X-ray: its pixels as a PNG that TensorFlow decodes, and what it knows of its spacing.

pydicom reads what it can and says little about the rest; what would give a wrong image or a wrong
length is refused here: other modalities, several frames, pixels that are not square, palettes.

Gray values are written as they are stored, shifted to 0 and up, stretched to 8 or 16 bits by a power
of two, and turned where low values are bright (MONOCHROME1, or a negative rescale slope). Nothing is
lost, and slope and intercept may be forgotten: the network standardizes every image. Windows (VOI)
are for eyes and not applied.
"""

import contextlib
import io
import logging
import math
import typing
import warnings
from collections.abc import Iterator

import cv2
import numpy as np

from ceph_tf.data.records import DataError

MAGIC = b'DICM'  # at byte 128
MODALITIES = ('CR', 'DX', 'PX', 'RG', 'IO', 'XA', 'RF', 'OT', 'SC')  # OT, SC: what was scanned
INSTALL = "pip install -c constraints.txt -e '.[medical]'"
_JPEG, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_DEFLATED = b'1.2.840.10008.1.2.1.99'
_COLOURS = ('RGB', 'YBR_FULL', 'YBR_FULL_422', 'YBR_ICT', 'YBR_RCT')  # pydicom makes RGB of all
_SQUARE = 1e-3  # by how much the two sides of a pixel may differ
SPACINGS_MM = (1e-3, 10)  # what lies beyond is no pixel of an X-ray, but dpi, or another unit
_MAGNIFICATIONS = (1, 10)
NO_SPACING = 'unknown: the DICOM file states none'


class Film(typing.NamedTuple):
  """A film as it is asked about.

  Attributes:
    image_bytes: a PNG, 8 or 16 bits, gray or RGB.
    spacing_mm: mm per pixel, NaN where unknown.
    spacing_origin: in words, what says so, or why it is unknown.
  """

  image_bytes: bytes
  spacing_mm: float
  spacing_origin: str


def is_dicom(head: bytes) -> bool:
  """Do the first 132 bytes of a file say that it is DICOM?"""
  return head[128:132] == MAGIC


def read(data: bytes, max_pixels: int) -> Film:
  """A DICOM file of one frame.

  Args:
    data: the whole file.
    max_pixels: of the image; more are refused before they are decoded.

  Raises:
    DataError: no X-ray, damaged, too large, pixels that are not square, or pydicom or a decoder is
      not installed.
  """
  pydicom = _pydicom()
  with _errors_of_pydicom():
    dataset = _parsed(pydicom, data)
    _check_kind(dataset)
    _check_size(pydicom, dataset, max_pixels)
    spacing_mm, origin = spacing(dataset)
    return Film(_png(_gray_or_rgb(pydicom, dataset)), spacing_mm, origin)


def spacing(dataset) -> tuple[float, str]:
  """mm per pixel in the patient as far as the file knows, and the words for it; NaN if it does not.

  PixelSpacing is corrected for the magnification of the rays already (DICOM PS3.3 10.7.1.3), so it is
  taken as it is, unless it merely repeats ImagerPixelSpacing. That is the distance on the detector,
  where the head appears enlarged: the distance in the head is smaller by the magnification, so it is
  divided by EstimatedRadiographicMagnificationFactor, where that is stated. NominalScannedPixelSpacing
  is a distance on paper or film, whose magnification nobody knows.

  Raises:
    DataError: pixels that are not square.
  """
  _check_aspect(dataset)
  found = {name: _length(dataset, name) for name in
           ('PixelSpacing', 'ImagerPixelSpacing', 'NominalScannedPixelSpacing')}
  patient, detector, film = found.values()
  for name, value in found.items():
    if value is not None and math.isnan(value):
      return math.nan, f'unknown: {name}={_text(dataset, name)} is no length'
  if patient is not None and patient != detector:
    kind = _text(dataset, 'PixelSpacingCalibrationType') if 'PixelSpacingCalibrationType' in dataset else ''
    return patient, 'PixelSpacing' + (f', calibrated by {kind}' if kind else '')
  if detector is not None:
    return _in_patient(dataset, detector)
  if film is not None:
    return film, 'NominalScannedPixelSpacing: on the scanned film, not corrected for magnification'
  return math.nan, NO_SPACING


def _in_patient(dataset, detector_mm: float) -> tuple[float, str]:
  name = 'EstimatedRadiographicMagnificationFactor'
  factor = dataset.get(name)
  if factor is None:
    return detector_mm, 'ImagerPixelSpacing: at the detector, not corrected for magnification'
  low, high = _MAGNIFICATIONS
  if not low <= factor <= high:
    return detector_mm, (f'ImagerPixelSpacing: at the detector, not corrected for magnification; '
                         f'{name}={_text(dataset, name)} is not within {low} to {high}')
  return detector_mm / float(factor), f'ImagerPixelSpacing, divided by a magnification of {float(factor):g}'


def _length(dataset, name: str) -> float | None:
  """The side of a square pixel; NaN where it is no length, None where it is missing or empty."""
  value = dataset.get(name)
  if value is None or value == '':
    return None
  try:
    sides = [float(side) for side in ([value] if isinstance(value, str) else value)]
  except (TypeError, ValueError):
    return math.nan
  if len(sides) != 2 or not all(SPACINGS_MM[0] <= side <= SPACINGS_MM[1] for side in sides):
    return math.nan
  if abs(sides[0] - sides[1]) > _SQUARE * sides[0]:
    raise DataError(f'{name}={_text(dataset, name)}: the pixels are not square; '
                    'allowed are two equal numbers')
  return sides[0]


def _check_aspect(dataset) -> None:
  ratio = dataset.get('PixelAspectRatio')
  if ratio and len(ratio) == 2 and int(ratio[0]) != int(ratio[1]):
    raise DataError(f'PixelAspectRatio={_text(dataset, "PixelAspectRatio")}: the pixels are not square; '
                    'allowed is 1:1')


def _text(dataset, name: str) -> str:
  """A value for an error message: one short line."""
  value = dataset.get(name)
  return 'missing' if value is None else repr(' '.join(str(value).split())[:60])


def _pydicom():
  try:
    import pydicom
    import pydicom.encaps
    import pydicom.pixels
  except ImportError:
    raise DataError(f'DICOM files need pydicom: {INSTALL}') from None
  return pydicom


@contextlib.contextmanager
def _errors_of_pydicom() -> Iterator[None]:
  """Whatever pydicom and its decoders raise on damaged files, which may be anything, is a `DataError`.

  What they log and warn of goes nowhere meanwhile.
  """
  logger = logging.getLogger('pydicom')  # the loggers of its modules hand on to it
  before = logger.handlers, logger.propagate
  logger.handlers, logger.propagate = [logging.NullHandler()], False
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      yield
  except DataError:
    raise
  except Exception as error:
    words = ' '.join(f'{type(error).__name__}: {error}'.split())[:160]
    raise DataError(f'the DICOM file is damaged; {words}') from None
  finally:
    logger.handlers, logger.propagate = before


def _parsed(pydicom, data: bytes):
  if not is_dicom(data[:132]):
    raise DataError(f'the file starts with {data[:8]!r}; allowed is DICOM, with DICM at byte 128')
  if _DEFLATED in data:  # pydicom would inflate it whole, whatever its size
    raise DataError('the DICOM file is deflated as a whole; allowed is compression of the pixels alone')
  return pydicom.dcmread(io.BytesIO(data))


def _check_kind(dataset) -> None:
  modality = dataset.get('Modality')
  if modality is None and 'PixelData' not in dataset:  # where pydicom meets the end it keeps silent
    raise DataError('the DICOM file is truncated, or holds neither an image (PixelData) nor a Modality')
  if modality not in MODALITIES:
    raise DataError(f'Modality={_text(dataset, "Modality")}: allowed are X-rays: {", ".join(MODALITIES)}')
  if 'PixelData' not in dataset:
    raise DataError('the DICOM file holds no image (PixelData), or is truncated before it')
  frames = int(dataset.get('NumberOfFrames') or 1)
  if frames != 1:
    raise DataError(f'NumberOfFrames={frames}: allowed is one image')
  photometric = dataset.get('PhotometricInterpretation')
  gray = dataset.get('SamplesPerPixel') == 1 and photometric in ('MONOCHROME1', 'MONOCHROME2')
  if not gray and not (dataset.get('SamplesPerPixel') == 3 and photometric in _COLOURS):
    raise DataError(f'PhotometricInterpretation={_text(dataset, "PhotometricInterpretation")} of '
                    f'{_text(dataset, "SamplesPerPixel")} samples: allowed are MONOCHROME1, MONOCHROME2 '
                    f'and {", ".join(_COLOURS)}')
  bits, allocated = dataset.BitsStored, dataset.BitsAllocated
  if allocated not in (8, 16) or not 8 <= bits <= allocated or dataset.get('HighBit', bits - 1) != bits - 1:
    raise DataError(f'BitsStored={bits} of BitsAllocated={allocated}, HighBit={dataset.get("HighBit")}: '
                    'allowed are 8 to 16 bits, the low ones')
  if 'ModalityLUTSequence' in dataset:
    raise DataError('ModalityLUTSequence: allowed are RescaleSlope and RescaleIntercept')


def _check_size(pydicom, dataset, max_pixels: int) -> None:
  """What the header says, and what a compressed image says of itself."""
  rows, columns = int(dataset.Rows), int(dataset.Columns)
  if rows < 1 or columns < 1 or rows * columns > max_pixels:
    raise DataError(f'the DICOM image is {columns} x {rows} pixels; allowed are 1 to {max_pixels}')
  if dataset.file_meta.TransferSyntaxUID.is_compressed:
    frame = pydicom.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
    # Decoders of JPEG fill what is missing with gray; fragments are padded to an even length.
    if frame.startswith(_JPEG) and not frame.rstrip(b'\0\xff').endswith(_JPEG_END):
      raise DataError(f'the compressed image is truncated: no end-of-image marker at the end of {len(frame)} '
                      'bytes')
    inner = _codestream_size(frame)
    if inner not in (None, (rows, columns)):
      raise DataError(f'the compressed image is {inner[1]} x {inner[0]} pixels, but Columns x Rows is '
                      f'{columns} x {rows}')


def _codestream_size(data: bytes) -> tuple[int, int] | None:
  """Rows and columns by the header of a JPEG (also lossless, LS) or JPEG 2000 image; None for others."""
  at = 2
  while data.startswith(_JPEG) and len(data) >= at + 9 and data[at] == 0xFF:
    marker, length = data[at + 1], int.from_bytes(data[at + 2:at + 4])
    if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) or marker == 0xF7:  # F7: JPEG-LS
      return int.from_bytes(data[at + 5:at + 7]), int.from_bytes(data[at + 7:at + 9])
    at += 2 + length
  if (at := data.find(b'\xff\x4f\xff\x51')) >= 0 and len(data) >= at + 24:
    right, bottom, left, top = (int.from_bytes(data[at + k:at + k + 4]) for k in (8, 12, 16, 20))
    return bottom - top, right - left
  return None


def _gray_or_rgb(pydicom, dataset) -> np.ndarray:
  """uint8 or uint16 [rows, columns] or [rows, columns, 3], all bits used, bright for much absorption."""
  uid = dataset.file_meta.TransferSyntaxUID
  try:
    available = not uid.is_compressed or pydicom.pixels.get_decoder(uid).is_available
  except NotImplementedError:
    raise DataError(f'TransferSyntaxUID={uid.name!r}: no known compression of a single image') from None
  if not available:
    raise DataError(f'the pixels are compressed as {uid.name!r}, which needs a decoder: {INSTALL}')
  stored, bits = dataset.pixel_array, dataset.BitsStored
  shape = (dataset.Rows, dataset.Columns) + ((3,) if dataset.SamplesPerPixel == 3 else ())
  if stored.shape != shape or stored.dtype.kind not in 'iu' or stored.dtype.itemsize > 4:
    raise DataError(f'the DICOM image decodes to {stored.dtype} {stored.shape}; expected were {shape}')
  # From here on in the bits that are stored: whatever lies above them (old overlays) is none of ours.
  values = stored.astype(np.int32) & (2**bits - 1)
  if dataset.PixelRepresentation == 1:
    values ^= 2**(bits - 1)  # two's complement to offset binary: minus the lowest value
  slope = dataset.get('RescaleSlope')
  slope = 1.0 if slope is None else float(slope)
  if not math.isfinite(slope) or slope == 0:
    raise DataError(f'RescaleSlope={_text(dataset, "RescaleSlope")}: allowed is a number other than 0')
  if (dataset.PhotometricInterpretation == 'MONOCHROME1') != (slope < 0):
    values = 2**bits - 1 - values
  kind, width = (np.uint8, 8) if bits == 8 else (np.uint16, 16)
  return (values << (width - bits)).astype(kind)


def _png(pixels: np.ndarray) -> bytes:
  bgr = pixels[..., ::-1] if pixels.ndim == 3 else pixels
  return cv2.imencode('.png', bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
