"""Inference in parts: what is done stays done."""

import threading
import time

import numpy as np
import pytest

from pipelines import inference

BATCHES = [list(range(k, min(k + 3, 100))) for k in range(0, 100, 3)]  # 34 batches, so three parts


def square(batch):
  return {'square': np.array(batch)**2, 'name': np.array([f'film {k}' for k in batch])}


def test_answers_come_in_order_and_nothing_else_is_left(tmp_path):
  found, _ = inference.in_parts(tmp_path, iter(BATCHES), square, 100, 'test')
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

  def remembers(batch):
    again.append(batch[0])
    return square(batch)

  found, _ = inference.in_parts(tmp_path, iter(BATCHES), remembers, 100, 'test')
  assert found['square'].tolist() == [k**2 for k in range(100)]
  assert min(again) == 48 and 75 in seen  # the part in which it died, from its beginning


def test_a_part_that_was_half_written_counts_as_not_written(tmp_path):
  (tmp_path / 'parts').mkdir()
  (tmp_path / 'parts' / '000000.unfinished.npz').write_bytes(b'half')
  found, _ = inference.in_parts(tmp_path, iter(BATCHES), square, 100, 'test')
  assert len(found['square']) == 100


def test_no_batch_gives_no_array(tmp_path):
  found, milliseconds = inference.in_parts(tmp_path, iter([]), square, 0, 'test')
  assert found == {} and np.isnan(milliseconds)


def test_few_batches_are_in_memory_and_one_in_work(tmp_path):
  drawn, done, at_once, most = 0, 0, 0, 0
  lock = threading.Lock()

  def batches():
    nonlocal drawn, most
    for batch in BATCHES:
      drawn += 1
      most = max(most, drawn - done)
      yield batch

  def slow(batch):
    nonlocal at_once, done
    with lock:
      at_once = max(at_once, sum(thread.name.startswith('ThreadPool') for thread in threading.enumerate()))
    time.sleep(0.002)
    done += 1
    return square(batch)

  inference.in_parts(tmp_path, batches(), slow, 100, 'test')
  assert at_once == 1 and most <= 3


def test_time_is_that_of_a_row(tmp_path):
  def slow(batch):
    time.sleep(0.03)
    return square(batch)
  _, milliseconds = inference.in_parts(tmp_path, iter(BATCHES[:16]), slow, 48, 'test')
  assert 9 < milliseconds  # 16 batches of 3 rows: 10 at least
