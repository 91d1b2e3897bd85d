"""One flag: its default, help text and properties, as a field of a dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from tools.flags.values import number, switch, whole_number

# In place of Python's own parse functions, those that take no more than other programs do.
_STRICT: dict[Callable[[str], Any], Callable[[str], Any]] = {int: whole_number, float: number}


def flag(
    default: Any,
    text: str,
    parse: Callable[[str], Any] | None = None,
    *,
    choices: Sequence[Any] | None = None,
    minimum: float | None = None,
    above: float | None = None,
    aliases: Sequence[str] = (),
) -> Any:
    """A field with what the parser needs: help text, parse function, allowed values and other spellings."""
    if parse is None:
        parse = switch if isinstance(default, bool) else type(default)
    parse = _STRICT.get(parse, parse)
    metadata = {"help": text, "parse": parse, "choices": choices, "minimum": minimum, "above": above}
    return dataclasses.field(default=default, metadata={**metadata, "aliases": tuple(aliases)})
