"""Inference in parts: what is done stays done."""

import numpy as np
import pytest

from pipelines import inference

BATCHES = [list(range(k, min(k + 3, 100))) for k in range(0, 100, 3)]  # 34 batches, so three parts


def square(batch):
  return {'square': np.array(batch)**2, 'name': np.array([f'film {k}' for k in batch])}


def test_answers_come_in_order_and_nothing_else_is_left(tmp_path):
  found = inference.in_parts(tmp_path, iter(BATCHES), square, 100, 'test')
  assert found['square'].tolist() == [k**2 for k in range(100)]
  assert found['name'][[0, 99]].tolist() == ['film 0', 'film 99']
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('error', [KeyboardInterrupt, MemoryError])
def test_a_second_call_computes_only_what_the_first_had_not_finished(tmp_path, error):
  seen = []

  def dies(batch):
    seen.append(batch[0])
    if batch[0] >= 75:
      raise error
    return square(batch)

  with pytest.raises(error):
    inference.in_parts(tmp_path, iter(BATCHES), dies, 100, 'test')
  again = []
  found = inference.in_parts(tmp_path, iter(BATCHES), lambda b: again.append(b[0]) or square(b), 100, 'test')
  assert found['square'].tolist() == [k**2 for k in range(100)]
  assert again[0] == 48 and seen[-1] == 75  # the part in which it died, from its beginning


def test_a_part_that_was_half_written_counts_as_not_written(tmp_path):
  (tmp_path / 'parts').mkdir()
  (tmp_path / 'parts' / '000000.unfinished.npz').write_bytes(b'half')
  found = inference.in_parts(tmp_path, iter(BATCHES), square, 100, 'test')
  assert len(found['square']) == 100


def test_no_batch_gives_no_array(tmp_path):
  assert inference.in_parts(tmp_path, iter([]), square, 0, 'test') == {}
