"""Predicts labels with a checkpoint, scores them and writes result files."""
