"""The commands of the README on computed X-rays, as a user types them."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parents[2]
PREDICTIONS = 'runs/store/bulk_inferrer/*/predictions/predictions.npz'


def command(work, *flags):
  return [sys.executable, '-m', 'pipelines.run', '--preset=smoke', f'--work_dir={work / "runs"}',
          f'--push_dir={work / "pushed"}', *flags]


def run(work, *flags, status=0):
  done = subprocess.run(command(work, *flags), cwd=ROOT, capture_output=True, encoding='utf-8', check=False)
  assert done.returncode == status, done.stdout + done.stderr
  return done


@pytest.fixture(scope='module')
def work(tmp_path_factory):
  return tmp_path_factory.mktemp('work')


def one(folder, pattern):
  found = list(folder.glob(pattern))
  assert len(found) == 1, f'{pattern}: {found}'
  return found[0]


TWO_LOOKS = ('--set', 'refine.scale=2', '--set', 'refine.crop.size_px=16', '--set', 'refine.filters=8,8',
             '--set', 'refine.epochs=2')
UNCHANGED_FILMS = ('--set', 'stress.images=0')  # that changed films are asked about is shown by three models
DRAWN_KERNELS = ('--set', 'model.variational_at=down2,up1,up0', '--set', 'sampler.kind=passes', '--set',
                 'sampler.num_samples=3')


@pytest.mark.parametrize('model,samples,flags', [
    ('baseline', 1, ()), ('mc_dropout', 3, ()), ('ensemble', 2, ()),
    ('gaussian', 3, (*UNCHANGED_FILMS, *DRAWN_KERNELS)), ('views', 5, (*UNCHANGED_FILMS, *TWO_LOOKS))])
def test_model_is_trained_evaluated_and_pushed(work, model, samples, flags):
  known = set(work.glob(PREDICTIONS))
  done = run(work, f'--model={model}', *flags)
  for label in ('report:', 'SavedModel:', 'TensorBoard logs:', 'MRE', 'uncertainty:', 'best measure',
                'at least 9 calibration patients'):
    assert label in done.stdout
  pushed = work / 'pushed' / f'{model}_phantom_smoke' / '1'
  assert (pushed / 'saved_model.pb').is_file()
  assert json.loads((pushed / 'evaluation.json').read_text('utf-8'))['images'] == 8
  lineage = run(work, f'--lineage={pushed}').stdout
  assert all(name in lineage for name in ('example_gen', 'trainer', 'exporter', 'phantom'))
  predictions = [np.load(path) for path in set(work.glob(PREDICTIONS)) - known]
  # Of the training images only the features were asked for.
  shapes = [p['samples_px'].shape for p in predictions if 'samples_px' in p]
  assert shapes.count((8, samples, 19, 2)) == 1


def test_an_unchanged_run_computes_nothing_again(work):
  run(work, '--model=baseline')
  again = run(work, '--model=baseline').stdout
  assert again.count('cached') == 22  # all but the pusher, which looks at its destination
  assert not (work / 'pushed/baseline_phantom_smoke/2').exists()


def test_first_member_of_an_ensemble_is_the_baseline(work):
  assert 'trainer_0: cached' in run(work, '--model=ensemble').stdout


def test_all_compares_three_models_with_the_thesis(work):
  done = run(work, '--model=all')
  assert 'ensemble/trainer_0: cached' in done.stdout and 'mc_dropout/trainer: cached' in done.stdout
  assert 'ensemble, spread (mm): error' in done.stdout and '(0.31)' in done.stdout
  table = json.loads(one(work, 'runs/store/comparer/*/comparison/comparison.json').read_text('utf-8'))
  assert list(table['models']) == ['baseline', 'mc_dropout', 'ensemble']
  for model in table['models'].values():
    assert all(isinstance(value, float) for value in model['correlations'].values())
    assert model['subsets']['official']['images'] == 8


def test_two_models_end_in_a_table_of_cost_and_quality(work):
  done = run(work, '--model=baseline,distilled')
  for node in ('baseline/trainer', 'distilled/trainer_teacher_0', 'distilled/trainer_teacher_1'):
    assert f'{node}: cached' in done.stdout  # the teachers are the members of the ensemble
  assert 'cost and quality:' in done.stdout
  table = one(work, 'runs/store/tradeoff_analyzer/*/table')
  found = json.loads((table / 'tradeoff.json').read_text('utf-8'))['models']
  assert list(found) == ['baseline', 'distilled']
  alone, taught = found['baseline']['cost'], found['distilled']['cost']
  assert (alone['networks'], taught['networks'], taught['parameters']) == (1, 1, alone['parameters'])
  assert taught['training_minutes'] > alone['training_minutes'] > 0  # of its teachers, too
  for cost in (alone, taught):
    low, high = cost['milliseconds_range']
    assert 0 < low <= high and 100 < cost['peak_memory_mib'] < 10000
  for model in found.values():
    row = model['subsets']['official']
    assert row['nll_nats'] and 0 <= row['ece'] <= 1 and 0 <= model['ood']['elastic'] <= 1
  assert found['baseline']['difference'] == {}
  first, second = (model['subsets']['official'] for model in found.values())
  for figure, one_of in found['distilled']['difference'].items():
    assert one_of['value'] == pytest.approx(second[figure] - first[figure], abs=1e-6), figure
    low, high = one_of['interval']
    # After 4 epochs there may be no point within 2 mm.
    assert low < high or (figure == 'sdr_2mm' and low == high == one_of['value'] == 0), figure
  assert (table / 'figures' / 'cost_quality.png').stat().st_size > 10000


def judge(work, *flags, status=0):
  """Judges the baseline that was pushed first."""
  model = work / 'pushed/baseline_phantom_smoke'
  asked = [sys.executable, '-m', 'pipelines.run', f'--saved_model={model}', f'--work_dir={work / "judged"}']
  done = subprocess.run([*asked, *flags], cwd=ROOT, capture_output=True, encoding='utf-8', check=False)
  assert done.returncode == status, done.stdout + done.stderr
  return done


@pytest.fixture(scope='module')
def own_images(phantom_records, tmp_path_factory):
  """A folder of images and a table, without a word of who tests."""
  folder = tmp_path_factory.mktemp('own')
  rows = ['image,spacing_mm,landmark,x,y']
  for record in phantom_records:
    (folder / f'{record.image_id}.png').write_bytes(record.image_bytes)
    rows += [f'{record.image_id}.png,{record.spacing_mm},{name},{x},{y}' for name, (x, y) in zip(
        record.landmark_names, record.points_px['truth'], strict=True)]
  (folder / 'landmarks.csv').write_text('\n'.join(rows))
  return folder


def test_a_model_is_judged_on_own_images_and_nothing_is_trained(work, own_images, phantom_records):
  done = judge(work, '--dataset=csv', f'--data_dir={own_images}')
  assert 'importer: done' in done.stdout and 'trainer' not in done.stdout and 'pusher' not in done.stdout
  number = len(phantom_records)
  assert f'baseline_phantom_smoke, version 1: {number} images of test' in done.stdout
  assert 'uncertainty:' not in done.stdout  # no image calibrates
  figures = json.loads(one(work, 'judged/store/evaluator/*/evaluation/evaluation.json').read_text('utf-8'))
  assert figures['images'] == number and figures['results']['truth']['official']['mre_mm'] > 0
  again = judge(work, '--dataset=csv', f'--data_dir={own_images}')
  assert again.stdout.count('cached') == 6


def test_of_own_images_some_may_calibrate_the_analysis(work, own_images, phantom_records):
  done = judge(work, '--dataset=csv', f'--data_dir={own_images}', '--set', 'data.calibration_images=3',
               '--set', 'stress.images=0', '--set', 'analyze.bootstrap=20')
  assert f'{len(phantom_records) - 3} images of test' in done.stdout
  assert 'uncertainty:' in done.stdout and 'best measure' in done.stdout


def test_of_own_images_some_may_bring_the_model_to_their_site(work, own_images, phantom_records):
  fields = ('data.calibration_images=6', 'analyze.coverage=0.6', 'analyze.alpha=0.25',
            'evaluate.max_mre_mm=1000')
  flags = ('--recalibrate', f'--push_dir={work / "pushed"}', '--dataset=csv', f'--data_dir={own_images}',
           *(f'--set={field}' for field in fields))
  done = judge(work, *flags)
  number = len(phantom_records) - 6
  for title in ('baseline_phantom_smoke, version 1', 'baseline_phantom_smoke, version 1, recalibrated'):
    assert f'{title}: {number} images of test' in done.stdout
  pushed = work / 'pushed/baseline_phantom_smoke_recalibrated/1'
  words = json.loads((pushed / 'assets.extra/calibration.json').read_text('utf-8'))
  assert (words['calibration_images'], words['regions'], words['coverage']) == (6, 'stated', 0.6)
  lineage = run(work, f'--lineage={pushed}').stdout
  assert 'recalibrator' in lineage and 'importer' in lineage
  assert 'Difference on ' in done.stdout and 'moved the farthest: ' in done.stdout
  assert 'already holds' not in done.stdout and judge(work, *flags).stdout.count('cached') == 12
  asked = [sys.executable, '-m', 'pipelines.predict', f'--saved_model={pushed}', f'--out={work / "answers"}',
           '--spacing_mm=0.1', str(own_images / f'{phantom_records[0].image_id}.png')]
  assert subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_with_images_that_only_test_nothing_can_be_trained(work, own_images):
  done = run(work, '--dataset=csv', f'--data_dir={own_images}', '--set', 'data.test_fraction=1', status=2)
  assert 'data.test_fraction=1: allowed is less than 1' in done.stderr


def test_a_pushed_model_says_why_it_states_no_regions(work):
  extra = work / 'pushed' / 'baseline_phantom_smoke' / '1' / 'assets.extra' / 'calibration.json'
  words = json.loads(extra.read_text('utf-8'))
  assert words['regions'].startswith('absent') and words['refer'].startswith('absent')  # 4 images
  assert len(words['thresholds']) == 19


def test_a_killed_training_resumes_and_ends_as_if_nothing_had_happened(tmp_path):
  flags = ['--model=baseline', '--set', 'train.precision=float32', '--set', 'train.epochs=12',
           '--set', 'data.calibration_images=0']  # nothing that comes after the training is of interest
  whole, killed = tmp_path / 'whole', tmp_path / 'killed'
  run(whole, *flags)
  process = subprocess.Popen(command(killed, *flags), cwd=ROOT, stderr=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, start_new_session=True)
  deadline = time.monotonic() + 600
  while not list(killed.rglob('checkpoints/ckpt-*.index')):
    assert process.poll() is None and time.monotonic() < deadline, 'no checkpoint was written'
    time.sleep(0.05)
  os.killpg(process.pid, signal.SIGKILL)
  process.wait()
  assert not list(killed.glob('runs/store/trainer/*')), 'a half artifact'
  resumed = run(killed, *flags)
  assert 'example_gen: cached' in resumed.stdout
  history = json.loads(one(killed, 'runs/store/trainer/*/model/history.json').read_text('utf-8'))
  assert [row['epoch'] for row in history] == list(range(1, 13))
  expected = json.loads(one(whole, 'runs/store/trainer/*/model/history.json').read_text('utf-8'))
  assert [row['loss'] for row in history] == [row['loss'] for row in expected]
  weights = [one(folder, 'runs/store/trainer/*/model/model.weights.h5') for folder in (whole, killed)]
  assert stored(weights[0]) == stored(weights[1])


def stored(path):
  import h5py
  arrays = {}
  with h5py.File(path) as file:
    file.visititems(lambda name, item: arrays.update(
        {name: item[()].tobytes()} if isinstance(item, h5py.Dataset) else {}))
  return arrays


def test_real_x_rays_take_the_same_path(tmp_path, isbi_dir):
  done = run(tmp_path, '--model=baseline', f'--data_dir={isbi_dir}', '--set', 'train.epochs=1')
  figures = json.loads(one(tmp_path, 'runs/store/evaluator/*/evaluation/evaluation.json').read_text('utf-8'))
  assert {truth: set(subsets) for truth, subsets in figures['results'].items()} == {
      truth: {'official', 'leak_free'} for truth in ('senior', 'junior', 'mean')}
  assert figures['results']['mean']['official']['images'] == 150
  assert figures['results']['mean']['leak_free']['images'] == 127
  assert 'against senior' in done.stdout


@pytest.mark.parametrize('flags,message', [
    (['--data_dir=/nowhere'], '/nowhere'),
    (['--dataset=isbi2015'], 'data_dir'),
    (['--set', 'data.validation_images=5000'], '5000'),
    (['--set', 'heatmap.decode=median'], "heatmap.decode='median'"),
    (['--set', 'input.height=50'], 'input.height=50'),
])
def test_a_mistake_of_the_user_is_one_line(tmp_path, flags, message):
  done = run(tmp_path, *flags, status=2)
  errors = [line for line in done.stderr.splitlines() if line.startswith('error:')]
  assert len(errors) == 1 and message in errors[0]
  assert 'Traceback' not in done.stderr


def test_an_unwritable_work_dir_is_one_line(tmp_path):
  (tmp_path / 'runs').write_text('a file, not a folder')
  done = run(tmp_path, status=2)
  assert 'runs' in done.stderr and 'Traceback' not in done.stderr
