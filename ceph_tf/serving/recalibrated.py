"""A SavedModel whose answers are brought to a site: its doctors' habits, and regions and alarms of its own.

Inside is the model as it was; what is added needs its answers alone.
"""

import pathlib

import numpy as np
import tensorflow as tf

from ceph_tf.serving.predictor import FILES, IMAGES, SPACING, in_mm, refused
from ceph_tf.uncertainty import fitted as fitting
from ceph_tf.uncertainty import habits
from ceph_tf.uncertainty.fitted import Fitted

NEEDED = ('samples_px', 'ood_score', fitting.RADIUS_MEASURE, fitting.BIN_MEASURE)  # outputs of the model
FILMS = 'recalibrated_on_sha256'  # in its `calibration.json`: files of films of this site and those before


class Recalibrated(tf.Module):
  """The signatures of a calibrated `serving.predictor.Predictor`.

  Another output, `moved_px` [B, L, 2] (and in mm), is how far points were moved. Heatmaps stay where they
  were: moved likewise, the density of a landmark is that of its point. To say so, `mean_heatmap` asks for
  points, too, and takes up to twice as long.
  """

  def __init__(self, loaded, fitted: Fitted, habit: np.ndarray):
    """Args: the SavedModel; what was fitted on its answers; [L, 2] of `habits.fit`, in sizes of the head."""
    super().__init__()
    self.loaded = loaded  # keeps its variables
    self.fitted = fitted
    self.habit = habit.astype(np.float32)

  def serve(self, image_bytes: tf.Tensor, spacing_mm: tf.Tensor) -> dict[str, tf.Tensor]:
    """This and the next two: as of `Predictor`."""
    asked = self.loaded.signatures['serving_default']
    return self._answer(asked(image_bytes=image_bytes, spacing_mm=spacing_mm), spacing_mm)

  def serve_image(self, image: tf.Tensor, spacing_mm: tf.Tensor) -> dict[str, tf.Tensor]:
    asked = self.loaded.signatures['predict_image']
    return self._answer(asked(image=image, spacing_mm=spacing_mm), spacing_mm)

  def serve_heatmap(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
    unknown = tf.fill(tf.shape(image_bytes), np.float32(np.nan))
    moved_px = self.serve(image_bytes, unknown)['moved_px']
    return self.loaded.signatures['mean_heatmap'](image_bytes=image_bytes) | {'moved_px': moved_px}

  def _answer(self, answers: dict[str, tf.Tensor], spacing_mm: tf.Tensor) -> dict[str, tf.Tensor]:
    points_px = answers['points_px']
    move = -self.habit * habits.size_px(points_px)[:, None, None]
    changed = fitting.answers(
        self.fitted, {name: answers[name] for name in (fitting.RADIUS_MEASURE, fitting.BIN_MEASURE)},
        answers['covariance_px2'], answers['ood_score'])
    changed |= {
        'points_px': points_px + move,
        'samples_px': answers['samples_px'] + move[:, None],
        'moved_px': answers.get('moved_px', 0.0) + move,  # of a model that was at another site before
    }
    changed = refused(changed, answers['status'] == b'ok')
    # Not even where it has none of its own does another site's region hold here.
    kept = {name: value for name, value in answers.items() if not name.startswith('region_')}
    return kept | changed | in_mm(changed, spacing_mm)

  def export(self, directory: pathlib.Path) -> None:
    """Writes a SavedModel with all signatures that there were."""
    signatures = {
        **self.loaded.signatures,
        'serving_default': tf.function(self.serve, [FILES, SPACING]),
        'predict_image': tf.function(self.serve_image, [IMAGES, SPACING]),
        'mean_heatmap': tf.function(self.serve_heatmap, [FILES]),
    }
    tf.saved_model.save(self, str(directory), signatures)
