"""What a data set asks of each preset."""

_PRESETS = ('default', 'precise', 'thesis', 'smoke')
_OWN_TEST = ['train.truth=truth', 'evaluate.split=test']

DATASET_FIELDS = {
    'isbi2015': {
        preset: ['evaluate.split=test1'] for preset in _PRESETS},
    'csv': {preset: _OWN_TEST for preset in _PRESETS},
    # Exact truth and no noise of a doctor's hand: a third of the epochs is enough.
    'phantom': {
        'default': [*_OWN_TEST, 'train.epochs=30', 'stress.images=4', 'stress.angle_step_deg=3'],
        'precise': [*_OWN_TEST, 'train.epochs=30', 'refine.epochs=20', 'stress.images=4',
                    'stress.angle_step_deg=3'],
        'thesis': _OWN_TEST, 'smoke': _OWN_TEST},
}
