"""From image files to network images, landmarks and augmented batches."""
