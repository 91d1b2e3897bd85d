"""Checks label files before step 0, so that a wrong id stops a run at once and not after a day."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from database.classes import IGNORE_LABEL
from database.copies import copied_images, copies_fault
from database.counts import and_of
from database.datasets import Dataset, overlapping
from database.errors import DatasetError
from database.layouts import Sample
from database.loading import label_path
from database.sample_loader import UNREADABLE
from tools.errors import PreflightError
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder
from tools.runs.record import ModelRecord
from tools.training.label_rules import (
    LabelTally,
    classes_held_out,
    ignored_fault,
    missing_class_fault,
    missing_classes,
    tally_labels,
    tally_missing_classes,
    unknown_id_faults,
)

logger = logging.getLogger(__name__)

SAMPLE_SIZE = 64


def choose_samples(samples: Sequence[Sample], how: str) -> list[Sample]:
    """Returns the samples to read: `all`, `none`, or `sample`: up to 64, evenly spaced in the list."""
    counts = {"all": len(samples), "none": 0, "sample": min(SAMPLE_SIZE, len(samples))}
    positions = np.linspace(0, len(samples) - 1, counts[how]).round().astype(int)
    return [samples[position] for position in positions]


def check_training_data(
    config: TrainConfig, dataset: Dataset, samples: Sequence[Sample], held_out: Sequence[Sample], folder: RunFolder
) -> None:
    """Checks everything about the data of a run that can be checked before the graph is built.

    Args:
        config: flags.
        dataset: described by the flags.
        samples: of the training splits.
        held_out: of the validation split; labels are checked only of samples that have one.
        folder: of the run, which may be resumed.

    Raises:
        PreflightError: see `check_disjoint` and `check_training_labels`.
        DatasetError, ImageError, TFRecordError: see `check_labels`.
    """
    if "val" not in config.subsets_for_training:
        check_disjoint(samples, held_out)
        _warn_of_copies(samples, held_out, ",".join(config.subsets_for_training))
    if config.check_data == "none":
        logger.warning("--check_data none: labels are not checked before step 0, so an unknown id stops the run later")
        return
    check_training_labels(
        samples,
        config.check_data,
        dataset,
        max_bad_files=config.max_bad_files,
        allow_missing_classes=_may_lack_classes(config, folder),
        held_out=held_out,
    )
    labelled = [sample for sample in held_out if sample.label is not None]
    check_labels(labelled, config.check_data, dataset, title="validation")


def _may_lack_classes(config: TrainConfig, folder: RunFolder) -> bool:
    """Returns whether the flag allows missing classes, or the resumed run's did: its data have not changed since."""
    continues = config.auto_resume or config.resume_step is not None
    record = ModelRecord.read(folder.snapshots) if continues else None
    # Runs older than the flag have no entry for it.
    return config.allow_missing_classes or (record is not None and record.flags.get("allow_missing_classes", True))


def check_disjoint(training: Sequence[Sample], held_out: Sequence[Sample]) -> None:
    """Checks that no validation image is a training image, because its score would be meaningless.

    Raises:
        PreflightError: an image is in both.
    """
    shared = overlapping(training, held_out)
    if shared:
        others = and_of(len(shared) - 1, "validation image")
        more = f"{others} are" if others else ", a validation image, is"
        raise PreflightError(
            f"{shared[0]}{more} among the training images: remove them from the training list, or add val to "
            "--subsets_for_training to train on them"
        )


def _warn_of_copies(training: Sequence[Sample], held_out: Sequence[Sample], splits: str) -> None:
    """Warns about validation images that are copies of training images; public datasets contain such pairs."""
    pairs = copied_images(training, held_out)
    if pairs:
        logger.warning("%s", copies_fault(pairs, "val", splits))


class _UnreadableFiles:
    """Counts unreadable files up to a limit."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def count(self, error: Exception) -> None:
        """Counts a file; raises its error if the limit is exceeded."""
        if self._left == 0:
            raise error
        self._left -= 1
        logger.warning("skipped: %s", error)


def check_labels(
    samples: Sequence[Sample], how: str, dataset: Dataset, *, title: str = "training", max_bad_files: int = 0
) -> Counter[int]:
    """Reads label files, checks their ids, and logs in one line how many classes occur.

    If no pixel of the chosen files belongs to a class, more files are read.

    Args:
        samples: with labels.
        how: `sample`, `all` or `none`.
        dataset: of the samples.
        title: name of the split in the log.
        max_bad_files: number of files that may be unreadable.

    Returns:
        Pixel count by id, of the files that were read.

    Raises:
        DatasetError: a sample has no label, or a file has an id that is neither a class nor ignored.
        ImageError, TFRecordError: more than `max_bad_files` files cannot be read or differ in size from their image.
        PreflightError: no pixel of any file belongs to a class.
    """
    return _checked_labels(samples, how, dataset, frozenset(), title, max_bad_files).ids


def check_training_labels(
    samples: Sequence[Sample],
    how: str,
    dataset: Dataset,
    *,
    max_bad_files: int = 0,
    allow_missing_classes: bool = False,
    held_out: Sequence[Sample] = (),
) -> Counter[int]:
    """Checks labels like `check_labels`, and that every class of the dataset occurs.

    If the chosen files lack a class, more files are read until it occurs.

    Args:
        samples, how, dataset, max_bad_files: see `check_labels`.
        allow_missing_classes: whether missing classes are logged as a warning instead of rejected.
        held_out: samples for validation, read for the error message if classes are missing.

    Returns:
        Pixel count by id, of the files that were read.

    Raises:
        PreflightError: a class of the dataset occurs in no file.
        Any error of `check_labels`.
    """
    tally = _checked_labels(samples, how, dataset, dataset.expected_classes, "training", max_bad_files)
    _check_all_classes(tally, dataset, allow_missing_classes, held_out)
    return tally.ids


def _checked_labels(
    samples: Sequence[Sample],
    how: str,
    dataset: Dataset,
    expected: Collection[int],
    title: str,
    max_bad_files: int,
) -> LabelTally:
    for sample in samples:
        label_path(sample)
    tally = _read_labels(samples, choose_samples(samples, how), dataset, expected, max_bad_files)
    if tally.files:
        logger.info("labels: %s", _summary(tally, dataset, title, len(samples)))
    if tally.index_colors.contradiction is not None:
        logger.warning("%s", tally.index_colors.contradiction)
    fault = ignored_fault(tally)
    if fault is not None:
        raise PreflightError(fault)
    return tally


def _read_labels(
    samples: Sequence[Sample],
    chosen: Sequence[Sample],
    dataset: Dataset,
    expected: Collection[int],
    max_bad_files: int,
) -> LabelTally:
    """Counts the chosen files, then others in random order until every expected class occurs."""
    tally, unreadable = LabelTally(), _UnreadableFiles(max_bad_files)
    reading: dict[str, Any] = {"unreadable": UNREADABLE, "on_fault": unreadable.count}
    tally_labels(chosen, tally, enough=lambda _: False, **reading)
    _refuse_unknown(tally, dataset)
    if chosen and not (tally.classes and tally.classes.issuperset(expected)):
        seen = {id(sample) for sample in chosen}
        others = [sample for sample in samples if id(sample) not in seen]
        tally_missing_classes(others, tally, expected, **reading)
        _refuse_unknown(tally, dataset)
    return tally


def _refuse_unknown(tally: LabelTally, dataset: Dataset) -> None:
    faults = unknown_id_faults(tally, dataset)
    if faults:
        raise DatasetError(faults[0])


def _check_all_classes(tally: LabelTally, dataset: Dataset, allow_missing: bool, held_out: Sequence[Sample]) -> None:
    """Checks that every class of the dataset occurs; logs a warning if missing classes are allowed."""
    # Validation labels are read only for the error message: on large datasets this takes minutes.
    missing = frozenset[int]() if allow_missing else missing_classes(tally, dataset)
    elsewhere = classes_held_out(held_out, missing, unreadable=(DatasetError, *UNREADABLE))
    fault = missing_class_fault(tally, dataset, allowed=allow_missing, held_out=elsewhere)
    if fault is not None and not allow_missing:
        raise PreflightError(fault)
    if fault is not None:
        logger.warning("%s", fault)


def _summary(tally: LabelTally, dataset: Dataset, title: str, of: int) -> str:
    """Returns a line with the numbers of files and classes; tools.check_dataset counts the pixels of each class."""
    ignored = sum(count for i, count in tally.ids.items() if tally.label_map[i] == IGNORE_LABEL)
    share = ignored / sum(tally.ids.values())
    expected = dataset.expected_classes
    return (
        f"{tally.files} of {of} {title} files checked; {len(tally.classes & expected)} of {len(expected)} expected "
        f"classes occur, {share:.1%} of the pixels are ignored"
    )
