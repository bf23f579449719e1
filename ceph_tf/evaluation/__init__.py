"""Metrics, plots and the report, all from stored predictions."""
