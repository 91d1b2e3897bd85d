"""Makes flags from Python values, with the checks of a command line."""

from __future__ import annotations

import dataclasses
import numbers
import os
from collections.abc import Mapping
from typing import Any, TypeVar

from tools.errors import FlagError
from tools.flags.parsing import parse_flags
from tools.flags.sizes import window_size

Config = TypeVar("Config")


def flags_of_values(config: type[Config], values: Mapping[str, Any], excluded: Mapping[str, str]) -> Config:
    """Converts Python values to the text of a command line and parses it.

    Args:
        config: dataclass whose fields are made with `flag`.
        values: by the name of the flag: a text, a number, a boolean, a path or a sequence of numbers or texts; None
            for the default.
        excluded: flags that cannot be given, and what to do instead.

    Raises:
        FlagError: see `parse_flags`; or a flag is excluded, or a value is of another type.
    """
    sizes = {
        name
        for field in dataclasses.fields(config)  # type: ignore[arg-type]
        if field.metadata["parse"] is window_size
        for name in (field.name, *field.metadata["aliases"])
    }
    arguments = []
    for name, value in values.items():
        if name in excluded:
            raise FlagError(f"{name} is not taken here: {excluded[name]}")
        if value is not None:
            arguments.append(f"--{name}={_text(name, value, 'x' if name in sizes else ',')}")
    return parse_flags(config, arguments, "")


def _text(name: str, value: Any, separator: str) -> str:
    """Formats a value as on a command line."""
    if isinstance(value, list | tuple):
        return separator.join(_text(name, item, separator) for item in value)
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str | numbers.Real):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    raise FlagError(
        f"{name} is {type(value).__name__}: expected a text, a number, True or False, a path, or a list of them"
    )
