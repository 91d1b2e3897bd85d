"""Samples from disk while others of them cannot be read: skipped and counted, up to a limit."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

import numpy as np

from database.errors import ImageError, TFRecordError
from database.images import all_rows
from database.layouts import Sample
from database.loading import load_first_rows

logger = logging.getLogger(__name__)

# What a damaged or vanished file raises. An id that is no class is a fault of the data's description, and stops.
UNREADABLE = (ImageError, TFRecordError)


class SampleLoader:
    """Loads samples by their place in a list, and in place of one that cannot be read the next that can.

    Threads may share it. Which sample stands in for another depends on what can be read alone, so that a run which
    resumes sees the same.

    Attributes:
        skipped: places of the samples that could not be read, and why, in the order in which they were met.
        faults: what stopped the loading, first first.
    """

    def __init__(self, samples: Sequence[Sample], max_bad_files: int = 0) -> None:
        """Takes the samples, with labels, and how many of them may be unreadable."""
        self.skipped: dict[int, str] = {}
        self.faults: list[Exception] = []
        self._samples = samples
        self._max_bad_files = max_bad_files
        self._lock = threading.Lock()

    def load(self, place: int) -> tuple[np.ndarray, np.ndarray, int]:
        """`(image, label, place)`: see `loading.load_sample`, and the place of the sample that it is.

        Raises:
            ImageError, TFRecordError: more samples than `max_bad_files` cannot be read, or none can.
            DatasetError: see `loading.load_sample`.
        """
        image, label, _, place = self.load_first_rows(place, all_rows)
        return image, label, place

    def load_first_rows(self, place: int, rows_of: Callable[[int], int]) -> tuple[np.ndarray, np.ndarray, int, int]:
        """`(image, label, height, place)`: see `loading.load_first_rows`, and `load`."""
        while True:
            try:
                return *load_first_rows(self._samples[place], rows_of), place
            except UNREADABLE as error:
                if not self._may_skip(place, error):
                    self.faults.append(error)
                    raise
                place = (place + 1) % len(self._samples)
            except Exception as error:
                self.faults.append(error)
                raise

    def _may_skip(self, place: int, error: Exception) -> bool:
        """Counts a sample that cannot be read, and says so the first time."""
        with self._lock:
            if place in self.skipped:
                return True
            limit = min(self._max_bad_files, len(self._samples) - 1)
            if len(self.skipped) >= limit:
                return False
            self.skipped[place] = str(error)
            logger.warning("skipped, %d of at most %d: %s", len(self.skipped), self._max_bad_files, error)
            return True
