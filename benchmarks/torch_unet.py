"""The peer of `train_step`: the same U-Net in plain PyTorch, in a process of its own.

Started by `train_step` with one JSON argument; needs nothing but torch. Writes its
number of parameters, then for every line `layout steps` on stdin a line with the
seconds of each training step; `layout` is a name of `LAYOUTS`.
"""

import json
import sys
import time

import torch
from torch import nn

LAYOUTS = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}


def block(inputs: int, filters: int, convs: int) -> nn.Sequential:
  layers = []
  for i in range(convs):
    layers += [nn.Conv2d(filters if i else inputs, filters, 3, padding=1), nn.BatchNorm2d(filters),
               nn.ReLU(inplace=True)]
  return nn.Sequential(*layers)


class UNet(nn.Module):
  """As `ceph_tf.models.unet` builds it with stem_stride=1, norm=batch and no dropout."""

  def __init__(self, filters: list[int], convs: int, landmarks: int):
    super().__init__()
    self.down = nn.ModuleList(block(a, b, convs) for a, b in zip([1, *filters], filters, strict=False))
    self.up = nn.ModuleList(block(a + b, a, convs) for a, b in zip(filters, filters[1:], strict=False))
    self.pool, self.upsample = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
    self.heatmaps = nn.Conv2d(filters[0], landmarks, 1)

  def forward(self, x):
    skips = []
    for level, down in enumerate(self.down):
      x = down(self.pool(x) if level else x)
      skips.append(x)
    for up, skip in zip(reversed(self.up), reversed(skips[:-1]), strict=True):
      x = up(torch.cat([self.upsample(x), skip], 1))
    return self.heatmaps(x)


class Training:
  """A network with its optimizer, on one batch of made-up images and heatmaps."""

  def __init__(self, spec: dict, layout: torch.memory_format):
    size = (spec['height'], spec['width'])
    self.network = UNet(spec['filters'], spec['convs'], spec['landmarks']).to(memory_format=layout)
    self.optimizer = torch.optim.Adam(self.network.parameters(), spec['learning_rate'])
    self.images = torch.randn(spec['batch_size'], 1, *size).contiguous(memory_format=layout)
    self.target = torch.rand(spec['batch_size'], spec['landmarks'], *size).contiguous(memory_format=layout)

  def step(self) -> float:
    """Forward, backward, Adam; returns the seconds taken."""
    start = time.perf_counter()
    self.optimizer.zero_grad()
    loss = nn.functional.mse_loss(self.network(self.images), self.target)
    loss.backward()
    self.optimizer.step()
    loss.item()
    return time.perf_counter() - start


def main():
  spec = json.loads(sys.argv[1])
  torch.set_num_threads(spec['cores'])
  trainings = {name: Training(spec, layout) for name, layout in LAYOUTS.items()}
  parameters = sum(p.numel() for p in trainings['contiguous'].network.parameters())
  print(json.dumps({'parameters': parameters, 'version': torch.__version__}), flush=True)
  for line in sys.stdin:
    layout, steps = line.split()
    print(json.dumps([trainings[layout].step() for _ in range(int(steps))]), flush=True)


if __name__ == '__main__':
  main()
