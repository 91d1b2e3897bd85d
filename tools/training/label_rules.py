"""Rules for the labels of training and scoring, used by training and by the check of a dataset.

Each rule takes pixel counts and returns a fault as one line, or None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing

import numpy as np

from database.classes import IGNORE_LABEL
from database.color_masks import Color
from database.counts import number_of
from database.datasets import Dataset
from database.errors import ImageError
from database.images import has_palette, image_size, read_label_with_table
from database.layouts import Sample
from database.loading import check_same_size, label_path, unknown_id
from tools.runtime.background import read_ahead
from tools.runtime.progress import counted
from tools.training.index_colors import IndexColors
from tools.training.label_advice import advice_on_ids, shown_ids

_SHOWN_CLASSES = 5


def counts_by_id(ids: np.ndarray) -> dict[int, int]:
    """Counts the pixels of each id that occurs.

    Args:
        ids: integer [H, W], as stored in a label file.
    """
    if ids.dtype == np.uint8:  # several times faster than sorting
        counts = np.bincount(ids.ravel())
        return {file_id: int(counts[file_id]) for file_id in np.flatnonzero(counts).tolist()}
    values, counts = np.unique(ids, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def label_counts(sample: Sample) -> tuple[dict[int, int], list[Color]]:
    """Counts the pixels of each id in a label file, reads its colour table, and checks its size against the image's.

    Returns:
        The counts, and the colours of a palette image by index, see `images.read_label_with_table`.

    Raises:
        ImageError, TFRecordError: the label or the header of the image cannot be read, or their sizes differ.
        DatasetError: the sample has no label.
    """
    path, contents = label_path(sample), sample.contents()
    ids, table = read_label_with_table(path, contents.label, sample.colors)
    check_same_size(sample, image_size(sample.image, contents.image, sample.channels), ids.shape)
    return counts_by_id(ids), table


class LabelTally:
    """Pixel counts by id, summed over label files.

    Attributes:
        files: number of label files counted.
        first: sample of the first file, None before it.
        ids: pixel count by id.
        label_map: id in the files -> training id; 255 = ignored.
        classes: training ids of the classes that occur.
        unknown: path, id and pixel count of each id that is neither a class nor ignored.
        index_colors: colours of the class ids in palette images.
    """

    def __init__(self) -> None:
        """Starts with no files."""
        self.files = 0
        self.first: Sample | None = None
        self.ids: Counter[int] = Counter()
        self.label_map: dict[int, int] = {}
        self.classes: set[int] = set()
        self.unknown: list[tuple[str, int, int]] = []
        self.index_colors = IndexColors()

    def add(self, sample: Sample, counts: Mapping[int, int], table: Sequence[Color] = ()) -> None:
        """Adds the counts of one label file.

        Args:
            sample: of the file.
            counts: pixel count by id, see `counts_by_id`.
            table: colours of a palette image by index.
        """
        path = label_path(sample)
        of_classes = [i for i in counts if sample.label_map.get(i, IGNORE_LABEL) != IGNORE_LABEL]
        self.index_colors.add(path, {i: table[i] for i in of_classes if 0 <= i < len(table)})
        self.files += 1
        self.first = self.first or sample
        self.ids.update(counts)
        self.label_map.update(sample.label_map)
        self.classes |= {sample.label_map.get(file_id, IGNORE_LABEL) for file_id in counts} - {IGNORE_LABEL}
        self.unknown += [(path, i, pixels) for i, pixels in counts.items() if i not in sample.label_map]

    def merge(self, other: LabelTally) -> None:
        """Adds the counts of another tally."""
        self.files += other.files
        self.first = self.first or other.first
        self.ids.update(other.ids)
        self.label_map.update(other.label_map)
        self.classes |= other.classes
        self.unknown += other.unknown
        self.index_colors.merge(other.index_colors)

    @property
    def nothing_but_ignored(self) -> bool:
        """Whether files were counted, and all of their pixels are ignored."""
        return bool(self.files) and not self.classes and not self.unknown


def unknown_id_faults(tally: LabelTally, dataset: Dataset) -> list[str]:
    """Returns one line per file and unknown id; the first also describes what the ids look like."""
    lines = [str(unknown_id(*found)) for found in tally.unknown]
    if not lines:
        return []
    look = filter(None, [_advice(tally, dataset), _palette_note(tally, dataset)])
    return ["; ".join([lines[0], *look]), *lines[1:]]


def ignored_fault(tally: LabelTally) -> str | None:
    """Returns the fault of labels in which every pixel is ignored; None otherwise."""
    if tally.first is None or not tally.nothing_but_ignored:
        return None
    others = tally.files - 1
    more = f" and of {number_of(others, 'more label file')}" if others else ""
    return (
        f"{label_path(tally.first)}: every pixel of this{more or ' label file'} is ignored: check --data_dir, "
        "--label_map and --ignore_label"
    )


def missing_classes(tally: LabelTally, dataset: Dataset) -> frozenset[int]:
    """Returns the training ids of the dataset's classes that do not occur; empty if no class occurs at all."""
    return dataset.expected_classes - tally.classes if tally.classes else frozenset()


def missing_class_fault(
    tally: LabelTally, dataset: Dataset, allowed: bool = False, held_out: Collection[int] = ()
) -> str | None:
    """Returns the fault of training labels in which a class of the dataset does not occur; None otherwise.

    Also returns None if no class occurs at all, which `ignored_fault` or `unknown_id_faults` report.

    Args:
        tally: of all training labels, or of enough to contain all classes.
        dataset: of the labels.
        allowed: whether missing classes are allowed, so that the line is a warning.
        held_out: training ids of classes that occur in validation labels.
    """
    missing = sorted(missing_classes(tally, dataset))
    if not missing:
        return None
    named = [f"{train_id} ({dataset.class_names[train_id]})" for train_id in missing[:_SHOWN_CLASSES]]
    more = f" and {len(missing) - _SHOWN_CLASSES} more" if len(missing) > _SHOWN_CLASSES else ""
    subject = f"class {named[0]} occurs" if len(missing) == 1 else f"classes {', '.join(named)}{more} occur"
    only_held_out = sorted(set(held_out) & set(missing))
    if only_held_out:
        one = "it" if len(missing) == 1 else f"class {only_held_out[0]}"
        look = (
            f"the ids there are {shown_ids(tally.ids)}, and labels of val show {one}: move some of their images to the "
            "training images"
        )
    else:
        advice = _advice(tally, dataset) or f"the ids there are {shown_ids(tally.ids)}"
        look = "; ".join(filter(None, [advice, _palette_note(tally, dataset)]))
    end = (
        "training continues because of --allow_missing_classes 1"
        if allowed
        else "if the labels are right, add --allow_missing_classes 1"
    )
    images = "the training image" if tally.files == 1 else f"the {tally.files} training images"
    return f"{subject} in no label of {images}; {look}; {end}"


def _advice(tally: LabelTally, dataset: Dataset) -> str | None:
    """Describes what the ids look like; only for own data, which can have a label map."""
    return advice_on_ids(tally.ids, tally.label_map, dataset.num_classes) if dataset.name == "custom" else None


def _palette_note(tally: LabelTally, dataset: Dataset) -> str | None:
    """Returns a note that the ids of own data are the indices of palette images, not colours; None for other files."""
    if dataset.name != "custom" or tally.first is None:
        return None
    path = label_path(tally.first)
    try:
        is_indexed = has_palette(path, tally.first.contents().label)
    except ImageError:  # deleted since it was counted
        return None
    return f"{path} is a palette image, whose indices are the ids, not its colours" if is_indexed else None


def tally_labels(
    samples: Iterable[Sample],
    tally: LabelTally,
    *,
    enough: Callable[[LabelTally], bool],
    unreadable: tuple[type[Exception], ...],
    on_fault: Callable[[Exception], None],
    workers: int = 4,
) -> None:
    """Counts label files in the order of the samples, several in parallel.

    Args:
        samples: with labels.
        tally: receives the counts.
        enough: called after each file; reading ends when it returns True.
        unreadable: types of errors of unreadable files.
        on_fault: called with each such error, and the file is not counted; it may raise.
        workers: number of files read in parallel.

    Raises:
        DatasetError: a sample has no label.
    """

    def counts_or_fault(sample: Sample) -> tuple[Sample, tuple[dict[int, int], list[Color]] | Exception]:
        try:
            return sample, label_counts(sample)
        except unreadable as error:
            return sample, error

    with closing(read_ahead(counts_or_fault, samples, workers)) as results:  # type: ignore[type-var]
        for sample, found in results:
            if isinstance(found, Exception):
                on_fault(found)
                continue
            tally.add(sample, *found)
            if enough(tally):
                return


def tally_missing_classes(
    samples: Sequence[Sample],
    tally: LabelTally,
    expected: Collection[int],
    *,
    unreadable: tuple[type[Exception], ...],
    on_fault: Callable[[Exception], None],
    workers: int = 4,
) -> None:
    """Counts more label files, in random order and with progress, until every expected class has occurred.

    Also ends at an unknown id, because its file is rejected anyway.

    Args:
        samples: those that are not in the tally yet.
        tally: receives the counts.
        expected: training ids; if empty, one class of any kind is enough.
        unreadable, on_fault, workers: see `tally_labels`.
    """

    def enough(found: LabelTally) -> bool:
        return bool(found.unknown) or bool(found.classes and found.classes.issuperset(expected))

    if not samples or enough(tally):
        return
    order = np.random.default_rng(0).permutation(len(samples)).tolist()
    shown = counted((samples[place] for place in order), "looking for classes", len(samples), "img")
    with closing(shown) as mixed:  # type: ignore[type-var]
        tally_labels(mixed, tally, enough=enough, unreadable=unreadable, on_fault=on_fault, workers=workers)


def classes_held_out(
    samples: Sequence[Sample],
    missing: Collection[int],
    *,
    unreadable: tuple[type[Exception], ...],
    tally: LabelTally | None = None,
    workers: int = 4,
) -> set[int]:
    """Returns the training ids of the classes in validation labels, read until every missing class has occurred.

    Args:
        samples: for validation; those without a label are skipped.
        missing: training ids; if empty, nothing is read.
        unreadable: types of errors of unreadable files, which are skipped here and reported elsewhere.
        tally: of other validation labels; receives the counts.
        workers: number of files read in parallel.
    """
    if not missing:
        return set()
    seen = LabelTally() if tally is None else tally
    labelled = [sample for sample in samples if sample.label is not None]
    tally_missing_classes(labelled, seen, missing, unreadable=unreadable, on_fault=lambda _: None, workers=workers)
    return seen.classes
