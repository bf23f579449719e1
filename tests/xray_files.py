"""Small X-ray files of every format, for tests; loaded by path, since tests are no package."""

import io

import cv2
import numpy as np


def pixels(seed=0, height=90, width=70, dtype=np.uint8, channels=1):
  """A smooth picture that uses the whole range of its type."""
  top = np.iinfo(dtype).max
  small = np.random.default_rng(seed).uniform(0, top, (9, 7, channels))
  return np.clip(cv2.resize(small, (width, height)), 0, top).astype(dtype)


def picture(extension='.png', **kwargs):
  """The bytes of an image file of `pixels`."""
  return cv2.imencode(extension, pixels(**kwargs))[1].tobytes()


def decoded(data):
  """The pixels of an image file, as they are stored."""
  return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def dataset(values=None, **tags):
  """A pydicom data set of pixels [h, w] or [h, w, 3]; a tag of None is left out."""
  import pydicom
  from pydicom.uid import ExplicitVRLittleEndian
  values = pixels(dtype=np.uint16) if values is None else values
  made = pydicom.Dataset()
  made.file_meta = pydicom.dataset.FileMetaDataset()
  made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
  bits = 8 * values.dtype.itemsize
  fields = {
      'SOPClassUID': '1.2.840.10008.5.1.4.1.1.1', 'SOPInstanceUID': '1.2.3', 'Modality': 'DX',
      'Rows': values.shape[0], 'Columns': values.shape[1], 'BitsAllocated': bits, 'BitsStored': bits,
      'HighBit': tags.get('BitsStored', bits) - 1, 'PixelRepresentation': int(values.dtype.kind == 'i'),
      'SamplesPerPixel': 3 if values.ndim == 3 else 1,
      'PhotometricInterpretation': 'RGB' if values.ndim == 3 else 'MONOCHROME2'}
  if values.ndim == 3:
    fields['PlanarConfiguration'] = 0
  for name, value in (fields | tags).items():
    if value is not None:
      setattr(made, name, value)
  made.PixelData = values.tobytes()
  made['PixelData'].VR = 'OB' if bits == 8 else 'OW'
  return made


def saved(made):
  """The bytes of a data set."""
  buffer = io.BytesIO()
  made.save_as(buffer, enforce_file_format=True)
  return buffer.getvalue()


def dicom(values=None, **tags):
  """The bytes of a DICOM file; see `dataset`."""
  return saved(dataset(values, **tags))


def dicom_of_jpeg(jpeg, **kwargs):
  """The bytes of a DICOM file that says it is of `pixels`, and holds a baseline JPEG."""
  import pydicom
  made = dataset(pixels(**kwargs))
  made.PixelData = pydicom.encaps.encapsulate([jpeg])
  made['PixelData'].is_undefined_length = True
  made.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
  return saved(made)
