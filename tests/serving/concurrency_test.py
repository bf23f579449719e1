"""More calls at once than TensorFlow has threads: no call may hold a thread that another waits for."""

import subprocess
import sys

import numpy as np

_ASK = """
import sys, threading
import numpy as np
import tensorflow as tf
tf.config.threading.set_inter_op_parallelism_threads(1)
tf.config.threading.set_intra_op_parallelism_threads(1)
serve = tf.saved_model.load(sys.argv[1]).signatures['serving_default']
with np.load(sys.argv[2], allow_pickle=False) as arrays:
  files = tf.constant([arrays[name].tobytes() for name in sorted(arrays)])
found = [[] for _ in range(4)]
def ask(answers):
  for _ in range(5):
    answer = serve(image_bytes=files, spacing_mm=tf.fill(tf.shape(files), 0.1))
    answers.append((answer['status'].numpy().tolist(), answer['points_px'].numpy()))
threads = [threading.Thread(target=ask, args=(answers,), daemon=True) for answers in found]
for thread in threads:
  thread.start()
for thread in threads:
  thread.join()
first = found[0][0]
assert first[0] == [b'ok', b'damaged', b'ok', b'not_an_image', b'ok', b'ok'], first[0]
for answers in found:
  assert len(answers) == 5
  for status, points in answers:
    assert status == first[0]
    np.testing.assert_allclose(points, first[1], atol=1e-3)
"""


def test_four_calls_at_once_end_on_one_thread(predictor, pictures, tmp_path):
  predictor('baseline').export(tmp_path / 'model')
  png, jpeg, bmp, deep = pictures
  files = [png, png[:200], jpeg, b'no image', bmp, deep]
  np.savez(tmp_path / 'files.npz', **{str(k): np.frombuffer(data, np.uint8) for k, data in enumerate(files)})
  subprocess.run([sys.executable, '-c', _ASK, tmp_path / 'model', tmp_path / 'files.npz'], check=True,
                 timeout=240)
