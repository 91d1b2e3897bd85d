"""Checks values read from JSON: their types, and that they are possible."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from database.classes import IGNORE_LABEL
from database.label_maps import MOST_FILE_ID

_LONGEST_SHOWN = 40


def checksum_of(values: Mapping[str, Any]) -> int:
    """Computes the CRC-32 of all values of an object but its `checksum`: a wrong digit would also be a wrong value."""
    return zlib.crc32(json.dumps({name: value for name, value in values.items() if name != "checksum"}).encode())


def whole_in(value: Any, least: int, most: int) -> int:
    """Returns a value that is a whole number from `least` to `most`.

    Raises:
      ValueError: it is something else.
    """
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{str(value)[:_LONGEST_SHOWN]} is not a whole number from {least} to {most}")
    return value


def text_of(value: Any) -> str:
    """Returns a value that is a text without the character NUL, which paths cannot contain.

    Raises:
      ValueError: it is something else.
    """
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{str(value)[:_LONGEST_SHOWN]!r} is no text")
    return value


def label_map_of(values: Mapping[str, Any]) -> dict[int, int]:
    """Returns a label map, from an object whose keys are ids in label files.

    Raises:
      ValueError: an id is one that no label file or dataset has.
      AttributeError: the value is no object.
    """
    label_map = {}
    for file_id, train_id in values.items():
        if not (file_id.isascii() and file_id.isdigit() and len(file_id) <= len(str(MOST_FILE_ID))):
            raise ValueError(f"{file_id[:_LONGEST_SHOWN]!r} is no id of a label file")
        label_map[whole_in(int(file_id), 0, MOST_FILE_ID)] = whole_in(train_id, 0, IGNORE_LABEL)
    return label_map
