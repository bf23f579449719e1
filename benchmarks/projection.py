"""Seconds for the projections of a turning head, against `scipy.ndimage.rotate` and a sum.

  python -m benchmarks.projection

`scipy, linear` and `scipy, cubic` turn the volume with orders 1 (the cheapest that interpolates)
and 3 (the default). All take the same volume, on one thread, in turns. With the phantom, every method is
compared with the exact projection on the pixels that it yields: sum |p - exact| / sum |exact| and
|p - exact| / |exact| (Euclidean norms), averages of all angles.
"""

import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import scipy.ndimage
from absl import app, flags

from ceph_tf import seeds
from ceph_tf.data import lateral, phantom_anatomy, projection, volumes

VOXEL_MM = flags.DEFINE_float('voxel_mm', 2.0, "Spacing of the phantom's voxels.", lower_bound=0.5)
CT = flags.DEFINE_string('ct', '', 'A CT in Hounsfield units instead of the phantom.')
ANGLES = flags.DEFINE_integer('angles', 91, 'Projections, from -45 to 45 degrees.', lower_bound=2)
ROUNDS = flags.DEFINE_integer('rounds', 3, 'Rounds; each measures every method once.', lower_bound=1)

Method = Callable[[volumes.Volume, np.ndarray], Iterator[np.ndarray]]


def ours(volume: volumes.Volume, angles_deg: np.ndarray) -> Iterator[np.ndarray]:
  return projection.projections(volume, angles_deg, projection.whole_plane(volume))


def by_scipy(order: int) -> Method:
  """Turns the whole volume, and looks at it from the left: the image faces right."""
  def method(volume, angles_deg):
    for angle in angles_deg:
      turned = scipy.ndimage.rotate(volume.voxels, -angle, axes=(1, 2), order=order)
      yield turned.sum(axis=2)[::-1, ::-1] * volume.spacing_mm[0]
  return method


METHODS: dict[str, Method] = {'ceph_tf': ours, 'scipy, linear': by_scipy(1), 'scipy, cubic': by_scipy(3)}


def plane_of(image: np.ndarray, volume: volumes.Volume) -> projection.Plane:
  """Where the pixels of any method lie: as fine as voxels, about the middle of the volume."""
  whole = projection.whole_plane(volume)
  left_mm = -whole.axis_mm[1] - (image.shape[1] - 1) / 2 * whole.spacing_mm
  return projection.Plane(whole.spacing_mm, image.shape, left_mm, whole.top_mm, whole.axis_mm)


def errors(anatomy, volume: volumes.Volume, method: Method, angles_deg: np.ndarray) -> np.ndarray:
  """[2] relative errors, absolute and Euclidean, averages of the angles."""
  found = []
  for angle, image in zip(angles_deg, method(volume, angles_deg), strict=True):
    exact, _ = lateral.phantom_view(anatomy, angle, plane_of(image, volume))
    found.append([np.abs(image - exact).sum() / np.abs(exact).sum(),
                  np.linalg.norm(image - exact) / np.linalg.norm(exact)])
  return np.mean(found, axis=0)


def seconds(method: Method, volume: volumes.Volume, angles_deg: np.ndarray) -> float:
  start = time.perf_counter()
  for _ in method(volume, angles_deg):
    pass
  return time.perf_counter() - start


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments {argv[1:]}')
  angles_deg = np.linspace(-45, 45, ANGLES.value)
  if CT.value:
    anatomy, volume = None, projection.attenuation(volumes.read(CT.value))
  else:
    anatomy = phantom_anatomy.subject(seeds.rng(0, 'benchmark'))
    volume = lateral.phantom_volume(anatomy, VOXEL_MM.value)
  rounds = [{name: seconds(method, volume, angles_deg) for name, method in METHODS.items()}
            for _ in range(ROUNDS.value)]
  print(f'{ANGLES.value} projections of {CT.value or "the phantom"}, '
        f'{" x ".join(map(str, volume.voxels.shape))} voxels; median (lowest..highest) of '
        f'{ROUNDS.value} rounds')
  for name, method in METHODS.items():
    times = [times[name] for times in rounds]
    ratios = [times[name] / times['ceph_tf'] for times in rounds]
    line = (f'  {name:14s} {statistics.median(times):8.3f} s ({min(times):.3f}..{max(times):.3f})'
            f'   ceph_tf is {statistics.median(ratios):6.1f}x ({min(ratios):.1f}..{max(ratios):.1f})')
    if anatomy is not None:
      absolute, euclidean = errors(anatomy, volume, method, angles_deg)
      line += f'   error {100 * absolute:.2f} % absolute, {100 * euclidean:.2f} % Euclidean'
    print(line)


if __name__ == '__main__':
  app.run(main)
