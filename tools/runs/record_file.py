"""Reads and writes the file of a record: a JSON object with a version."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from database.atomic import text_written_atomically
from database.errors import in_one_line
from database.json_files import read_json
from tools.errors import RecordError
from tools.runs.record_rules import ADDITIONS, RESTORE

_VERSION = "version"
# Files of version 1 have no version number and store the origin of a run among its flags. Files with rectangular sizes
# are of version 3, and those with `record_rules.ADDITIONS` of version 4; all others remain of version 2, which earlier
# versions of the program read.
FORMAT_VERSION = 4
_VERSION_OF_RECTANGLES, _VERSION_OF_SQUARES = 3, 2
_SIZES = ("train_image_size", "test_image_size")


def read_object(path: str) -> dict[str, Any] | None:
    """Reads the JSON object in a file, without its version; None if the file does not exist.

    Raises:
        RecordError: the file is not a JSON object, or a newer version of this program wrote it.
    """
    if not os.path.exists(path):
        return None
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: not the configuration of a checkpoint ({in_one_line(error)}): {RESTORE}") from error
    if not isinstance(values, dict):
        raise RecordError(f"{path}: not the configuration of a checkpoint (expected a JSON object): {RESTORE}")
    _check_version(path, values.pop(_VERSION, 1))
    return values


def write_object(path: str, values: Mapping[str, Any]) -> None:
    """Writes a JSON object to a file, with the version first."""
    with text_written_atomically(path) as file:
        json.dump({_VERSION: _version_of(values), **values}, file, indent=2)


def _version_of(values: Mapping[str, Any]) -> int:
    """Returns the earliest version whose files have all fields of a JSON object."""
    flags = values.get("flags", {})
    additions = {*values.get("architecture", {}), *values.get("backbone", {})} & ADDITIONS.keys()
    if additions or flags.get("input_channels") is not None:
        return FORMAT_VERSION
    sizes = [part.get(name) for part in (values, flags) for name in _SIZES]
    return _VERSION_OF_RECTANGLES if any(isinstance(size, str) for size in sizes) else _VERSION_OF_SQUARES


def _check_version(path: str, version: Any) -> None:
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise RecordError(
            f"{path}: 'version' is {str(version)[:60]}, expected 1 to {FORMAT_VERSION}: use the version of this "
            "program that wrote the file, or a newer one"
        )
