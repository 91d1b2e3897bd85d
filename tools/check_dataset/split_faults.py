"""Finds the samples of each split, and faults between splits: missing splits, and images that two splits share."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence

from database.copies import copied_images, copies_fault
from database.datasets import Dataset, find_samples, overlapping, require_split
from database.errors import AbsentSplitError, DatasetError
from database.layouts import Sample
from tools.check_dataset.report import Fault

# Their images must not occur in any other split.
_HELD_OUT = ("val", "test")


def find_splits(
    dataset: Dataset, data_dir: str, needed: Collection[str] = ()
) -> tuple[dict[str, list[Sample]], dict[str, AbsentSplitError], list[Fault]]:
    """Finds the samples of each split, the reasons why other splits are absent, and faults of the file names.

    Args:
        dataset: its definition.
        data_dir: its folder.
        needed: splits whose absence is a fault.

    Raises:
        DatasetError: the folder does not exist, or has nothing of the dataset; the dataset does not define a needed
            split.
    """
    for split in needed:
        require_split(dataset, split)
    found: dict[str, list[Sample]] = {}
    absent: dict[str, AbsentSplitError] = {}
    faults: list[Fault] = []
    for split in dataset.splits:
        try:
            found[split] = find_samples(dataset, data_dir, [split])
        except AbsentSplitError as error:
            absent[split] = error
        except DatasetError as error:
            if not os.path.isdir(data_dir):
                raise
            faults.append(Fault(split, str(error)))
    if not found and not faults:
        reasons = [absent[split] for split in dataset.splits if split in needed] or list(absent.values())[:1]
        raise _nothing_found(dataset, data_dir, reasons)
    for split in dataset.splits:
        if split in absent and split in needed:
            rejected = "" if split == "test" else "; train.py rejects the data without this split"
            faults.append(Fault(split, f"{absent.pop(split)}{rejected}"))
    return found, absent, faults


def _nothing_found(dataset: Dataset, data_dir: str, reasons: Sequence[AbsentSplitError]) -> DatasetError:
    """Returns the error to raise for a folder without any split: what to do if it is known, otherwise the reasons."""
    nothing = f"--data_dir {data_dir}: found no files of {dataset.name}, expected {dataset.layout}"
    if reasons and reasons[0].advice:
        return DatasetError(nothing + "".join(dict.fromkeys(reason.advice for reason in reasons)))
    return DatasetError("; ".join([nothing, *map(str, reasons)]))


def overlap_faults(splits: Mapping[str, Sequence[Sample]], trained_on: Collection[str] = ()) -> list[Fault]:
    """Finds images of a held-out split that also occur in another split; a split of the training is not held out."""
    return [
        Fault(split, f"{image}: this image is also in {other}", f"also in {other}")
        for split, other in _held_out_pairs(splits, trained_on)
        for image in overlapping(splits[other], splits[split])
    ]


def copy_faults(splits: Mapping[str, Sequence[Sample]], trained_on: Collection[str] = ()) -> list[Fault]:
    """Finds copies of the same image in a held-out split and another; one fault for each pair of splits."""
    return [
        Fault(split, copies_fault(pairs, split, other))
        for split, other in _held_out_pairs(splits, trained_on)
        if (pairs := copied_images(splits[other], splits[split]))
    ]


def _held_out_pairs(splits: Collection[str], trained_on: Collection[str]) -> list[tuple[str, str]]:
    return [
        (split, other)
        for split in _HELD_OUT
        if split not in trained_on
        for other in splits
        if split in splits and other not in _HELD_OUT[: _HELD_OUT.index(split) + 1]
    ]
