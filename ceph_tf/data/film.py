"""From line integrals of attenuation to the picture on a film."""

import cv2
import numpy as np


def expose(
  line_integrals: np.ndarray,
  rng: np.random.Generator,
  blur_px: float = 0.6,
  noise: float = 1.0,
  variation: float = 1.0,
) -> np.ndarray:
  """Exposes and develops a film: bone white, air black.

  Photons follow Beer and Lambert with scattered light on top, counts are Poisson (as a
  Gaussian), the film's curve is logistic in log exposure (Hurter and Driffield).

  Args:
    line_integrals: [h, w].
    rng: draws noise and the exposure's variation.
    blur_px: standard deviation of the blur of focal spot and screen.
    noise: factor on the noise, 0 for none.
    variation: factor on the spread of exposure and contrast, 0 for none.

  Returns:
    [h, w] uint8.
  """
  draw = rng.normal(size=4).clip(-2, 2) * variation
  photons = np.exp(-np.maximum(line_integrals, 0).astype(np.float32))
  if blur_px > 0:
    photons = cv2.GaussianBlur(photons, (0, 0), blur_px)
  photons = photons + _scatter(photons)
  counts = 5000 * np.exp(0.3 * draw[3])
  grain = rng.standard_normal(photons.shape, np.float32) * np.float32(noise / np.sqrt(counts))
  exposure = np.log(np.maximum(photons + grain * np.sqrt(photons), 1e-4))
  middle, slope = 1.5 + 0.2 * draw[0], 1.0 * np.exp(0.12 * draw[1])
  dark = 1 / (1 + np.exp(np.float32(slope) * (exposure + np.float32(middle))))
  clear = 1 / (1 + np.exp(slope * middle))
  low, high = 14 + 6 * draw[2], 252
  return np.clip(np.round(low + (high - low) * (dark - clear) / (1 - clear)), 0, 255).astype(
    np.uint8
  )


def _scatter(photons: np.ndarray) -> np.ndarray:
  """Scattered photons: 2 % of the direct ones, spread over a twentieth of the film."""
  small = cv2.resize(photons, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA)
  small = cv2.GaussianBlur(small, (0, 0), small.shape[0] / 20, borderType=cv2.BORDER_REPLICATE)
  return 0.004 + 0.02 * cv2.resize(small, photons.shape[::-1], interpolation=cv2.INTER_LINEAR)


def png(image: np.ndarray) -> bytes:
  """Encodes a [h, w] uint8 image losslessly.

  Raises:
    ValueError: if it is not one.
  """
  if image.dtype != np.uint8 or image.ndim != 2:
    raise ValueError(f'image {image.dtype}{list(image.shape)}: allowed is uint8 [h, w]')
  done, encoded = cv2.imencode('.png', image)
  if not done:
    raise ValueError(f'image {list(image.shape)} cannot be encoded as PNG')
  return encoded.tobytes()
