"""Reads label files before step 0, so that a wrong id stops a run at once and not after a day."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from database.classes import IGNORE_LABEL
from database.datasets import overlapping
from database.images import image_size, read_label
from database.layouts import Sample
from database.loading import check_same_size, label_path, unknown_id
from database.sample_loader import UNREADABLE

logger = logging.getLogger(__name__)

SAMPLE_SIZE = 64


class PreflightError(ValueError):
    """The label files cannot be trained on."""


def choose_samples(samples: Sequence[Sample], how: str) -> list[Sample]:
    """The samples to read: `all`, `none`, or `sample`: up to 64, spread evenly over the list."""
    counts = {"all": len(samples), "none": 0, "sample": min(SAMPLE_SIZE, len(samples))}
    positions = np.linspace(0, len(samples) - 1, counts[how]).round().astype(int)
    return [samples[position] for position in positions]


def _id_counts(sample: Sample) -> Counter[int]:
    """Pixels by id of one label file, whose size is checked against its image's."""
    path, contents = label_path(sample), sample.contents()
    ids = read_label(path, contents.label, sample.colors)
    check_same_size(sample, image_size(sample.image, contents.image), ids.shape)
    values, counts = np.unique(ids, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def check_disjoint(training: Sequence[Sample], held_out: Sequence[Sample]) -> None:
    """Scores of images that were trained on say nothing.

    Raises:
        PreflightError: an image is in both.
    """
    shared = overlapping(training, held_out)
    if shared:
        raise PreflightError(
            f"{shared[0]} and {len(shared) - 1} more validation images are among the training images: take them out "
            "of the training list, or add val to --subsets_for_training if that is meant"
        )


def check_labels(
    samples: Sequence[Sample],
    how: str,
    class_names: Sequence[str],
    *,
    title: str = "label ids",
    max_bad_files: int = 0,
    workers: int = 4,
) -> Counter[int]:
    """Reads label files and logs the histogram of their ids.

    Args:
        samples: with labels.
        how: `sample`, `all` or `none`.
        class_names: by training id.
        title: of the histogram.
        max_bad_files: files that may be unreadable.
        workers: files read at a time.

    Returns:
        Pixels by id.

    Raises:
        DatasetError: a sample has no label, or a file holds an id that is neither a class nor ignored.
        ImageError, TFRecordError: more files than that cannot be read, or have labels of another size than the image.
        PreflightError: no pixel of any file is of a class.
    """
    for sample in samples:
        label_path(sample)
    chosen = choose_samples(samples, how)
    total: Counter[int] = Counter()
    label_map: dict[int, int] = {}
    unknown: list[tuple[str, int, int]] = []
    for sample, counts in zip(chosen, _counts_of_all(chosen, max_bad_files, workers), strict=True):
        if counts is not None:
            total += counts
            label_map.update(sample.label_map)
            unknown += [(label_path(sample), i, n) for i, n in counts.items() if i not in sample.label_map]
    if chosen:
        logger.info("%s in %d of %d files:", title, len(chosen), len(samples))
    pixels = sum(total.values())
    for file_id, count in sorted(total.items()):
        logger.info("  id %3d  %6.2f%%  %s", file_id, 100 * count / pixels, _meaning(file_id, label_map, class_names))
    if unknown:
        raise unknown_id(*unknown[0])
    if total and all(label_map[file_id] == IGNORE_LABEL for file_id in total):
        raise PreflightError(
            f"{chosen[0].label}: every pixel of this and of {len(chosen) - 1} more label files is ignored: check "
            "--data_dir, --label_map and --ignore_label"
        )
    return total


def _counts_of_all(samples: Sequence[Sample], max_bad_files: int, workers: int) -> Iterator[Counter[int] | None]:
    """What `_id_counts` gives for each sample, None for one that cannot be read and may be so."""

    def counts_or_fault(sample: Sample) -> Counter[int] | Exception:
        try:
            return _id_counts(sample)
        except UNREADABLE as error:
            return error

    faults = 0
    with ThreadPoolExecutor(workers) as executor:
        for found in executor.map(counts_or_fault, samples):
            if isinstance(found, Exception):
                faults += 1
                if faults > max_bad_files:
                    raise found
                logger.warning("cannot be read: %s", found)
            yield None if isinstance(found, Exception) else found


def _meaning(file_id: int, label_map: dict[int, int], class_names: Sequence[str]) -> str:
    train_id = label_map.get(file_id)
    if train_id is None:
        return "UNKNOWN"
    return "ignored" if train_id == IGNORE_LABEL else class_names[train_id]
