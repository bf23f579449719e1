"""The peer of `predict`: MC dropout as the thesis did it, in plain PyTorch, in a process of its own.

Started by `predict` with one JSON argument; needs torch, scipy and OpenCV. An X-ray file is decoded
and resized, the U-Net runs `passes` times with dropout, one pass after the other; each heatmap is
filtered by a Gaussian and its maximum taken. Writes its version, then for every line `layout` on
stdin the seconds of one image; `layout` is a name of `LAYOUTS`.
"""

import json
import sys
import time

import cv2
import numpy as np
import scipy.ndimage
import torch
from torch import nn
from torch_unet import LAYOUTS, UNet


def thesis_network(spec: dict) -> UNet:
  """Dropout of whole channels behind every block, also when it predicts."""
  network = UNet(spec['filters'], spec['convs'], spec['landmarks']).eval()
  for part in [*network.down, *network.up]:
    part.register_forward_hook(
        lambda module, inputs, output: nn.functional.dropout2d(output, spec['dropout_rate'], training=True))
  return network


def network_image(path: str, size_hw: tuple[int, int]) -> torch.Tensor:
  gray = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
  small = cv2.resize(gray, size_hw[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
  return torch.from_numpy((small - small.mean()) / small.std())[None, None]


def landmarks(heatmaps: np.ndarray, sigma_px: float) -> np.ndarray:
  """Heatmaps [L, h, w] to points [L, 2]."""
  filtered = [scipy.ndimage.gaussian_filter(heatmap, sigma_px) for heatmap in heatmaps]
  return np.array([np.unravel_index(heatmap.argmax(), heatmap.shape)[::-1] for heatmap in filtered])


def predict(network: UNet, layout, spec: dict) -> tuple[np.ndarray, np.ndarray]:
  """Points [L, 2] and the mean distance [L] of the samples to them."""
  image = network_image(spec['image'], (spec['height'], spec['width'])).contiguous(memory_format=layout)
  samples = []
  for _ in range(spec['passes']):
    with torch.inference_mode():
      heatmaps = network(image)[0].numpy()
    samples.append(landmarks(heatmaps, spec['sigma_px']))
  mean = np.mean(samples, 0)
  return mean, np.linalg.norm(np.array(samples) - mean, axis=-1).mean(0)


def main():
  spec = json.loads(sys.argv[1])
  torch.set_num_threads(spec['cores'])
  networks = {name: thesis_network(spec).to(memory_format=layout) for name, layout in LAYOUTS.items()}
  parameters = sum(p.numel() for p in networks['contiguous'].parameters())
  print(json.dumps({'parameters': parameters, 'version': torch.__version__}), flush=True)
  for line in sys.stdin:
    layout = line.strip()
    start = time.perf_counter()
    predict(networks[layout], LAYOUTS[layout], spec)
    print(json.dumps(time.perf_counter() - start), flush=True)


if __name__ == '__main__':
  main()
