"""What one SavedModel costs a process that does nothing else.

`python -m ceph_tf.serving.cost SAVED_MODEL IMAGES.npz COST.json` answers image files one at a time and
writes `milliseconds`, of each file, and `peak_memory_mib`, of the process from its start.
"""

import json
import pathlib
import sys
import time

import numpy as np
import tensorflow as tf

from ceph_tf.serving import outside

_WARM_UP = 2  # the first calls also choose kernels and fill caches


def measure(saved_model: str, image_bytes: list[bytes]) -> dict:
  """See the top of this file.

  Args:
    saved_model: its folder.
    image_bytes: one or more files.
  """
  serve = tf.saved_model.load(saved_model).signatures['serving_default']
  milliseconds = []
  for data in [image_bytes[0]] * _WARM_UP + image_bytes:
    start = time.perf_counter()
    answer = serve(image_bytes=tf.constant([data]), spacing_mm=tf.constant([np.nan]))
    for value in answer.values():
      value.numpy()
    milliseconds.append(1000 * (time.perf_counter() - start))
  return {'milliseconds': milliseconds[_WARM_UP:],
          'peak_memory_mib': peak_memory_mib()}


def peak_memory_mib() -> float:
  """Of this process until now; not `getrusage`, whose maximum is taken over from the one that started it."""
  return int(pathlib.Path('/proc/self/status').read_text('utf-8').split('VmHWM:')[1].split()[0]) / 1024


def main(saved_model: str, images: str, cost: str) -> None:
  found = measure(saved_model, outside.read_images(images))
  pathlib.Path(cost).write_text(json.dumps(found), 'utf-8')


if __name__ == '__main__':
  main(*sys.argv[1:])
