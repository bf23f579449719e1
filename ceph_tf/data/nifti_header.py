"""What must be asked of a NIfTI file before ITK reads it.

ITK's reader takes a spacing of 0 for 1 mm and a voxel that is no number for 0, fills the missing
end of a truncated file with zeros, and takes any array without directions for LPS, silently. The
offsets are those of nifti1.h and nifti2.h.
"""

import gzip
import pathlib
import struct
import zlib

import numpy as np

from ceph_tf.data.records import DataError

# header size -> dim, its type, bitpix, pixdim, its type, vox_offset, its type, qform and sform
# codes, their type, srow
_LAYOUT = {
    348: (40, 'h', 72, 76, 'f', 108, 'f', 252, 'h', 280),
    540: (16, 'q', 14, 104, 'd', 168, 'q', 344, 'i', 400),
}
_FLOATS = {16: 'f4', 64: 'f8'}  # datatype codes, which stand before bitpix
_ORDERS = (('<', 'little'), ('>', 'big'))


def check(path: pathlib.Path) -> str:
  """Returns why its directions are in doubt, '' if they are not.

  Raises:
    DataError: no NIfTI, not three-dimensional, without spacing, truncated, or with voxels that are
      not finite.
  """
  content = _content(path)
  order, header = next(((o, int.from_bytes(content[:4], name)) for o, name in _ORDERS
                        if int.from_bytes(content[:4], name) in _LAYOUT), ('', 0))
  if not order or len(content) < header:
    raise DataError('is no NIfTI file, or ends within its header')
  (dim_at, dim_type, bits_at, pixdim_at, real, offset_at, offset_type, code_at, code_type,
   srow_at) = _LAYOUT[header]
  dim = struct.unpack_from(f'{order}8{dim_type}', content, dim_at)
  size = dim[1:dim[0] + 1]
  if not 3 <= dim[0] <= 7 or np.any(np.array(size[3:]) != 1) or min(size) < 1:
    raise DataError(f'an array of {dim[0]} dimensions, {" x ".join(map(str, size))}; '
                    'allowed is one volume of three')
  spacing = struct.unpack_from(f'{order}8{real}', content, pixdim_at)[1:4]
  if not np.all(np.isfinite(spacing)) or not np.all(np.array(spacing) > 0):
    raise DataError(f'no spacing: pixdim={tuple(spacing)}; allowed are lengths above 0')
  kind, bits = struct.unpack_from(f'{order}2h', content, bits_at - 2)
  begin = int(struct.unpack_from(f'{order}{offset_type}', content, offset_at)[0])
  needed = begin + int(np.prod(size, dtype=object)) * bits // 8
  if len(content) < needed:
    raise DataError(f'is truncated: {len(content)} of {needed} bytes')
  if kind in _FLOATS:
    voxels = np.frombuffer(content[begin:needed], order + _FLOATS[kind])
    strange = voxels.size - np.count_nonzero(np.isfinite(voxels))
    if strange:
      raise DataError(f'{strange} of {voxels.size} voxels are NaN or infinite; allowed are finite numbers')
  qform, sform = struct.unpack_from(f'{order}2{code_type}', content, code_at)
  if qform <= 0 and sform <= 0:
    return 'the header knows no directions (qform_code and sform_code are 0)'
  if sform > 0:
    srow = np.reshape(struct.unpack_from(f'{order}12{real}', content, srow_at), (3, 4))[:, :3]
    if not np.allclose(np.linalg.norm(srow, axis=0), spacing, rtol=0.01):
      raise DataError(f'two spacings in one header: pixdim {tuple(spacing)}, sform '
                      f'{tuple(np.linalg.norm(srow, axis=0).tolist())}')
  return ''


def _content(path: pathlib.Path) -> bytes:
  data = path.read_bytes()
  if data[:2] != b'\x1f\x8b':
    return data
  try:
    return gzip.decompress(data)
  except (EOFError, OSError, zlib.error) as error:
    raise DataError(f'is truncated or damaged: {error}') from None
