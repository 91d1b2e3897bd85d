"""A file of flags: a YAML or JSON object with the names of the flags."""

from __future__ import annotations

import json
import os
from typing import Any

import yaml

from database.regular_files import regular_file

_LONGEST_REASON = 200

# What PyYAML's constructors raise on values that do not fit their tags.
_UNFIT_VALUES = (ValueError, LookupError, AttributeError, TypeError, OverflowError)


class FlagError(ValueError):
    """A command line, or a file of flags, that cannot be followed."""


def config_arguments(path: str) -> list[str]:
    """The flags in a file as a command line would give them.

    Args:
        path: `.json`, or anything else for YAML, whose tags are refused.

    Returns:
        `--name=value` each; names whose value is null are left out.

    Raises:
        FlagError: the file cannot be read or is no object of names and plain values.
    """
    values = _read(path)
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise FlagError(f"--config {path} holds no flags: expected lines 'name: value', names as those of the flags")
    return [f"--{name}={_text(path, name[:60], value)}" for name, value in values.items() if value is not None]


def _read(path: str) -> Any:
    try:
        with open(path, encoding="utf-8", opener=regular_file) as file:
            return json.load(file) if os.path.splitext(path)[1].lower() == ".json" else yaml.safe_load(file)
    except OSError as error:
        raise FlagError(f"--config {path} cannot be read ({error.strerror}): give a YAML or JSON file") from error
    except (*_UNFIT_VALUES, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise FlagError(f"--config {path} is neither YAML nor JSON ({reason})") from error


def _text(path: str, name: str, value: Any) -> str:
    """A value as on the command line: lists by commas, booleans as 0 and 1."""
    if isinstance(value, bool):
        return str(int(value))
    try:
        if isinstance(value, str | int | float):
            return str(value)
        if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
            return ",".join(map(str, value))
    except ValueError as error:  # Python refuses to write numbers of thousands of digits
        raise FlagError(f"--config {path}: '{name}' is a number of thousands of digits: give a shorter one") from error
    raise FlagError(f"--config {path}: '{name}' is {type(value).__name__}: expected a text, a number or a list of them")
