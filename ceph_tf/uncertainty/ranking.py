"""How well a score tells two classes apart: AUROC, AUPR, FPR at 95 % TPR; pure numpy.

Everything is a function of the ROC curve's points: true and false positives when
all of the largest distinct score, of the two largest, ... are called positive. Equal
scores are never told apart, so a constant score has an AUROC of 1/2.
"""

import numpy as np


def cumulative(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """True and false positives at each distinct score, the largest first.

  Args:
    score: [N], larger means more likely positive; pairs with a NaN are left out.
    positive: bool [N].

  Returns:
    Two [K] float64 arrays, not decreasing.

  Raises:
    ValueError: shapes that differ.
  """
  score, positive = np.asarray(score, np.float64), np.asarray(positive, bool)
  if score.ndim != 1 or score.shape != positive.shape:
    raise ValueError(f'score {score.shape} and positive {positive.shape}: both must be [N]')
  known = ~np.isnan(score)
  distinct, place = np.unique(score[known], return_inverse=True)
  hits = np.bincount(place, positive[known], len(distinct))[::-1]
  return np.cumsum(hits), np.cumsum(np.bincount(place, minlength=len(distinct))[::-1] - hits)


def auroc(tp: np.ndarray, fp: np.ndarray) -> float:
  """P(a positive scores higher) + P(equal) / 2. NaN if a class is empty."""
  if not tp.size or tp[-1] == 0 or fp[-1] == 0:
    return np.nan
  above, new = np.concatenate([[0.0], tp]), np.diff(fp, prepend=0.0)
  return float((new * (above[:-1] + above[1:])).sum() / (2 * tp[-1] * fp[-1]))


def aupr(tp: np.ndarray, fp: np.ndarray) -> float:
  """Average precision: mean over the positives of the precision at their score.

  The step-wise area under the precision-recall curve, without the interpolation
  that flatters (Davis & Goadrich, ICML 2006). NaN without a positive.
  """
  if not tp.size or tp[-1] == 0:
    return np.nan
  precision = tp / np.maximum(tp + fp, 1e-300)
  return float((np.diff(tp, prepend=0.0) * precision).sum() / tp[-1])


def fpr_at_tpr(tp: np.ndarray, fp: np.ndarray, tpr: float = 0.95) -> float:
  """Smallest false positive rate at which at least `tpr` of the positives are found."""
  if not tp.size or tp[-1] == 0 or fp[-1] == 0:
    return np.nan
  return float(fp[np.argmax(tp >= tpr * tp[-1] - 1e-9)] / fp[-1])


def separation(score: np.ndarray, positive: np.ndarray) -> dict[str, float]:
  """`auroc`, `aupr` and `fpr_at_95_tpr` of a score, larger means more likely positive."""
  tp, fp = cumulative(score, positive)
  return {'auroc': auroc(tp, fp), 'aupr': aupr(tp, fp), 'fpr_at_95_tpr': fpr_at_tpr(tp, fp)}
