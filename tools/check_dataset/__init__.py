"""Checks a whole dataset: faults, statistics, a page of thumbnails."""
