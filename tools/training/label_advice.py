"""Recognizes common encodings of label files that do not match the flags, and suggests flags for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from database.classes import IGNORE_LABEL
from database.label_maps import MOST_FILE_ID

_SHOWN_IDS = 12
_SHOWN_LINES = 6

_MOST_LEVELS = 8  # number of grey levels that may each be a class
_MANY_IDS = 20  # above the number of classes
_SMOOTHED_LEVELS = 3  # number of ids between the classes and 255


@dataclass(frozen=True)
class _Ids:
    """The ids in label files: all of them, and those that are not ignored; the number of classes."""

    found: Sequence[int]
    counted: Sequence[int]
    num_classes: int
    is_identity: bool  # the ids in the files are used as training ids

    @property
    def some_are_no_class(self) -> bool:
        return len(self.counted) < len(self.found) or any(i >= self.num_classes for i in self.counted)


def shown_ids(ids: Collection[int]) -> str:
    """Formats ids: `0, 1 and 255`, `0 to 18 and 255`; only the first ones if there are many."""
    pieces: list[str] = []
    runs: list[list[int]] = []
    for file_id in sorted(ids):
        if runs and file_id == runs[-1][-1] + 1:
            runs[-1].append(file_id)
        else:
            runs.append([file_id])
    for run in runs:
        pieces += [f"{run[0]} to {run[-1]}"] if len(run) > 3 else map(str, run)
    if len(pieces) > _SHOWN_IDS:
        pieces = [*pieces[:_SHOWN_IDS], f"{len(pieces) - _SHOWN_IDS} more"]
    return " and ".join(filter(None, [", ".join(pieces[:-1]), *pieces[-1:]]))


def advice_on_ids(ids: Collection[int], label_map: Mapping[int, int], num_classes: int) -> str | None:
    """Describes what the ids of own data look like and suggests flags; None if the encoding is not recognized.

    Args:
        ids: that occur in the label files.
        label_map: id in the files -> training id, 255 ignored; absent ids are unknown.
        num_classes: number of classes.
    """
    found = sorted(ids)
    looked_at = _Ids(
        found,
        [file_id for file_id in found if label_map.get(file_id) != IGNORE_LABEL],
        num_classes,
        all(label_map.get(train_id) == train_id for train_id in range(num_classes)),
    )
    return next((text for recognize in _RECOGNIZERS if (text := recognize(looked_at)) is not None), None)


def _map_lines(file_ids: Sequence[int], ignored: Sequence[int] = ()) -> str:
    """Formats the lines of a label map that maps ids to the training ids 0, 1, 2 and so on."""
    lines = [f"'{file_id} ignore'" for file_id in ignored]
    lines += [f"'{file_id} {train_id}'" for train_id, file_id in enumerate(file_ids)]
    if len(lines) > _SHOWN_LINES:
        lines = [*lines[: _SHOWN_LINES - 2], "...", lines[-1]]
    return f"--label_map with a file of the lines {', '.join(lines)}"


def _beyond_label_maps(ids: _Ids) -> str | None:
    """Recognizes ids outside the range of label maps."""
    outside = [file_id for file_id in ids.found if not 0 <= file_id <= MOST_FILE_ID]
    if not outside:
        return None
    return (
        f"the ids are {shown_ids(ids.found)}, and those of label maps are 0 to {MOST_FILE_ID}: do yours number "
        "instances or segments (as COCO's panoptic ids R + 256 G + 65536 B do)? Save the ids of their classes instead"
    )


def _beginning_at_one(ids: _Ids) -> str | None:
    """Recognizes ids from 1 to N of N classes, or a subset of them."""
    classes = range(1, ids.num_classes + 1)
    if not (ids.is_identity and set(ids.counted) <= set(classes) and 0 not in ids.found):
        return None
    if len(ids.counted) < 2:  # may also be a mask of two values, see `_as_many_as_classes`
        return None
    return (
        f"the ids are {shown_ids(ids.found)}, and those of {ids.num_classes} classes are 0 to {ids.num_classes - 1}: "
        f"do yours begin at 1? Give {_map_lines(classes)}"
    )


def _with_a_background(ids: _Ids) -> str | None:
    """Recognizes ids 0 to N of N classes."""
    if not ids.is_identity or list(ids.counted) != list(range(ids.num_classes + 1)):
        return None
    classes = range(1, ids.num_classes + 1)
    return (
        f"the ids are {shown_ids(ids.found)}, one more than there are classes: is 0 one of them? Give --num_classes "
        f"{ids.num_classes + 1}; otherwise --reduce_zero_label 1, or {_map_lines(classes, ignored=[0])}"
    )


def _as_many_as_classes(ids: _Ids) -> str | None:
    """Recognizes as many ids as classes, such as 0 and 255 of a binary mask, if some are ignored or unknown."""
    if len(ids.found) != ids.num_classes or not ids.some_are_no_class:
        return None
    ignored = sorted(set(ids.found) - set(ids.counted))
    question = "is each of them a class?"
    if ids.num_classes == 2 and ignored:
        place = "second" if ignored[0] == ids.found[1] else "first"
        question = f"is {ignored[0]} your {place} class?"
    text = f"the ids are {shown_ids(ids.found)} only: {question} Give {_map_lines(ids.found)}"
    if ignored:
        text += f", without --ignore_label {ignored[0]}"
    fewer = len(ids.counted)
    if fewer >= 2 and list(ids.counted) == list(range(fewer)):
        text += f"; if {shown_ids(ignored)} is to be ignored, give --num_classes {fewer}"
    return text


def _grey_levels(ids: _Ids) -> str | None:
    """Recognizes evenly spaced greys from black to white, such as 0, 128 and 255."""
    steps = len(ids.found) - 1
    is_even = 2 <= steps < _MOST_LEVELS and all(
        abs(file_id - 255 * place / steps) < 1 for place, file_id in enumerate(ids.found)
    )
    if not (ids.is_identity and is_even):
        return None
    shown = f"the ids are {shown_ids(ids.found)}, {steps + 1} greys from black to white"
    if steps == ids.num_classes == 2:
        black, middle, white = ids.found
        return (
            f"{shown}: is {middle} a border to be ignored? Give {_map_lines([black, white], ignored=[middle])}; if "
            "each of them is a class, give --num_classes 3"
        )
    return f"{shown}: is each of them a class? Give --num_classes {steps + 1} and {_map_lines(ids.found)}"


def _between_the_classes(ids: _Ids) -> str | None:
    """Recognizes the ids that smoothed edges, interpolation or lossy compression leave: many, or between 0 and 255."""
    between = [file_id for file_id in ids.found if ids.num_classes <= file_id < 255]
    is_smoothed = {0, 255} <= set(ids.found) and len(between) >= _SMOOTHED_LEVELS
    if not ids.is_identity or not (is_smoothed or len(ids.found) >= ids.num_classes + _MANY_IDS):
        return None
    return (
        f"the ids are {shown_ids(ids.found)}: {len(ids.found)} of them, and there are {ids.num_classes} classes: were "
        "the masks resized with interpolation, smoothed along edges, or saved with loss? Resize them by nearest "
        "neighbours and export them without smoothing, or ignore the edges with the --label_map "
        "of 'Smoothed edges' in docs/own-data.md"
    )


def _fewer_than_classes(ids: _Ids) -> str | None:
    """Recognizes ids 0 to M - 1 of N classes, M < N."""
    fewer = len(ids.counted)
    if not ids.is_identity or fewer >= ids.num_classes or list(ids.counted) != list(range(fewer)):
        return None
    if fewer < 2:
        return f"the ids are {shown_ids(ids.found)} only: are these the label files?"
    return f"the ids are {shown_ids(ids.found)}: are there {fewer} classes? Give --num_classes {fewer}"


# In order of precedence.
_RECOGNIZERS: tuple[Callable[[_Ids], str | None], ...] = (
    _beyond_label_maps,
    _beginning_at_one,
    _with_a_background,
    _as_many_as_classes,
    _grey_levels,
    _between_the_classes,
    _fewer_than_classes,
)
