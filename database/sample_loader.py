"""Loads samples, skipping and counting up to N unreadable ones."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from database.errors import ImageError, TFRecordError
from database.images import all_rows
from database.layouts import Sample
from database.loading import load_first_rows

logger = logging.getLogger(__name__)

Loaded = TypeVar("Loaded")

# Errors of a damaged or missing file. An unknown id is an error in the description of the data, and stops training.
UNREADABLE = (ImageError, TFRecordError)


class SampleLoader:
    """Loads samples by their position in a list, and replaces an unreadable one by the next readable one.

    It is thread-safe. The replacement depends only on which samples are readable, so a resumed run sees the same one.

    Attributes:
        skipped: position -> error message of each unreadable sample, in the order of discovery.
        faults: the errors that stopped the loading, in the order of their occurrence.
        channels: of the images; None for RGB.
    """

    def __init__(self, samples: Sequence[Sample], max_bad_files: int = 0) -> None:
        """Stores the samples, which have labels, and how many of them may be unreadable."""
        self.skipped: dict[int, str] = {}
        self.faults: list[Exception] = []
        self.channels = samples[0].channels if samples else None
        self._samples = samples
        self._max_bad_files = max_bad_files
        self._lock = threading.Lock()

    def load(self, place: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Loads `(image, label, place)`: see `loading.load_sample`; `place` is that of the loaded sample.

        Raises:
            ImageError, TFRecordError: more than `max_bad_files` samples, or all samples, are unreadable.
            DatasetError: see `loading.load_sample`.
        """
        image, label, _, place = self.load_first_rows(place, all_rows)
        return image, label, place

    def load_first_rows(self, place: int, rows_of: Callable[[int], int]) -> tuple[np.ndarray, np.ndarray, int, int]:
        """Loads `(image, label, height, place)`: see `loading.load_first_rows` and `load`."""
        loaded, place = self.load_with(place, lambda sample: load_first_rows(sample, rows_of))
        return *loaded, place

    def load_with(self, place: int, load_sample: Callable[[Sample], Loaded]) -> tuple[Loaded, int]:
        """Returns what `load_sample` returns, and the place of the loaded sample; see `load`."""
        while True:
            try:
                return load_sample(self._samples[place]), place
            except UNREADABLE as error:
                if not self._may_skip(place, error):
                    self.faults.append(error)
                    raise
                place = (place + 1) % len(self._samples)
            except Exception as error:
                self.faults.append(error)
                raise

    def _may_skip(self, place: int, error: Exception) -> bool:
        """Counts an unreadable sample, and logs it the first time. Returns False if the limit is reached."""
        with self._lock:
            if place in self.skipped:
                return True
            limit = min(self._max_bad_files, len(self._samples) - 1)
            if len(self.skipped) >= limit:
                return False
            self.skipped[place] = str(error)
            logger.warning("skipped sample %d of at most %d: %s", len(self.skipped), self._max_bad_files, error)
            return True
