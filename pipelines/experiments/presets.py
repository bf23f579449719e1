"""Presets: how large a network, and how long it trains.

`default` is what `ceph_tf.config` says, 10 minutes a network on two cores with bfloat16; of models that
take as long, `swa` is the most accurate one.
"""

PRESETS = {
    'default': [],
    # The default's networks look first; a second one looks closer at where they found something. Both are
    # averages of a walk at a constant rate, as those of `swa`.
    'precise': ['refine.scale=2', 'train.schedule=constant'],
    # Drevicky & Kodym, BIOIMAGING 2020: a 31 M-parameter U-Net that regresses heatmaps.
    'thesis': [
        'input.height=128', 'input.width=128', 'input.fit=stretch',
        'model.filters=64,128,256,512,1024', 'model.stem_stride=1',
        'heatmap.target_sigma_px=5', 'heatmap.amplitude=1000', 'heatmap.decode=argmax',
        'heatmap.filter_sigma_px=5',
        'augment.elastic_px=3', 'augment.elastic_grid_px=16', 'augment.rotate_deg=5',
        'augment.scale=0.05', 'augment.shift=0.05', 'augment.gamma=0', 'augment.shading=0',
        'augment.contrast=0', 'augment.brightness=0', 'augment.noise=0', 'augment.outside=0',
        'augment.local_contrast=0',
        'train.truth=senior', 'train.loss=mse', 'train.optimizer=adam', 'train.learning_rate=1e-3',
        'train.warmup_steps=0', 'train.batch_size=8', 'train.schedule=plateau',
        'train.plateau_epochs=15', 'train.stop_epochs=30', 'train.epochs=1000', 'train.keep=best',
        'train.ema=0', 'train.validate_epochs=1', 'train.precision=float32',
    ],
    # Every part of the path, in a minute: the figures mean nothing.
    'smoke': [
        'data.phantom_images=24', 'data.phantom_test_images=8', 'data.phantom_size_px=160',
        'data.validation_images=4', 'data.calibration_images=4', 'data.shards=2',
        'input.height=64', 'input.width=64', 'model.filters=8,16,16', 'heatmap.window_px=4',
        'augment.elastic_px=1', 'augment.elastic_grid_px=16',
        'train.epochs=4', 'train.batch_size=4', 'train.warmup_steps=4', 'train.ema=0.9',
        'evaluate.bootstrap=100', 'evaluate.overlays=4', 'evaluate.max_mre_mm=1000',
        'analyze.bootstrap=20', 'analyze.rescans=2', 'under_trained_mm=1000',
        'stress.images=2', 'stress.copies=4', 'stress.height_px=160', 'stress.angle_step_deg=15',
    ],
}
