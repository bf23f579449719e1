"""Runs a SavedModel as a stranger would: a fresh process, the graph's own restore ops.

`python -m ceph_tf.serving.outside SAVED_MODEL IMAGES.npz ANSWERS.npz` loads with the
TF 1 loader, which like TF Serving knows nothing of the Python classes that wrote
the model: a SavedModel can load in Python and yet miss its variables there.
"""

import sys

import numpy as np
import tensorflow as tf


def run(saved_model: str, image_bytes: list[bytes]) -> dict[str, np.ndarray]:
  """The answers of `serving_default` for image files of unknown spacing, by output name."""
  v1 = tf.compat.v1
  with v1.Session(graph=tf.Graph()) as session:
    meta_graph = v1.saved_model.load(session, [tf.saved_model.SERVING], saved_model)
    signature = meta_graph.signature_def[tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY]
    fetches = {name: info.name for name, info in signature.outputs.items()}
    return session.run(fetches, {
        signature.inputs['image_bytes'].name: image_bytes,
        signature.inputs['spacing_mm'].name: [np.nan] * len(image_bytes)})


def read_images(path: str) -> list[bytes]:
  """The image files in an npz file, in the order of their names."""
  with np.load(path, allow_pickle=False) as arrays:
    return [arrays[name].tobytes() for name in sorted(arrays)]


def main(saved_model: str, images: str, answers: str) -> None:
  found = run(saved_model, read_images(images))
  with open(answers, 'wb') as file:  # by its path alone, `savez` would add a suffix
    np.savez(file, **{**found, 'status': found['status'].astype('S')})  # bytes objects would be pickled


if __name__ == '__main__':
  main(*sys.argv[1:])
