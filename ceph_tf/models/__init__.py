"""Networks, heatmaps, losses and the fit loop."""
