"""Sizes of crops and windows: one number for a square, or height x width such as 360x480."""

from __future__ import annotations

import re
from typing import TypeAlias

from tools.flags.limits import LARGEST_SIDE, SMALLEST_SIDE
from tools.flags.values import whole_number

# Pixels. A square is its side, and a rectangle is the text "<height>x<width>", so that each size has one value, which
# reads the same on a command line, in JSON and in names of files.
Size: TypeAlias = int | str

_TWO_SIDES = re.compile(r"([0-9]{1,9})[xX]([0-9]{1,9})", re.ASCII)
# Other spellings of two sides, such as 360,480 or [360 × 480].
_LIKE_TWO_SIDES = re.compile(r"[(\[]?([0-9]{1,9})\s{0,2}[xX×✕*,;:/|\s]\s{0,2}([0-9]{1,9})[)\]]?")

_EXPECTED = f"a size of {SMALLEST_SIDE} to {LARGEST_SIDE}, such as 480 or 360x480 (height x width)"


def size_of(height: int, width: int) -> Size:
    """Returns the size of a height and a width."""
    return height if height == width else f"{height}x{width}"


def sides(size: Size) -> tuple[int, int]:
    """Returns height and width of a size.

    Raises:
        ValueError: a text is not "<height>x<width>".
    """
    if isinstance(size, int):
        return size, size
    pair = _two_sides(_TWO_SIDES, size)
    if pair is None:
        raise ValueError(f"size {size!r}: expected a text such as 360x480; pass a number for a square")
    return pair


def in_words(size: Size) -> str:
    """Formats a size with both sides, such as 480x480."""
    height, width = sides(size)
    return f"{height}x{width}"


def crop_size(text: str) -> Size:
    """Parses a size; raises ValueError with the expected form, and with a suggestion for other spellings."""
    return _parsed(text, _EXPECTED)


def crop_sizes(text: str) -> tuple[Size, ...]:
    """Parses one or more sizes, separated by commas."""
    try:
        return tuple(map(crop_size, text.split(",")))
    except ValueError as error:
        raise ValueError(f"sizes separated by commas, each {_EXPECTED}") from error


def window_size(text: str) -> Size:
    """Parses a size as `crop_size`, or 0."""
    return 0 if _one_side(text) == (0, 0) else _parsed(text, f"{_EXPECTED}, or 0 for whole images")


def is_size(value: object) -> bool:
    """Returns whether a value is one that `crop_size` returns."""
    try:
        return type(value) in (int, str) and crop_size(str(value)) == value
    except ValueError:
        return False


def _parsed(text: str, expected: str) -> Size:
    found = _one_side(text) or _two_sides(_TWO_SIDES, text)
    if found is not None and _is_in_range(found):
        return size_of(*found)
    meant = _two_sides(_LIKE_TWO_SIDES, text)
    if found is None and meant is not None and _is_in_range(meant):
        expected += ": did you mean {}x{}?".format(*meant)
    raise ValueError(expected)


def _one_side(text: str) -> tuple[int, int] | None:
    try:
        side = whole_number(text)
    except ValueError:
        return None
    return side, side


def _two_sides(pattern: re.Pattern[str], text: str) -> tuple[int, int] | None:
    found = pattern.fullmatch(text)
    return None if found is None else (int(found[1]), int(found[2]))


def _is_in_range(pair: tuple[int, int]) -> bool:
    return min(pair) >= SMALLEST_SIDE and max(pair) <= LARGEST_SIDE
