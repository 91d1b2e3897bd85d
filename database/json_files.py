"""Reads JSON files that may have been written or damaged by somebody else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from database.errors import JsonError
from database.regular_files import read_regular_file

# In valid JSON: a string with the colon that makes it a key, or a bracket.
_KEY_OR_BRACKET = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|[{}\[\]]')
_LONGEST_SHOWN = 60


class _RepeatedKeyError(Exception):
    """Signals a repeated key from inside Python's parser."""


def _object_of_different_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _RepeatedKeyError
    return values


def parse_json(text: str, parse_number: Callable[[str], Any] | None = None) -> Any:
    """Parses a JSON text.

    Args:
      text: content of the file.
      parse_number: called with the text of each number, including NaN and Infinity; by default Python's conversion.

    Raises:
      JsonError: the text is not JSON, is nested more deeply than Python reads, has numbers of thousands of digits, or
        has a key twice in one object.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=_object_of_different_keys,
            parse_int=parse_number,
            parse_float=parse_number,
            parse_constant=parse_number,
        )
    except _RepeatedKeyError:
        raise _repeated_key(text) from None
    except json.JSONDecodeError as error:
        raise JsonError(f"not JSON ({error.msg})", error.lineno) from error
    except (ValueError, RecursionError) as error:
        raise JsonError(f"not JSON ({type(error).__name__})") from error


def _repeated_key(text: str) -> JsonError:
    """Finds the first key that occurs twice in one object; the text is valid JSON up to there."""
    open_objects: list[dict[str, int]] = []  # the position of each key; empty for a list
    for match in _KEY_OR_BRACKET.finditer(text):
        if match[0] in ("{", "["):
            open_objects.append({})
        elif match[0] in ("}", "]"):
            open_objects.pop()
        elif match[2] is not None:
            key = json.loads(match[1])
            if key in open_objects[-1]:
                earlier, line = (text.count("\n", 0, place) + 1 for place in (open_objects[-1][key], match.start()))
                shown = key if len(key) <= _LONGEST_SHOWN else f"{key[:_LONGEST_SHOWN]}..."
                return JsonError(f"'{shown}' is already given in line {earlier}: keep one", line)
            open_objects[-1][key] = match.start()
    raise AssertionError("no key occurs twice")


def read_json(path: str) -> Any:
    """Reads a JSON file that this project's programs write.

    Raises:
      OSError: the path cannot be opened, is not a regular file, or is too large for one of these files.
      ValueError: the file is not UTF-8 or not valid JSON, see `parse_json`.
    """
    text = read_regular_file(path).decode("utf-8-sig")
    try:
        return parse_json(text)
    except JsonError as error:
        raise ValueError(str(error.__cause__ or error)) from error
