import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ceph_tf.config import InputConfig
from ceph_tf.data import preprocess


def _smooth(height, width):
  """A smooth gray picture, uint8 [h, w]."""
  y, x = np.mgrid[:height, :width]
  return np.uint8(127 + 80 * np.sin(x / 9.0) * np.cos(y / 13.0))


def _file(image, kind, **options):
  out = io.BytesIO()
  Image.fromarray(image).save(out, kind, **options)
  return tf.constant(out.getvalue())


def _colour(gray, alpha=False):
  parts = [gray, gray, gray] + ([np.full_like(gray, 200)] if alpha else [])
  return np.stack(parts, -1)


_GRAY = _smooth(90, 70)
_FILES = {
    'png': _file(_GRAY, 'PNG'),
    'bmp': _file(_GRAY, 'BMP'),
    'jpeg': _file(_GRAY, 'JPEG', quality=98),
    'jpeg_rgb': _file(_colour(_GRAY), 'JPEG', quality=98),
    'png_rgb': _file(_colour(_GRAY), 'PNG'),
    'bmp_rgb': _file(_colour(_GRAY), 'BMP'),
    'png_rgba': _file(_colour(_GRAY, alpha=True), 'PNG'),
    'png_gray_alpha': tf.io.encode_png(np.stack([_GRAY, np.full_like(_GRAY, 3)], -1)),
    'png16': tf.io.encode_png(tf.constant(_GRAY[..., None].astype(np.uint16) * 257)),
    'png16_rgb': tf.io.encode_png(tf.constant(_colour(_GRAY).astype(np.uint16) * 257)),
}


@pytest.mark.parametrize('kind', sorted(_FILES))
def test_every_format_gives_the_same_gray_values(kind):
  gray = preprocess.decode_gray(_FILES[kind]).numpy()
  assert gray.shape == (90, 70, 1) and gray.dtype == np.float32
  np.testing.assert_allclose(gray[..., 0], _GRAY / 255.0, atol=0.02 if 'jpeg' in kind else 2e-6)


@pytest.mark.parametrize('kind', sorted(_FILES))
def test_every_format_gives_the_same_network_image(kind):
  cfg = InputConfig(height=64, width=48)
  expected, _ = preprocess.encode(_FILES['png'], cfg)
  found, _ = preprocess.encode(_FILES[kind], cfg)
  np.testing.assert_allclose(found, expected, atol=0.1 if 'jpeg' in kind else 1e-4)


def test_sixteen_bits_are_not_cut_to_eight():
  ramp = np.arange(1024, dtype=np.uint16).reshape(32, 32, 1)  # 4 gray values if cut
  gray = preprocess.decode_gray(tf.io.encode_png(ramp)).numpy()
  assert len(np.unique(gray)) == 1024


def test_colours_weigh_as_in_bt601():
  rgb = np.zeros((1, 3, 3), np.uint8)
  rgb[0, [0, 1, 2], [0, 1, 2]] = 255
  np.testing.assert_allclose(preprocess.decode_gray(_file(rgb, 'PNG'))[0, :, 0], [0.299, 0.587, 0.114],
                             atol=1e-6)


@pytest.mark.parametrize('data', [b'', b'P', b'no image at all', _FILES['png'].numpy()[:200],
                                  _FILES['jpeg'].numpy()[:60], _FILES['png16'].numpy()[:80]])
def test_garbage_is_refused(data):
  with pytest.raises(tf.errors.InvalidArgumentError):
    preprocess.encode(tf.constant(data), InputConfig(height=32, width=32))


@pytest.mark.parametrize('fit', ['pad', 'stretch'])
@pytest.mark.parametrize('height, width', [(300, 241), (97, 203), (64, 48), (150, 20), (41, 29), (20, 150)])
def test_a_bright_dot_is_where_the_frame_says(height, width, fit):
  cfg = InputConfig(height=64, width=48, fit=fit)
  # As wide as a network pixel of the coarser axis, so that it survives the shrinking.
  sigma = np.maximum(1.5, [1.5 * width / 48, 1.5 * height / 64])
  y, x = np.mgrid[:height, :width]
  for share in (0.3, 0.52, 0.71):
    point = np.array([share * width, (1 - share) * height], np.float32)
    dot = np.exp(-0.5 * (((x - point[0]) / sigma[0]) ** 2 + ((y - point[1]) / sigma[1]) ** 2))
    image, frame = preprocess.to_network_image(tf.constant(dot[..., None], tf.float32), cfg)
    expected = frame.to_network(tf.constant(point[None]))[0].numpy()
    image = image[..., 0].numpy()
    weight = np.maximum(image - 0.3 * image.max(), 0)
    rows, columns = np.mgrid[:64, :48]
    found = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    assert np.abs(found - expected).max() < 0.15


@pytest.mark.parametrize('fit', ['pad', 'stretch'])
def test_a_network_image_is_standardized_and_padded_with_the_mean(fit):
  image = tf.constant(_smooth(100, 100)[..., None], tf.float32)
  network, _ = preprocess.to_network_image(image, InputConfig(height=64, width=32, fit=fit))
  network = network.numpy()
  assert network.shape == (64, 32, 1) and network.dtype == np.float32
  picture = network[16:48] if fit == 'pad' else network
  assert abs(picture.mean()) < 1e-4 and abs(picture.std() - 1) < 1e-3
  if fit == 'pad':
    assert not network[:16].any() and not network[48:].any()


def test_exposure_and_scale_do_not_matter():
  image = tf.constant(_smooth(60, 60)[..., None], tf.float32)
  cfg = InputConfig(height=32, width=32)
  first, _ = preprocess.to_network_image(image, cfg)
  other, _ = preprocess.to_network_image(5.0 * image + 300.0, cfg)
  np.testing.assert_allclose(first, other, atol=1e-3)


@pytest.mark.parametrize('value', [0, 255])
def test_a_constant_image_becomes_zeros(value):
  network, _ = preprocess.encode(_file(np.full((50, 40), value, np.uint8), 'PNG'),
                                 InputConfig(height=32, width=32))
  np.testing.assert_allclose(network, 0.0, atol=0.02)


def test_shrinking_averages_instead_of_picking_pixels():
  board = (np.indices((128, 128)).sum(0) % 2).astype(np.float32)  # picked pixels would be all alike or noise
  board[:, 64:] += 1.0
  network, _ = preprocess.to_network_image(tf.constant(board[..., None]), InputConfig(height=16, width=16))
  network = network[..., 0].numpy()
  np.testing.assert_allclose(network[:, :8], -1.0, atol=0.01)
  np.testing.assert_allclose(network[:, 8:], 1.0, atol=0.01)


def test_enlarging_interpolates_instead_of_repeating_pixels():
  ramp = np.tile(np.arange(8, dtype=np.float32), (8, 1))[..., None]
  network, _ = preprocess.to_network_image(tf.constant(ramp), InputConfig(height=64, width=64))
  assert np.all(np.diff(network[:, 4:-4, 0], axis=1) > 0.01)


def test_encode_works_inside_a_graph():
  cfg = InputConfig(height=32, width=32)
  dataset = tf.data.Dataset.from_tensors(_FILES['png16']).map(lambda data: preprocess.encode(data, cfg))
  image, frame = next(iter(dataset))
  np.testing.assert_allclose(image, preprocess.encode(_FILES['png16'], cfg)[0], atol=1e-5)
  assert image.shape == (32, 32, 1) and frame.scale.shape == (2,)
