"""Film: bright where rays are weakened, a function of its generator."""

import numpy as np
import pytest

from ceph_tf.data import film


def test_film_is_bright_where_rays_are_weakened():
  ramp = np.broadcast_to(np.linspace(0, 6, 64, dtype=np.float32), (48, 64))
  clean = film.expose(ramp, np.random.default_rng(0), noise=0, variation=0)
  assert (np.diff(clean.astype(int), axis=1) >= 0).all() and clean[0, 0] < 40 and clean[0, -1] > 230
  noisy = [film.expose(ramp, np.random.default_rng(seed)) for seed in (1, 1, 2)]
  np.testing.assert_array_equal(noisy[0], noisy[1])
  assert (noisy[0] != noisy[2]).any()
  with pytest.raises(ValueError, match='uint8'):
    film.png(ramp)


def test_noise_scales_with_its_factor():
  flat = np.full((64, 64), 2.0, np.float32)
  films = [film.expose(flat, np.random.default_rng(0), noise=n, variation=0) for n in (0, 2, 6)]
  spread = [picture.std() for picture in films]
  assert spread[0] == 0 and spread[1] > 0.5 and spread[2] == pytest.approx(3 * spread[1], rel=0.2)
