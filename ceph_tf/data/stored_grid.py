"""What a reader of volumes returns: the array as stored, and where its voxels lie."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class StoredGrid:
  """An array of voxels as its file stores it.

  Attributes:
    voxels: [k, j, i], i runs fastest in the file.
    steps_mm: [3, 3], columns are the way in patient coordinates (LPS) from a voxel to the
      next along i, j and k.
    origin_mm: [3] patient coordinates of the centre of voxel [0, 0, 0].
    doubt: why the directions of `steps_mm` cannot be relied upon; empty if they can.
  """

  voxels: np.ndarray
  steps_mm: np.ndarray
  origin_mm: np.ndarray
  doubt: str = ''
