"""NIfTI, NRRD and DICOM through SimpleITK, and what it lets pass in silence.

ITK calls a missing spacing 1 mm, leaves out DICOM slices it cannot read, spaces the
others evenly and takes the tilt of a gantry for none. All this is checked or computed here.
"""

import contextlib
import locale
import pathlib

import numpy as np

from ceph_tf.data import dicom, nifti_header
from ceph_tf.data.records import DataError
from ceph_tf.data.stored_grid import StoredGrid

_UNEVEN = 0.05  # of the distance of slices
_DICOM_TAGS = {'0028|0030': 'PixelSpacing', '0020|0032': 'ImagePositionPatient',
               '0020|0037': 'ImageOrientationPatient'}


def read_nifti(path: pathlib.Path) -> StoredGrid:
  """Reads .nii and .nii.gz. Raises `DataError` as `nifti_header.check`, or if ITK cannot."""
  return _read_file(path, nifti_header.check(path))


def read_nrrd(path: pathlib.Path) -> StoredGrid:
  """Reads .nrrd. Raises `DataError`: no NRRD, no spacing, not three-dimensional, truncated."""
  with open(path, 'rb') as file:
    if not file.read(4) == b'NRRD':
      raise DataError('is no NRRD file')
    head = file.read(1 << 20).split(b'\n\n')[0].split(b'\r\n\r\n')[0].decode('latin-1').lower()
  fields = dict(line.split(':', 1) for line in head.splitlines()[1:]
                if ':' in line and not line.startswith('#'))
  if 'spacings' not in fields and 'space directions' not in fields:
    raise DataError('no spacing: the header has neither spacings nor space directions')
  space = fields.get('space', '').strip()
  known = 'superior' in space or space in ('lps', 'ras', 'las')
  if 'space directions' in fields and known:
    return _read_file(path, '')
  return _read_file(path, f'the header knows no directions (space: {space or "missing"})')


def _read_file(path: pathlib.Path, doubt: str) -> StoredGrid:
  sitk = _simpleitk()
  with _itk_errors(sitk):
    image = sitk.ReadImage(str(path))
    size, components = image.GetSize(), image.GetNumberOfComponentsPerPixel()
    if len(size) != 3:
      raise DataError(f'an array of {len(size)} dimensions, {" x ".join(map(str, size))}; '
                      'allowed is one volume of three')
    if components != 1:
      raise DataError(f'{components} numbers per voxel; allowed is one')
    steps = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    return StoredGrid(sitk.GetArrayFromImage(image), steps, np.array(image.GetOrigin()), doubt)


def read_dicom(folder: pathlib.Path) -> StoredGrid:
  """Reads the one series of a folder (subfolders are not searched).

  Raises:
    DataError: no series or several, unreadable or missing slices, no spacing or position.
  """
  sitk = _simpleitk()
  with _itk_errors(sitk):
    files = _series(sitk, folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    reader.MetaDataDictionaryArrayUpdateOn()
    image = reader.Execute()
    if len(files) < 2 or image.GetSize()[2:] != (len(files),):
      raise DataError(f'{len(files)} DICOM files of {" x ".join(map(str, image.GetSize()))} pixels are '
                      'no volume; allowed is a series of two slices or more, one in each file')
    if image.GetNumberOfComponentsPerPixel() != 1:
      raise DataError('the slices are coloured; allowed is one number per voxel')
    headers = [{name: _numbers(reader, i, tag, name, files[i]) for tag, name in _DICOM_TAGS.items()}
               for i in range(len(files))]
    return StoredGrid(sitk.GetArrayFromImage(image), _dicom_steps(headers, files),
                      headers[0]['ImagePositionPatient'])


def _series(sitk, folder: pathlib.Path) -> tuple[str, ...]:
  content = sorted(entry for entry in folder.iterdir() if entry.is_file())
  if not content:
    raise DataError('there is no file in this folder; allowed is a DICOM series')
  series = {uid: sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
            for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))}
  listed = {pathlib.Path(file).name for files in series.values() for file in files}
  broken = [file.name for file in content if file.name not in listed and _is_dicom(file)]
  if broken:
    raise DataError(f'{len(broken)} DICOM files cannot be read, the first is {broken[0]}; '
                    'truncated, or no image')
  if not series:
    raise DataError(f'none of {len(content)} files is DICOM; allowed is a DICOM series')
  if len(series) > 1:
    names = ', '.join(f'{uid} ({_description(sitk, files[0])}, {len(files)} files)'
                      for uid, files in series.items())
    raise DataError(f'{len(series)} DICOM series in one folder: {names}; allowed is one')
  return next(iter(series.values()))


def _is_dicom(path: pathlib.Path) -> bool:
  with open(path, 'rb') as file:
    return file.read(132)[128:] == b'DICM' and path.name.upper() != 'DICOMDIR'


def _description(sitk, file: str) -> str:
  reader = sitk.ImageFileReader()
  reader.SetFileName(file)
  reader.ReadImageInformation()
  found = reader.GetMetaData('0008|103e').strip() if reader.HasMetaDataKey('0008|103e') else ''
  return found or 'no description'


def _numbers(reader, i: int, tag: str, name: str, file: str) -> np.ndarray:
  text = reader.GetMetaData(i, tag) if reader.HasMetaDataKey(i, tag) else ''
  try:
    numbers = np.array([float(part) for part in text.split('\\')])
  except ValueError:
    raise DataError(f'{pathlib.Path(file).name}: {name}={text.strip()!r} ({tag}); allowed are numbers'
                    ) from None
  if name == 'PixelSpacing' and not np.all(numbers > 0):
    raise DataError(f'{pathlib.Path(file).name}: no spacing: {name}={text.strip()!r}')
  return numbers


def _dicom_steps(headers: list[dict[str, np.ndarray]], files) -> np.ndarray:
  """[3, 3] steps from each slice's own header; slices may be sheared (a tilted gantry)."""
  first = headers[0]
  for name in ('PixelSpacing', 'ImageOrientationPatient'):
    for header, file in zip(headers, files, strict=True):
      if not np.allclose(header[name], first[name], atol=1e-3):
        raise DataError(f'{pathlib.Path(file).name}: {name}={header[name].tolist()}, but '
                        f'{first[name].tolist()} in {pathlib.Path(files[0]).name}; allowed is one value')
  between = np.diff([header['ImagePositionPatient'] for header in headers], axis=0)
  usual = np.median(between, axis=0)
  if not np.any(usual):
    raise DataError(f'no spacing: all slices lie at {first["ImagePositionPatient"].tolist()}')
  off = np.linalg.norm(between - usual, axis=1)
  if off.max() > _UNEVEN * np.linalg.norm(usual):
    i = int(off.argmax())
    raise DataError(f'slices are missing, double or uneven: {np.linalg.norm(between[i]):.3f} mm from '
                    f'{pathlib.Path(files[i]).name} to {pathlib.Path(files[i + 1]).name}, usually '
                    f'{np.linalg.norm(usual):.3f} mm')
  rows_mm, columns_mm = first['PixelSpacing']
  along = first['ImageOrientationPatient']
  return np.column_stack([along[:3] * columns_mm, along[3:] * rows_mm, between.mean(axis=0)])


def _simpleitk():
  try:
    import SimpleITK
  except ImportError:
    raise DataError(f'NIfTI, NRRD and DICOM need SimpleITK: {dicom.INSTALL}') from None
  return SimpleITK


@contextlib.contextmanager
def _itk_errors(sitk):
  """Exceptions of ITK become `DataError`; its warnings to stderr are off meanwhile.

  Its DICOM code leaves the process in the C locale, in which Python reads text as
  ASCII: the locale is put back.
  """
  before = locale.setlocale(locale.LC_ALL)
  shown = sitk.ProcessObject.GetGlobalWarningDisplay()
  sitk.ProcessObject.SetGlobalWarningDisplay(False)
  try:
    yield
  except RuntimeError as error:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raise DataError(f'SimpleITK cannot read it: {lines[-1]}') from None
  finally:
    sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    locale.setlocale(locale.LC_ALL, before)
