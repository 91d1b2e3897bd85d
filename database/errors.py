"""What is wrong with a user's data; images and palettes have errors of their own."""

from __future__ import annotations


class DatasetError(ValueError):
    """A dataset that is unknown, incomplete or not laid out as expected."""


class AbsentSplitError(DatasetError):
    """A split of which nothing is there."""
