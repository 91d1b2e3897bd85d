"""Which flags a piece of code reads."""

from __future__ import annotations

import dataclasses
from typing import Any


def recording_reads(config: Any) -> tuple[Any, set[str]]:
    """A copy of flags, and the names of those that are read from it, which grow as it is used."""
    names, read = {field.name for field in dataclasses.fields(config)}, set()

    class Read(type(config)):
        def __getattribute__(self, name: str) -> Any:
            if name in names:
                read.add(name)
            return super().__getattribute__(name)

    copy = object.__new__(Read)
    copy.__dict__.update(vars(config))
    return copy, read
