"""Turns polygons and masks of annotation tools into label files: python -m tools.import_annotations."""
