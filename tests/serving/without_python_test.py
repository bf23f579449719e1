"""The SavedModel where no Python is: a C program on TensorFlow's C API, as TF Serving uses it."""

import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

HERE = pathlib.Path(__file__).parent
WHEEL = pathlib.Path(tf.__file__).parent


@pytest.fixture(scope='session')
def serve(tmp_path_factory):
  compiler = shutil.which('cc')
  if not compiler:
    pytest.skip('no C compiler (cc) to compile tests/serving/serve.c with')
  program = tmp_path_factory.mktemp('c') / 'serve'
  libraries = [WHEEL / 'libtensorflow_cc.so.2', WHEEL / 'libtensorflow_framework.so.2', f'-Wl,-rpath,{WHEEL}']
  subprocess.run([compiler, '-O1', '-Wall', '-Werror', HERE / 'serve.c', '-o', program, f'-I{WHEEL}/include',
                  *libraries], check=True)
  return program


def signature(folder):
  graph = saved_model_pb2.SavedModel.FromString((folder / 'saved_model.pb').read_bytes()).meta_graphs[0]
  found = graph.signature_def['serving_default']
  return ({name: info.name for name, info in found.inputs.items()},
          {name: info.name for name, info in found.outputs.items()})


def ask_in_c(program, folder, files, spacing_mm, names):
  inputs, outputs = signature(folder)
  done = subprocess.run(
      [program, folder, str(spacing_mm), inputs['image_bytes'], inputs['spacing_mm'],
       *[outputs[name] for name in names], '--', *files],
      capture_output=True, encoding='utf-8', check=False)
  assert done.returncode == 0, done.stderr
  found = {}
  for name, line in zip(names, done.stdout.splitlines(), strict=True):
    _, rank, *rest = line.split()
    shape, values = [int(n) for n in rest[:int(rank)]], rest[int(rank):]
    found[name] = np.array(values if name == 'status' else [float(v) for v in values]).reshape(shape)
  return found


def write_pictures(folder, pictures):
  paths = []
  for number, data in enumerate(pictures):
    paths.append(folder / str(number))
    paths[-1].write_bytes(data)
  return paths


@pytest.mark.parametrize('spacing_mm', [0.1, np.nan])
def test_a_c_program_gets_the_answers_that_python_gets(serve, exported, pictures, tmp_path, spacing_mm):
  files = [*pictures, b'no image', pictures[0][:-40]]
  _, outputs = signature(exported.path)
  names = sorted(outputs)
  in_c = ask_in_c(serve, exported.path, write_pictures(tmp_path, files), spacing_mm, names)
  here = tf.saved_model.load(str(exported.path)).signatures['serving_default'](
      image_bytes=tf.constant(files), spacing_mm=tf.fill([len(files)], spacing_mm))
  assert in_c['status'].tolist() == [*['ok'] * len(pictures), 'not_an_image', 'damaged']
  assert in_c['status'].tolist() == [status.decode() for status in here['status'].numpy()]
  assert 'region_radius_mm' in names and 'refer' in names
  assert np.isnan(in_c['points_mm'][:len(pictures)]).all() == np.isnan(spacing_mm)
  for name in set(names) - {'status'}:
    expected = here[name].numpy().astype(float)
    np.testing.assert_allclose(in_c[name], expected, rtol=1e-3, atol=2e-2, err_msg=name)
