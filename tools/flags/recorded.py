"""Checks the values of flags that are recorded as JSON with the parsers of the flags."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tools.flags.parsing import parse_value
from tools.flags.values import shown_value


def fault_of_recorded(config: type, name: str, value: Any) -> str | None:
    """Describes why a value read from JSON is none that the flag can have had; None if it is.

    Args:
        config: dataclass whose fields are made with `flag`.
        name: of the flag; flags of other versions, which the dataclass does not have, may have any value.
        value: what JSON makes of the flag's value: a list for a tuple.
    """
    field = {field.name: field for field in dataclasses.fields(config)}.get(name)
    if field is None or (value is None and field.default is None):
        return None
    if isinstance(value, str) and (field.metadata["is_path"] or field.metadata["parse"] is str):
        # A path has been understood before it was recorded, and may read like another spelling of a path.
        return "text without the character NUL" if "\0" in value else _fault_of_choice(field, value)
    if not isinstance(value, str | bool | int | float | list):
        return "a value of this flag"
    try:
        parsed = parse_value(field, shown_value(value))
    except ValueError:
        return "a value of this flag"
    return None if _same(json.loads(json.dumps(parsed)), value) else "a value of this flag"


def _fault_of_choice(field: dataclasses.Field, value: str) -> str | None:
    choices = field.metadata["choices"]
    return None if not choices or value in choices else f"one of {', '.join(map(str, choices))}"


def _same(parsed: Any, value: Any) -> bool:
    """Returns whether two JSON values are equal and of the same type; a whole number counts as a fraction."""
    if isinstance(parsed, list):
        return isinstance(value, list) and len(parsed) == len(value) and all(map(_same, parsed, value))
    return parsed == value and (type(parsed) is type(value) or (type(parsed), type(value)) == (float, int))
