"""Recognizes what a faulty palette file looks like, and advises: ends of messages, empty if nothing is known."""

from __future__ import annotations

import re
from collections.abc import Sequence

from database.text_files import is_comment, numbered_lines, text_lines

_HEXADECIMAL = re.compile("#([0-9A-Fa-f]{2})([0-9A-Fa-f]{2})([0-9A-Fa-f]{2})(?![0-9A-Fa-f])")
_IDS_OF_IGNORED = (255,)
_LONGEST_SHOWN = 60


def ids_hint(text: str) -> str:
    """Advises on a file of lines `id R G B name`, whose numbers would be read as R G B and a name.

    A file is of this kind if every line begins with four numbers, the first of which count up from 0 or 1; 255, a
    common id of ignored pixels, is allowed too. A single class whose name begins with a number is not enough.
    """
    ids = [_id_of(line) for _, line in text_lines(text)]
    counted = [value for value in ids if value not in _IDS_OF_IGNORED]
    if len(counted) < 2 or not _count_up(counted):
        return ""
    return (
        "the lines look like 'id R G B name', expected 'R G B name' with the classes in the order of their ids: remove "
        r"the first column, e.g. by sed -E 's/^\s*[0-9]+\s+//'"
    )


def hexadecimal_hint(text: str) -> str:
    """Advises on the first colour that is read as a comment because it is written as #RRGGBB."""
    for number, line in numbered_lines(text):
        found = _HEXADECIMAL.match(line)
        if found and is_comment(line):
            shown = line[:_LONGEST_SHOWN]
            color = " ".join(str(int(part, 16)) for part in found.groups())
            return (
                f"; lines that begin with # are comments, so line {number}, '{shown}', is ignored: write its colour as "
                f"'{color}', without #"
            )
    return ""


def _id_of(line: str) -> int | None:
    """Returns the first of four numbers at the beginning of a line; None if there are not four."""
    numbers = line.split(None, 4)[:4]
    is_four = len(numbers) == 4 and all(number.isdecimal() and len(number) <= 3 for number in numbers)
    return int(numbers[0]) if is_four else None


def _count_up(ids: Sequence[int | None]) -> bool:
    return list(ids) in (list(range(len(ids))), list(range(1, len(ids) + 1)))
