"""example_gen, called as a runner calls it."""

import pytest

from ceph_tf.config import DataConfig
from ceph_tf.data import examples as example_files
from ceph_tf.data.records import DataError
from pipelines.artifacts import Examples
from pipelines.components.example_gen import example_gen

CFG = DataConfig(validation_images=1, calibration_images=1, phantom_images=4,
                 phantom_test_images=2, phantom_size_px=64)


def test_writes_what_the_artifact_promises(tmp_path):
  output = Examples(tmp_path)
  example_gen.function(output, cfg=CFG, seed=0)
  assert output.missing_files() == []
  assert output.splits() == ['calibration', 'test', 'train', 'validation']
  schema = example_files.read_schema(tmp_path)
  assert schema['dataset'] == 'phantom' and schema['counts'] == {
      'train': 2, 'validation': 1, 'calibration': 1, 'test': 2}
  assert len(list(example_files.read_records(output.shards('train')))) == 2


def test_the_files_read_are_part_of_the_key(tmp_path):
  assert example_gen.external(cfg=CFG, seed=0) == example_gen.external(cfg=CFG, seed=1)
  cfg = DataConfig(dataset='csv', data_dir=str(tmp_path))
  before = example_gen.external(cfg=cfg, seed=0)
  (tmp_path / 'new.png').write_bytes(b'x')
  assert example_gen.external(cfg=cfg, seed=0) != before


def test_unusable_data_is_a_data_error(tmp_path):
  cfg = DataConfig(dataset='isbi2015', data_dir=str(tmp_path / 'nowhere'))
  for call in (lambda: example_gen.external(cfg=cfg, seed=0),
               lambda: example_gen.function(Examples(tmp_path), cfg=cfg, seed=0)):
    with pytest.raises(DataError, match='nowhere'):
      call()
