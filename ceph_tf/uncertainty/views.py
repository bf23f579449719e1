"""Test-time augmentation: one network looks at the same X-ray turned, scaled and shifted a little.

Wang et al., Neurocomputing 2019; Ayhan & Berens, MIDL 2018. A network behind a fixed view is another
network, whose answers are brought back from the view to the network image: so views are samples like
any others, for the memory of one network and no further training.

A view is a matrix [3, 3] that takes homogeneous points (x, y, 1) of the view to those of the
network image.
"""

import numpy as np
import tensorflow as tf

from ceph_tf.config import InputConfig, SamplerConfig
from ceph_tf.models import heatmaps
from ceph_tf.uncertainty.temperature import TINY


def matrices(sampler: SamplerConfig, input_cfg: InputConfig) -> np.ndarray:
  """The views [S, 3, 3] of a sampler; the first changes nothing.

  The others lie evenly on a circle, so that of four views or more the mean changes nothing either: where
  one turns left another turns right.
  """
  around = 2 * np.pi * np.arange(sampler.num_samples - 1) / max(sampler.num_samples - 1, 1)
  middle = (np.array([input_cfg.width, input_cfg.height]) - 1) / 2
  found = [np.eye(3)]
  for angle in around:
    turn = np.deg2rad(sampler.view_rotate_deg * np.cos(angle))
    scale = 1 + sampler.view_scale * np.sin(angle)
    shift = sampler.view_shift * input_cfg.height * np.array([np.cos(2 * angle), np.sin(2 * angle)])
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    found.append(np.block([[linear, (middle - linear @ middle + shift)[:, None]], [np.eye(3)[2]]]))
  return np.stack(found).astype(np.float32)


def of_heatmaps(views: np.ndarray, stride: int) -> np.ndarray:
  """The same views [S, 3, 3] in pixels of heatmaps of `stride` network pixels."""
  half = (1 / stride - 1) / 2  # pixel centres, see `geometry.network_to_heatmap`
  to_heatmap = np.array([[1 / stride, 0, half], [0, 1 / stride, half], [0, 0, 1]])
  return (to_heatmap @ views @ np.linalg.inv(to_heatmap)).astype(np.float32)


def seen(images: tf.Tensor, view: tf.Tensor, beyond: str = 'NEAREST') -> tf.Tensor:
  """Images [B, h, w, C] in a view [3, 3]; `beyond` their border is the nearest pixel, or `CONSTANT` 0."""
  return tf.raw_ops.ImageProjectiveTransformV3(
      images=images, transforms=tf.reshape(view, [1, 9])[:, :8], output_shape=list(images.shape[1:3]),
      fill_value=0.0, interpolation='BILINEAR', fill_mode=beyond)


def back(decoded: heatmaps.Decoded, view: tf.Tensor) -> heatmaps.Decoded:
  """What was decoded from heatmaps of a view [3, 3], in heatmaps of the network image.

  Points are moved as numbers, not read again from a heatmap that was interpolated: that would cost
  accuracy. Of a density the logarithm is interpolated: a parabola where the density is a Gaussian, so that
  a peak stays as sharp as it was, when it lies between pixels, too. Density that leaves the heatmap is
  lost, and the rest is normalised again; where nothing is left it is uniform.
  """
  linear = view[:2, :2]
  area = tf.abs(tf.linalg.det(linear))  # of a view's pixel
  # Above the least there is, so that 0, which is what lies beyond a view, means nothing.
  logits = tf.math.log(tf.maximum(decoded.density, TINY) / TINY)
  return heatmaps.Decoded(
      points_px=tf.einsum('ij,blj->bli', linear, decoded.points_px) + view[:2, 2],
      peak=decoded.peak / area,
      covariance_px2=tf.einsum('ij,bljk,mk->blim', linear, decoded.covariance_px2, linear),
      entropy_nats=decoded.entropy_nats + tf.math.log(area),
      density=heatmaps.to_density(seen(logits, tf.linalg.inv(view), 'CONSTANT'), 'cross_entropy'))
