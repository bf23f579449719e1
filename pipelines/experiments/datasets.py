"""What a data set asks of each preset."""

_OWN_TEST = ['train.truth=truth', 'evaluate.split=test']

DATASET_FIELDS = {
    'isbi2015': {
        preset: ['evaluate.split=test1'] for preset in ('default', 'thesis', 'smoke')},
    'csv': {preset: _OWN_TEST for preset in ('default', 'thesis', 'smoke')},
    # Exact truth and no noise of a doctor's hand: a third of the epochs is enough.
    'phantom': {
        'default': [*_OWN_TEST, 'train.epochs=30', 'stress.images=4', 'stress.angle_step_deg=3'],
        'thesis': _OWN_TEST, 'smoke': _OWN_TEST},
}
