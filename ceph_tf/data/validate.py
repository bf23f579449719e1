"""What is wrong with a set of records, and what to do about it.

Where each kind of bad data is caught: a missing folder, file or annotation, a
malformed annotation, an empty file and a file that is no image stop the dataset's
`records` (nothing to report on without them). All that needs a full decode or
the other images is found here: truncated and damaged files, blank and tiny
images, points that cannot be right, wrong numbers of images, and the same film
in two splits.

A JPEG that was cut and then given a new end marker decodes without a complaint
from any decoder; that one is not found.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ceph_tf.config import ValidateConfig
from ceph_tf.data import anomalies as checks
from ceph_tf.data import films
from ceph_tf.data.records import TRAINING_SPLITS, DataError, Record

ALWAYS = 'always'
# Which field of ValidateConfig decides about a kind of anomaly; '' is only reported, and
# what `ALWAYS` decides about stops, because no training could go on with it.
POLICIES = {
    'missing_point': 'points', 'expected_missing_point': '', 'no_points': 'points',
    'point_outside': 'points', 'points_at_same_place': 'points', 'landmark_never_seen': 'points',
    'unreadable_image': ALWAYS, 'blank_image': 'images', 'small_image': 'images',
    'wrong_size': 'images', 'wrong_count': 'images',
    'same_film_in_two_splits': 'leaks', 'same_film_in_split': '',
    'unknown_spacing': '',
}


def inspect(records: Iterable[Record], dataset: str, trained: bool = True) -> dict:
  """Everything that is wrong with a dataset; decodes each image once, holds one.

  Args:
    records: of all splits.
    dataset: name; decides what is expected.
    trained: whether a network will be, which needs training and validation images.

  Returns:
    A dict ready for JSON: `dataset`, `anomalies` (dicts of `Anomaly`), `duplicates`
    ([image id, image id] of one film, the lower id first), `counts` (split -> images).
  """
  expected = checks.expected_of(dataset)
  anomalies, split_of, prints = [], {}, {}
  seen: dict[str, bool] = {}
  for record in records:
    split_of[record.image_id] = record.split
    anomalies += checks.point_anomalies(record, expected)
    if record.split == 'train':
      for name, *marked in zip(record.landmark_names, *record.points_px.values(), strict=True):
        seen[name] = seen.get(name, False) or not np.isnan(marked).any()
    try:
      gray = checks.decode(record.image_bytes)
    except DataError as error:
      anomalies.append(
          checks.Anomaly('unreadable_image', record.image_id, record.split, str(error)))
      continue
    anomalies += checks.image_anomalies(record, gray, expected)
    prints[record.image_id] = films.fingerprint(gray)
  anomalies += [checks.Anomaly('landmark_never_seen', '', 'train', f'{name}: missing everywhere')
                for name, known in seen.items() if not known]
  ids = sorted(prints)
  pairs = [(ids[i], ids[j], score)
           for i, j, score in films.same_films(np.array([prints[i] for i in ids]))]
  counts = dict(collections.Counter(split_of.values()))
  anomalies += checks.count_anomalies(counts, expected, trained)
  anomalies += checks.film_anomalies(pairs, split_of)
  return {'dataset': dataset, 'anomalies': [dataclasses.asdict(a) for a in anomalies],
          'duplicates': [[first, second] for first, second, _ in pairs], 'counts': counts}


def policy(cfg: ValidateConfig, dataset: str) -> dict[str, str]:
  """Field of `ValidateConfig` -> 'stop' or 'warn', with 'auto' resolved."""
  leaks = cfg.leaks
  if leaks == 'auto':
    leaks = 'warn' if checks.expected_of(dataset).shares_films else 'stop'
  return {'leaks': leaks, 'points': cfg.points, 'images': cfg.images}


def enforce(anomalies: Sequence[Mapping], rules: Mapping[str, str], shown: int = 3) -> None:
  """Stops on anomalies that the policy does not allow.

  Args:
    anomalies: of `inspect`.
    rules: of `policy`.
    shown: how many of a field's anomalies the message lists.

  Raises:
    DataError: names the first few, their number, and the field that lets them pass.
  """
  messages = []
  for field in (ALWAYS, *(name for name, rule in rules.items() if rule == 'stop')):
    bad = [a for a in anomalies if POLICIES[a['kind']] == field]
    if bad:
      first = '; '.join(describe(a) for a in bad[:shown])
      more = f'; and {len(bad) - shown} more' if len(bad) > shown else ''
      way = 'repair or remove them' if field == ALWAYS else f'validate.{field}=warn lets them pass'
      messages.append(f'{len(bad)} anomalies: {first}{more}. {way}')
  if messages:
    raise DataError('. '.join(messages))


def describe(anomaly: Mapping) -> str:
  """An anomaly in one line."""
  where = ' '.join(part for part in (anomaly['split'], anomaly['image_id']) if part)
  return f'{anomaly["kind"]}: {where}: {anomaly["detail"]}'


def leak_free_ids(test_ids: Sequence[str], duplicates: Iterable[Sequence[str]],
                  split_of: Mapping[str, str]) -> list[str]:
  """The test images that no training image shows, each film once.

  Being the same film is transitive: copies of copies count.

  Args:
    test_ids: images of one test split.
    duplicates: pairs of image ids of one film.
    split_of: image id -> split, of all images in `duplicates`.

  Returns:
    Those of `test_ids`, in their order, whose film has no copy in train, validation
    or calibration, and of films repeated among them the lowest id.
  """
  group = {image: {image} for image in test_ids}
  for first, second in duplicates:
    merged = group.get(first, {first}) | group.get(second, {second})
    group |= dict.fromkeys(merged, merged)
  wanted = set(test_ids)
  return [image for image in test_ids
          if not any(split_of.get(other) in TRAINING_SPLITS for other in group[image])
          and image == min(group[image] & wanted)]
