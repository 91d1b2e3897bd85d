"""Finds faults of the labels: of single samples, and those for which training rejects the labels of splits."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from database.datasets import Dataset
from database.errors import DatasetError, ImageError
from database.layouts import Sample
from database.loading import unknown_id
from tools.check_dataset.report import Fault
from tools.check_dataset.statistics import SplitStatistics
from tools.training.index_colors import IndexColors
from tools.training.label_rules import (
    LabelTally,
    classes_held_out,
    ignored_fault,
    missing_class_fault,
    missing_classes,
    tally_missing_classes,
    unknown_id_faults,
)

logger = logging.getLogger(__name__)

_UNREADABLE = (ImageError, DatasetError)


@dataclass(frozen=True)
class CheckedSplits:
    """The splits of a dataset, of which some or all samples were checked.

    Attributes:
        dataset: its definition.
        samples: all samples, by split.
        checked: the checked samples, by split.
        statistics: of the checked samples, by split.
    """

    dataset: Dataset
    samples: Mapping[str, Sequence[Sample]]
    checked: Mapping[str, Sequence[Sample]]
    statistics: Mapping[str, SplitStatistics]


def sample_faults(split: str, dataset: Dataset, statistics: SplitStatistics) -> list[Fault]:
    """Returns the faults of single samples, in order; the first unknown id has a note on what the ids look like."""
    plain = [str(unknown_id(*found)) for found in statistics.tally.unknown]
    advised = dict(zip(plain, unknown_id_faults(statistics.tally, dataset), strict=True))
    return [
        Fault.of_sample(split, sample, line, advised.get(line, line).removeprefix(line))
        for sample, line in statistics.faults
    ]


def label_faults(
    splits: CheckedSplits, trained_on: tuple[str, ...] = ("train",), *, allow_missing_classes: bool = False
) -> list[Fault]:
    """Finds the faults for which training rejects the labels as a whole: only ignored pixels, and missing classes.

    If the checked samples lack classes, more labels are read until they occur.

    Args:
        splits: of the dataset.
        trained_on: splits that are trained on together.
        allow_missing_classes: whether a class that occurs in no training label is only logged as a warning.
    """
    roles: list[tuple[str, ...]] = [(split,) for split in splits.samples if split != "test" and split not in trained_on]
    if all(split in splits.samples for split in trained_on):
        roles.insert(0, trained_on)
    _warn_of_index_colors(splits.statistics.values())
    return [
        Fault(",".join(role), fault)
        for role in roles
        for fault in _faults_of_role(splits, role, role == trained_on, allow_missing_classes)
    ]


def _warn_of_index_colors(statistics: Iterable[SplitStatistics]) -> None:
    """Logs a warning about palette images with different colours for an index."""
    colors = IndexColors()
    for found in statistics:
        colors.merge(found.tally.index_colors)
    if colors.contradiction is not None:
        logger.warning("%s", colors.contradiction)


def _faults_of_role(
    splits: CheckedSplits, role: Sequence[str], is_trained_on: bool, allow_missing_classes: bool
) -> list[str]:
    """Returns the faults of `label_faults` of splits that are used together."""
    tally = LabelTally()
    for split in role:
        tally.merge(splits.statistics[split].tally)
    known, faults = len(tally.unknown), []
    images = {sample.image for split in role for sample in splits.checked[split]}
    others = [sample for split in role for sample in splits.samples[split] if sample.image not in images]
    others = [sample for sample in others if sample.label]
    tally_missing_classes(
        others,
        tally,
        splits.dataset.expected_classes if is_trained_on else (),
        unreadable=_UNREADABLE,
        on_fault=lambda error: faults.append(str(error)),
    )
    faults += [str(unknown_id(*found)) for found in tally.unknown[known:]]
    ignored = ignored_fault(tally)
    if ignored is not None:
        faults.append(ignored)
    was_cut_short = bool(others and tally.unknown)
    if is_trained_on and not was_cut_short:
        faults += _missing_class_faults(splits, tally, allow_missing_classes)
    return faults


def _missing_class_faults(splits: CheckedSplits, trained_on: LabelTally, allow_missing_classes: bool) -> list[str]:
    """Returns the fault of classes that occur in no training label; logs a warning instead if they may be missing."""
    held_out = _held_out_classes(splits, trained_on)
    missing = missing_class_fault(trained_on, splits.dataset, allowed=allow_missing_classes, held_out=held_out)
    if missing is None:
        return []
    if allow_missing_classes:
        logger.warning("%s", missing)
        return []
    return [missing]


def _held_out_classes(splits: CheckedSplits, trained_on: LabelTally) -> set[int]:
    """Returns the classes in the labels of val, if the training labels lack a class."""
    missing = missing_classes(trained_on, splits.dataset)
    if not missing or "val" not in splits.samples:
        return set()
    tally = LabelTally()
    tally.merge(splits.statistics["val"].tally)
    return classes_held_out(splits.samples["val"], missing, unreadable=_UNREADABLE, tally=tally)
