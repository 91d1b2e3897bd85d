"""Reads the text files that users write, with one rule for encodings, line ends and comments."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from database.errors import TextFileError
from database.regular_files import read_regular_file

# UTF-32 comes first, because its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_EXPECTED = "expected UTF-8, or UTF-16 with a byte-order mark: save the file as UTF-8"


def read_text(path: str) -> str:
    r"""Reads a text file in UTF-8, with or without a byte-order mark, or in UTF-16 with one.

    Returns:
      The text without the mark; lines end with \n, whether the file has \n, \r\n or \r.

    Raises:
      OSError: the path cannot be opened, is not a regular file, or is too large for a text file.
      TextFileError: the file is in another encoding, or has NUL characters; the message names the file, the line and
        the byte.
    """
    content = read_regular_file(path)
    mark, encoding = next((known for known in _MARKS if content.startswith(known[0])), (b"", "utf-8"))
    if encoding == "utf-32":
        raise TextFileError(path, f"line 1, byte 1: found UTF-32, {_EXPECTED}")
    body = content[len(mark) :]
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        before = body[: error.start].decode(encoding)
        name = encoding[:-3] if mark and encoding != "utf-8" else encoding
        fault = f"0x{body[error.start]:02X} is not {name.upper()}, {_EXPECTED}"
        raise TextFileError(path, f"{_place(before, len(mark) + error.start)}: {fault}") from error
    if "\0" in text:
        before = text[: text.index("\0")]
        offset = len(mark) + len(before.encode(encoding))
        fault = f"found a NUL character, as in binary files and in UTF-16 without a byte-order mark, {_EXPECTED}"
        raise TextFileError(path, f"{_place(before, offset)}: {fault}")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _place(before: str, offset: int) -> str:
    """Returns the line and the byte of the file, both from 1, that follow some text."""
    lines = before.replace("\r\n", "\n").replace("\r", "\n")
    return f"line {lines.count(chr(10)) + 1}, byte {offset + 1}"


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yields number (from 1) and stripped text of each line that is not blank, comments included."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def is_comment(line: str) -> bool:
    """Returns whether a line is a comment: it begins with `#`, maybe after blanks. A later `#` is part of the text."""
    return line.lstrip().startswith("#")


def text_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yields the lines of `numbered_lines` without comments."""
    return ((number, line) for number, line in numbered_lines(text) if not is_comment(line))
