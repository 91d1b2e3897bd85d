"""Parses the text of flags into numbers, lists and paths, and formats values; ValueErrors name the expected form."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from database.path_spellings import path_as_given
from model.choices import ALL_FROZEN, ENCODER_PARTS


def switch(text: str) -> bool:
    """Parses 0 or 1."""
    if text not in ("0", "1"):
        raise ValueError("0 or 1")
    return text == "1"


def switch_or_two(text: str) -> bool | int:
    """Parses 0, 1 or 2, for a switch with a second way to be on; 0 and 1 are those of `switch`."""
    if text == "2":
        return 2
    try:
        return switch(text)
    except ValueError as error:
        raise ValueError("0, 1 or 2") from error


def switch_or_all(text: str) -> bool | str:
    """Parses 0, 1 or all, for a switch with a second way to be on; 0 and 1 are those of `switch`."""
    if text == ALL_FROZEN:
        return text
    try:
        return switch(text)
    except ValueError as error:
        raise ValueError(f"0, 1 or {ALL_FROZEN}") from error


# The parse functions of flags that may stand without a value.
SWITCHES = (switch, switch_or_two, switch_or_all)


def whole_number(text: str) -> int:
    """Parses a whole number; rejects underscores, which Python accepts (1_00 is 100) and other programs do not."""
    try:
        return int(_without_underscores(text))
    except ValueError as error:
        raise ValueError("a whole number") from error


def number(text: str) -> float:
    """Parses a number in Python's notation, without underscores."""
    try:
        return float(_without_underscores(text))
    except ValueError as error:
        raise ValueError("a number") from error


def _without_underscores(text: str) -> str:
    if "_" in text:
        raise ValueError(text)
    return text


def _numbers(text: str, kind: Callable[[str], Any], expected: str) -> tuple[Any, ...]:
    """Parses numbers separated by commas; raises ValueError with the expected form."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(expected) from error


def whole_numbers(text: str) -> tuple[int, ...]:
    """Parses whole numbers above 0, separated by commas."""
    expected = "whole numbers above 0, separated by commas"
    numbers = _numbers(text, whole_number, expected)
    if min(numbers) < 1:
        raise ValueError(expected)
    return numbers


def numbers_above_zero(text: str) -> tuple[float, ...]:
    """Parses numbers above 0, separated by commas."""
    expected = "numbers above 0, separated by commas"
    numbers = _numbers(text, number, expected)
    if not min(numbers) > 0:
        raise ValueError(expected)
    return numbers


def rising_steps(text: str) -> tuple[int, ...]:
    """Parses increasing step numbers above 0, separated by commas."""
    expected = "steps above 0 that rise, separated by commas"
    steps = _numbers(text, whole_number, expected)
    if any(step <= before for before, step in zip((0, *steps), steps, strict=False)):
        raise ValueError(expected)
    return steps


def step_or_latest(text: str) -> int | str:
    """Parses a step, 0 or above, or `latest`."""
    if text != "latest" and not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError("a step, 0 or above, or latest")
    return text if text == "latest" else int(text)


def comma_separated(text: str) -> tuple[str, ...]:
    """Parses one or more names, separated by commas."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise ValueError("one or more names, separated by commas")
    return names


def encoder_parts(text: str) -> tuple[str, ...]:
    """Parses names of `choices.ENCODER_PARTS`, separated by commas, or `encoder` for all; returns them in order."""
    names = {part.strip() for part in text.split(",") if part.strip()}
    if names == {"encoder"}:
        return ENCODER_PARTS
    if not names or not names.issubset(ENCODER_PARTS):
        raise ValueError(f"encoder, or names of {', '.join(ENCODER_PARTS)}, separated by commas")
    return tuple(part for part in ENCODER_PARTS if part in names)


def file_path(text: str) -> str:
    """Parses the path of a file or folder, see `database.path_spellings.path_as_given`."""
    return path_as_given(text)


def file_paths(text: str) -> tuple[str, ...]:
    """Parses the paths of files or folders, separated by commas; see `file_path`."""
    return tuple(file_path(part) for part in text.split(","))


def class_count(text: str) -> int:
    """Parses a number of classes, 2 or more."""
    count = whole_number(text)
    if count < 2:
        raise ValueError(
            "2 or more: what is around the objects is a class of its own, so that objects of one kind are 2 classes, "
            "ids 0 and 1 in the label files"
        )
    return count


def ignored_id(text: str) -> int:
    """Parses an id in label files, 0 or above."""
    label_id = whole_number(text)
    if label_id < 0:
        raise ValueError(
            f"an id of a label file, 0 or above: its pixels have no sign and hold {label_id} as {label_id % 256}"
            + (", which is ignored without this flag: drop it" if label_id == -1 else "")
        )
    return label_id


def mean_color(text: str) -> tuple[float, float, float]:
    """Parses red, green and blue in 0..255, separated by commas; rejects fractions of 1 and suggests a scaled mean."""
    expected = "three numbers in 0..255, separated by commas"
    values = _numbers(text, number, expected)
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise ValueError(expected)
    if 0 < max(values) <= 1:
        scaled = ",".join(f"{255 * value:g}" for value in values)
        raise ValueError(f"a mean of pixels in 0..255 but of fractions in 0..1: give {scaled}")
    return values[0], values[1], values[2]


def channel_numbers(text: str) -> tuple[float, ...]:
    """Parses a finite number per channel, separated by commas."""
    expected = "finite numbers separated by commas, one per channel"
    values = _numbers(text, number, expected)
    if not all(math.isfinite(value) for value in values):
        raise ValueError(expected)
    return values


def channel_deviations(text: str) -> tuple[float, ...]:
    """Parses a number above 0 per channel, separated by commas."""
    values = channel_numbers(text)
    if min(values) <= 0:
        raise ValueError("numbers above 0, one per channel; a channel of deviation 0 shows nothing")
    return values


def shown_value(value: Any) -> str:
    """Formats a flag's value as on a command line; a list is a tuple that was read from JSON."""
    if isinstance(value, bool):
        return str(int(value))
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
