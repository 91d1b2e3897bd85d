"""Writes a dataset's samples as TFRecords."""
