"""A small volume, and the same as an image of SimpleITK."""

import numpy as np
import pytest

from ceph_tf.data import volumes


@pytest.fixture
def sitk():
  return pytest.importorskip('SimpleITK', reason='needs the extra `medical`')


@pytest.fixture
def head() -> volumes.Volume:
  """Every voxel has another value, and every axis another length."""
  voxels = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6) - 1000
  return volumes.Volume(voxels, spacing_mm=(1.0, 2.0, 3.0), origin_mm=(-5.0, 7.0, 11.0))


@pytest.fixture
def image(sitk, head):
  image = sitk.GetImageFromArray(head.voxels.astype(np.int16))
  image.SetSpacing(head.spacing_mm)
  image.SetOrigin(head.origin_mm)
  return image
