"""What a doctor is warned of, and which errors come without a warning.

Two warnings leave the model: `refer`, of a whole film, and `check`, of a landmark on any other film whose
region has a radius above `DOUBTFUL_MM`. Both have a price, the films and landmarks that are looked at
again, and a worth, the share of errors above `DOUBTFUL_MM` that they name.
"""

from collections.abc import Sequence

import numpy as np

from ceph_tf.evaluation import metrics

DOUBTFUL_MM = 4.0  # the last radius of the success detection rates: an error that all call gross


def alarms(image_id: Sequence[str], refer: np.ndarray, radius_mm: np.ndarray, error_mm: np.ndarray) -> dict:
  """Price and worth of the warnings about N films of L landmarks.

  Args:
    image_id: N names.
    refer: bool [N].
    radius_mm: [N, L] of the circles, NaN where there is none: such a landmark is not named.
    error_mm: [N, L], NaN where unknown.

  Returns:
    `referred`: share of films, NaN without one; `referred_ids`: which. `checked`: share of landmarks of
    the other films, likewise. `gross`: number of errors above `DOUBTFUL_MM`; `gross_referred`,
    `gross_checked`: how many of them are on referred films, and how many of the others are named.
  """
  refer = np.asarray(refer, bool)
  doubtful = (radius_mm > DOUBTFUL_MM) & ~refer[:, None]
  gross = error_mm > DOUBTFUL_MM + metrics.TOLERANCE_MM
  return {
      'referred': float(refer.mean()) if refer.size else np.nan,
      'referred_ids': [name for name, one in zip(image_id, refer, strict=True) if one],
      'checked': float(doubtful[~refer].mean()) if not refer.all() else np.nan,
      'gross': int(gross.sum()),
      'gross_referred': int((gross & refer[:, None]).sum()),
      'gross_checked': int((gross & doubtful).sum()),
  }
