"""Counts the pixels of each class in each label."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from database.classes import IGNORE_LABEL
from database.layouts import Sample
from database.loading import load_label
from database.sample_loader import UNREADABLE
from tools.runtime.progress import counted

_WORKERS = 4


def count_classes(samples: Sequence[Sample], num_classes: int, title: str, max_bad_files: int = 0) -> np.ndarray:
    """Counts the pixels of each class in each label.

    Args:
        samples: with labels, all of which are read.
        num_classes: of the dataset.
        title: of the progress bar.
        max_bad_files: number of labels that may be unreadable; they count as empty.

    Returns:
        int64 [N, num_classes].

    Raises:
        DatasetError, ImageError, TFRecordError: see `database.loading.load_label`.
    """

    def counts(sample: Sample) -> np.ndarray | Exception:
        try:
            label = load_label(sample)
        except UNREADABLE as error:
            return error
        return np.bincount(label[label != IGNORE_LABEL], minlength=num_classes)

    rows, unreadable = np.zeros((len(samples), num_classes), np.int64), 0
    with ThreadPoolExecutor(_WORKERS) as executor:
        for number, found in enumerate(counted(executor.map(counts, samples), title, len(samples), "img")):
            if isinstance(found, Exception):
                unreadable += 1
                if unreadable > max_bad_files:
                    raise found
            else:
                rows[number] = found
    return rows
