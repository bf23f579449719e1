"""What a data set asks of each preset."""

from pipelines.experiments.presets import PRESETS

_OWN_TEST = ['train.truth=truth', 'evaluate.split=test']
# Exact truth and no noise of a doctor's hand: a third of the epochs is enough.
_PHANTOM = [*_OWN_TEST, 'train.epochs=30', 'stress.images=4', 'stress.angle_step_deg=3']

# Of a data set, where a SavedModel is judged on it: all own images test.
JUDGED_FIELDS = {'csv': ['data.calibration_images=0']}

DATASET_FIELDS = {
    'isbi2015': {preset: ['evaluate.split=test1'] for preset in PRESETS},
    'csv': {preset: _OWN_TEST for preset in PRESETS},
    'phantom': {'default': _PHANTOM, 'precise': [*_PHANTOM, 'refine.epochs=40'], 'thesis': _OWN_TEST,
                'smoke': _OWN_TEST},
}
