"""The default precision, by what Linux says of the processor."""

import pytest

from ceph_tf.config import PRECISIONS
from pipelines import pipeline
from pipelines.experiments import hardware, resolve


@pytest.mark.parametrize('cpuinfo,expected', [
    ('processor\t: 0\nflags\t\t: fpu sse2 avx2 avx512f amx_bf16 amx_tile\n', 'mixed_bfloat16'),
    ('flags\t\t: fpu avx512f avx512_bf16\n', 'mixed_bfloat16'),
    ('processor\t: 0\nFeatures\t: fp asimd i8mm bf16 dgh\n', 'mixed_bfloat16'),
    ('flags\t\t: fpu sse2 avx2\n', 'float32'),
    ('flags\t\t: fpu avx512f avx512_bf16_of_another_name\n', 'float32'),
    ('model name\t: bf16\nflags\t\t: fpu\n', 'float32'),
    ('', 'float32'),
])
def test_instructions_for_bfloat16_decide(cpuinfo, expected, tmp_path):
  (tmp_path / 'cpuinfo').write_text(cpuinfo)
  assert hardware.precision(tmp_path / 'cpuinfo') == expected


def test_an_unknown_processor_computes_in_float32(tmp_path):
  assert hardware.precision(tmp_path / 'none') == 'float32'


@pytest.mark.parametrize('found', PRECISIONS)
def test_the_machine_decides_what_neither_preset_nor_command_line_does(found, monkeypatch):
  monkeypatch.setattr(hardware, 'precision', lambda: found)
  for preset, overrides, expected in [
      ('default', [], found), ('smoke', [], found), ('thesis', [], 'float32'),
      ('default', ['train.precision=float32'], 'float32')]:
    assert resolve('baseline', preset, overrides, '', '', 0).train.precision == expected


def test_every_export_of_a_run_is_in_the_precision_that_is_served():
  experiment = resolve('baseline', 'smoke', ['serving_precision=mixed_bfloat16'], '', '', 0)
  nodes = {node.name: node.params for node in pipeline.build(experiment, 'pushed')}
  asked = {name: params['precision'] for name, params in nodes.items() if 'precision' in params}
  assert asked == {'exporter': 'mixed_bfloat16', 'calibrated_exporter': 'mixed_bfloat16'}
