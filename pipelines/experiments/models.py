"""Models by name: what differs from the plain U-Net, for each preset."""

from pipelines.experiments.presets import PRESETS

_DROPOUT = ['model.name=mc_dropout', 'model.dropout_rate=0.3', 'model.dropout_at=down3,down4,up3',
            'sampler.kind=passes', 'sampler.num_samples=15']
_FILM = {
    'default': ['model.name=film_ensemble', 'model.members=4',
                'model.members_at=down3,down4,up3,up2,up1,up0', 'sampler.kind=passes',
                'sampler.num_samples=4'],
    'thesis': ['model.name=film_ensemble', 'model.members=4',
               'model.members_at=down3,down4,up3,up2,up1,up0', 'sampler.kind=passes',
               'sampler.num_samples=4'],
    'smoke': ['model.name=film_ensemble', 'model.members=2', 'model.members_at=down1,down2,up1,up0',
              'sampler.kind=passes', 'sampler.num_samples=2'],
}

EXPERIMENTS = {
    'baseline': {},
    'mc_dropout': {
        'default': _DROPOUT,
        'precise': [*_DROPOUT, 'refine.dropout_rate=0.3', 'refine.dropout_at=down3,up2'],
        'thesis': ['model.name=mc_dropout', 'model.dropout_rate=0.4',
                   'model.dropout_at=down0,down1,down2,down3,down4,up3,up2,up1,up0',
                   'sampler.kind=passes', 'sampler.num_samples=15'],
        'smoke': ['model.name=mc_dropout', 'model.dropout_rate=0.3', 'model.dropout_at=down1,down2,up1',
                  'sampler.kind=passes', 'sampler.num_samples=3'],
    },
    'flipout': {
        # Wide from the start: scales hardly grow in so few steps, and narrow ones say little of errors.
        'default': ['model.name=flipout', 'model.variational_at=down4,up3,up2,up1,up0',
                    'model.posterior_scale=0.3', 'sampler.kind=passes', 'sampler.num_samples=15'],
        'thesis': ['model.name=flipout', 'model.variational_at=down4,up3,up2,up1,up0',
                   'sampler.kind=passes', 'sampler.num_samples=15'],
        'smoke': ['model.name=flipout', 'model.variational_at=down2,up1,up0',
                  'sampler.kind=passes', 'sampler.num_samples=3'],
    },
    'film_ensemble': _FILM,
    # The same network; each of its members also sees the X-ray in its own way.
    'film_views': {preset: [*fields, 'sampler.kind=views'] for preset, fields in _FILM.items()},
    'ensemble': {
        'default': ['sampler.kind=members', 'sampler.num_samples=5'],
        'precise': ['sampler.kind=members', 'sampler.num_samples=5'],
        'thesis': ['sampler.kind=members', 'sampler.num_samples=15'],
        'smoke': ['sampler.kind=members', 'sampler.num_samples=2'],
    },
    # The baseline's network, which is trained once for both, behind a few views.
    'views': {preset: ['sampler.kind=views', 'sampler.num_samples=5'] for preset in PRESETS},
    # One network that learned the mean heatmap of those of the ensemble, which are trained once for both.
    'distilled': {
        'default': ['teachers=5'],
        'precise': ['teachers=5'],
        'smoke': ['teachers=2'],
    },
    # One network whose weights are the running average of a walk at a constant learning rate (stochastic
    # weight averaging: Izmailov et al., UAI 2018), instead of where a rate that ends at zero settles.
    'swa': {preset: ['train.schedule=constant'] for preset in ('default', 'smoke')},
    # One network that regresses a covariance; with an ensemble's or dropout's fields, many.
    'gaussian': {preset: ['model.name=gaussian', 'model.head=gaussian']
                 for preset in ('default', 'thesis', 'smoke')},
}
