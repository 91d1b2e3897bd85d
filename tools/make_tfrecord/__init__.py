"""Writes a dataset's samples to TFRecord files."""
