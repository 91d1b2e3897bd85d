"""Checks a whole dataset: faults, statistics, and a page of thumbnails."""
