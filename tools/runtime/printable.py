"""Escapes what a terminal would obey or hide in text from files, archives and servers."""

from __future__ import annotations

import copy
import logging
import os
from typing import Any

_INVISIBLE_BUT_HARMLESS = "\u00a0\u3000"  # the no-break and the ideographic space


def printable(text: str, keep: str = "") -> str:
    r"""Replaces characters that a terminal does not simply show by escapes such as `\x1b`, `\u202e` and `\udcff`.

    These are control characters and what begins escape sequences, line ends, characters that change the direction of
    writing or have no width, and surrogates, which stand for bytes of file names that are not UTF-8.

    Args:
        text: any text.
        keep: characters that are kept, such as a line end.

    Returns:
        The text, unchanged if it was returned by this function.
    """
    if text.isprintable():
        return text
    harmless = _INVISIBLE_BUT_HARMLESS + keep
    return "".join(
        character
        if character.isprintable() or character in harmless
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )


def first_line(error: BaseException, longest: int = 300) -> str:
    """Returns the first line of the text of an error that is not empty; the error's class if there is none.

    Args:
        error: of another package, whose text may have many lines.
        longest: characters after which the line is cut off.
    """
    lines = (line.strip() for line in str(error).splitlines())
    return printable(next(filter(None, lines), type(error).__name__)[:longest])


def _printable_argument(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    return printable(str(value)) if isinstance(value, BaseException | os.PathLike) else value


class PrintableFormatter(logging.Formatter):
    """Formats log records so that all characters are printable.

    Line ends are kept in the text of the program and in tracebacks, and escaped in its arguments: a file name cannot
    begin a line that looks like another message.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Formats a copy of the record; other handlers get the original."""
        shown = copy.copy(record)
        if isinstance(record.args, tuple):
            shown.args = tuple(map(_printable_argument, record.args))
        elif record.args:
            shown.args = {name: _printable_argument(value) for name, value in record.args.items()}
        return printable(super().format(shown), keep="\n\t")
