"""The tf.data chain, and nothing else: example files to batches.

  files -> parse -> preprocess.encode -> cache -> shuffle -> batch -> augment -> crops -> prefetch
"""

from collections.abc import Sequence

import tensorflow as tf

from ceph_tf import seeds
from ceph_tf.config import AugmentConfig, CropConfig, InputConfig
from ceph_tf.data import augment, crops, examples, preprocess, records


def encoded(paths: Sequence[str], cfg: InputConfig, truth: str) -> tf.data.Dataset:
  """Every example once, in order.

  Args:
    paths: TFRecord files of one split, in order.
    cfg: the network image.
    truth: `senior`, `junior`, `mean` or `truth`.

  Returns:
    A dataset of dicts: image float32 [H, W, 1]; points_px float32 [L, 2] in
    network pixels, NaN if missing; frame `geometry.Frame`; spacing_mm float32;
    image_id string.
  """

  def to_network(serialized):
    example = examples.parse(serialized)
    image, frame = preprocess.encode(example['image_bytes'], cfg)
    points = frame.to_network(records.truth_points(example['points_px'], truth))
    return {'image': image, 'points_px': points, 'frame': frame,
            'spacing_mm': example['spacing_mm'], 'image_id': example['image_id']}

  # Examples were dealt to the shards in turn; reading in turn restores their order.
  files = tf.data.Dataset.from_tensor_slices(list(paths)).interleave(
      tf.data.TFRecordDataset, cycle_length=len(paths), block_length=1)
  return files.map(to_network, num_parallel_calls=tf.data.AUTOTUNE)


def validation(dataset: tf.data.Dataset, crop: CropConfig) -> tf.data.Dataset:
  """What a network that sees all of an image, or crops of it, is validated on; unbatched.

  Args:
    dataset: `encoded(...)`.
    crop: what the network sees.

  Returns:
    The dataset itself, or one of its crops: image, landmark int32 [1], points_px [1, 2], frame,
    spacing_mm. Crops are the same in each epoch and each training.
  """
  if not crop.size_px:
    return dataset
  seed = seeds.tensor(0, 'validation crops')
  return dataset.enumerate().map(
      lambda number, example: crops.of_example(example, seeds.fold_in(seed, number), crop)).unbatch()


def training(dataset: tf.data.Dataset, num_examples: int, cfg: AugmentConfig, crop: CropConfig,
             batch_size: int, seed: int, first_step: int) -> tf.data.Dataset:
  """Endless augmented batches, the same for the same seed.

  Args:
    dataset: `encoded(...)`, already cached by the caller where it is read twice.
    num_examples: its length; the shuffle is over all of it.
    cfg: strength of the augmentation.
    crop: what of the augmented images the network sees.
    batch_size: examples per step; a batch may span two epochs.
    seed: of order and augmentation.
    first_step: number of steps to leave out. The batches that follow are those an
      uninterrupted run would have seen, which is what makes a resumed run exact.

  Returns:
    A dataset of (step int64, batch), a batch being a dict: image [B, H, W, 1], points_px [B, L, 2], and
    of crops, of which there are more than images, `landmark` (see `crops.of_batch`).
  """
  augment_seed, crop_seed = seeds.tensor(seed, 'augment'), seeds.tensor(seed, 'crops')

  def deform(step, batch):
    images, points = augment.apply(
        batch['image'], batch['points_px'], seeds.fold_in(augment_seed, step), cfg)
    if crop.size_px:
      return step, crops.of_batch(images, points, seeds.fold_in(crop_seed, step), crop)
    return step, {'image': images, 'points_px': points}

  order = seeds.derive(seed, 'order')
  steps = dataset.shuffle(num_examples, seed=order).repeat().batch(batch_size, drop_remainder=True)
  steps = steps.enumerate().skip(first_step)
  return steps.map(deform, num_parallel_calls=2, deterministic=True).prefetch(2)
