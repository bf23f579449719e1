"""Places in the store: locks, and what a killed writer leaves."""

import errno

import pytest

from pipelines.artifacts import Artifact
from pipelines.dsl import Port
from pipelines.execution import Execution, Stored
from pipelines.store import Slot, Store, StoreError, is_full

OUTPUTS = {'out': Port(Artifact)}


def write(slot, text):
  slot.prepare(OUTPUTS)
  (slot.temp / 'out' / 'file').write_text(text)
  stored = Stored('Artifact', 'toy/k/out', text, {'file': len(text)})
  slot.commit(Execution(
      id='1', run='r', git_commit='', node='toy', component='toy', key='k', code='', libraries={},
      params={}, external='', inputs={}, outputs={'out': stored}, started=''))


def digest(slot):
  return slot.load(OUTPUTS)[0].outputs['out'].digest


def test_what_was_committed_is_loaded(tmp_path):
  with Store(tmp_path) as store:
    slot = store.slot('toy', 'k')
    assert slot.load(OUTPUTS) == (None, '')
    write(slot, 'old')
    assert digest(slot) == 'old' and not slot.temp.exists()
    write(slot, 'new')
    assert digest(slot) == 'new'
    assert list((tmp_path / 'temp').iterdir()) == []


def test_damage_names_the_file_and_both_sizes(tmp_path):
  with Store(tmp_path) as store:
    slot = store.slot('toy', 'k')
    write(slot, 'old')
    (slot.final / 'out' / 'file').write_text('longer')
    assert slot.load(OUTPUTS) == (
        None, f'{tmp_path}/store/toy/k/out/file has 6 bytes, recorded are 3 bytes')
    (slot.final / 'out' / 'file').unlink()
    assert slot.load(OUTPUTS)[1].endswith('file has no file, recorded are 3 bytes')


def test_readers_share_and_a_writer_is_alone(tmp_path):
  Store(tmp_path)
  one, two = Slot(tmp_path, 'toy', 'k'), Slot(tmp_path, 'toy', 'k')
  assert one.lock(exclusive=False, wait=False) and two.lock(exclusive=False, wait=False)
  assert not two.lock(exclusive=True, wait=False)
  one.close()
  assert two.lock(exclusive=True, wait=False)
  assert not Slot(tmp_path, 'toy', 'k').lock(exclusive=False, wait=False)


def test_a_store_gives_its_locks_back(tmp_path):
  with Store(tmp_path) as store:
    slot = store.slot('toy', 'k')
    slot.lock(exclusive=True)
    assert not Slot(tmp_path, 'toy', 'k').lock(exclusive=False, wait=False)
  assert Slot(tmp_path, 'toy', 'k').lock(exclusive=True, wait=False)


def test_a_new_run_clears_what_is_abandoned_but_not_what_is_in_use(tmp_path):
  Store(tmp_path)
  slots = [Slot(tmp_path, 'toy', key) for key in ('dead', 'alive')]
  for slot in slots:
    slot.lock(exclusive=True)
    slot.prepare(OUTPUTS)
  slots[0].close()
  Store(tmp_path)
  assert [path.name for path in (tmp_path / 'temp').iterdir()] == ['toy-alive']


def test_what_was_moved_aside_comes_back(tmp_path):
  with Store(tmp_path) as store:
    slot = store.slot('toy', 'k')
    write(slot, 'old')
    slot.final.rename(tmp_path / 'temp' / 'toy-k.replaced')
  with Store(tmp_path) as store:
    assert digest(store.slot('toy', 'k')) == 'old'


def test_unfinished_outputs_of_a_resumable_component_are_kept(tmp_path):
  with Store(tmp_path) as store:
    slot = store.slot('toy', 'k', resumable=True)
    slot.prepare(OUTPUTS)
    (slot.temp / 'out' / 'checkpoint').touch()
  with Store(tmp_path) as store:
    slot = store.slot('toy', 'k', resumable=True)
    slot.prepare(OUTPUTS)
    assert (slot.temp / 'out' / 'checkpoint').exists()


def test_a_folder_that_cannot_be_made_is_one_clear_message():
  with pytest.raises(StoreError, match='cannot use work dir /proc/runs: .*; make room or choose'):
    Store('/proc/runs')


def test_is_full():
  assert is_full(OSError(errno.EDQUOT, 'Disk quota exceeded'))
  assert is_full(RuntimeError('write: No space left on device'))
  assert not is_full(FileNotFoundError(errno.ENOENT, 'x'))


@pytest.mark.parametrize('name', ['seed[1]', 'what?', 'all*', 'back\\slash'])
def test_a_work_dir_that_tensorflow_takes_for_a_pattern_is_refused(tmp_path, name):
  with pytest.raises(StoreError, match='TensorFlow takes . in a path for a pattern'):
    Store(tmp_path / name)
  assert list(tmp_path.iterdir()) == []
