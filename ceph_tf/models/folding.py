"""A trained network rearranged for inference: the same heatmaps, up to rounding, in a third of the time.

- A batch normalization is one factor and one offset per channel, which the convolution before it
  can hold (Jacob et al., CVPR 2018).
- A convolution of a concatenation is the sum of two convolutions. That of the skip connection does not
  change from one dropout pass to the next, and so becomes a part of the trunk.
- Neither is done to a variational convolution: its kernel is not known before it is drawn.
- A 3x3 convolution of an image enlarged twice by repetition is a transposed 4x4 convolution of the
  small image, with 16 instead of 36 products per small pixel.
"""

import keras
import numpy as np

from ceph_tf.config import InputConfig, ModelConfig
from ceph_tf.models import unet

# Along one axis, row k of the 4x4 kernel is the sum of these rows of the 3x3 kernel.
_ENLARGING = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)


def fold(network: unet.Network, cfg: ModelConfig, input_cfg: InputConfig, num_heatmaps: int,
         precision: str) -> unet.Network:
  """The same network for inference.

  Args:
    network: built by `unet.build` from the other arguments, and trained.

  Returns:
    A new network of its own weights; `network` itself where the norm is none that folds.
  """
  if cfg.norm == 'group':
    return network
  folded = unet.build(cfg, input_cfg, num_heatmaps, precision, seed=0, fused=True)
  for layer in folded.model.layers:
    name, _, part = layer.name.partition('_conv0_')
    if part:  # of the first convolution of an up block
      kernel, bias = _folded(network.model, f'{name}_conv0')
      skipped = kernel.shape[2] - layer.input.shape[-1] if part == 'skip' else layer.input.shape[-1]
      layer.set_weights([kernel[:, :, skipped:], bias] if part == 'skip' else
                        [_enlarging(kernel[:, :, :skipped])])
    elif isinstance(layer, keras.layers.Conv2D):
      layer.set_weights(_folded(network.model, layer.name))
    elif layer.weights:  # of a variational block, of members or landmarks
      layer.set_weights(network.model.get_layer(layer.name).get_weights())
  return folded


def _enlarging(kernel: np.ndarray) -> np.ndarray:
  """A kernel [3, 3, in, out] on an enlarged image to a transposed one [4, 4, out, in] on the small one."""
  return np.einsum('kt,lu,tuio->kloi', _ENLARGING, _ENLARGING, kernel)


def _folded(model: keras.Model, name: str) -> list[np.ndarray]:
  """Kernel and bias of a convolution, and of the normalization of its number if there is one."""
  kernel, bias = model.get_layer(name).get_weights()
  norms = [layer for layer in model.layers if layer.name == name.replace('_conv', '_norm') != name]
  if not norms:  # as behind stem and heatmaps
    return [kernel, bias]
  *affine, mean, variance = norms[0].get_weights()
  gamma, beta = affine or (1.0, 0.0)  # whoever has gains and offsets of its own has them in a layer
  factor = gamma / np.sqrt(variance + norms[0].epsilon)
  return [kernel * factor, (bias - mean) * factor + beta]
