"""The values of a pickle whose calls are recorded and never made, see `inert_pickle`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tools.runtime.printable import printable

_SHOWN = 100
# Real files repeat short lists and dictionaries.
_MOST_REPETITIONS = 10
_FEWEST_VALUES = 10_000


@dataclass(frozen=True)
class Name:
    """A class or a function."""

    module: str
    name: str

    def is_of(self, package: str) -> bool:
        """Whether it is defined in a package or a module."""
        return f"{self.module}.".startswith(f"{package}.")

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")


class Items(dict):
    """A dictionary of a pickle. Its keys are strings; entries with other keys are dropped.

    Attributes:
        has_other_keys: whether a key is not a string.
    """

    __slots__ = ("has_other_keys",)

    def __init__(self) -> None:
        super().__init__()
        self.has_other_keys = False

    def add(self, key: Any, value: Any) -> None:
        """Sets an entry."""
        if type(key) is str:
            self[key] = value
        else:  # not hashed: a deeply nested tuple would end the process, and integers may be chosen to collide
            self.has_other_keys = True


@dataclass(eq=False, repr=False)
class Made:
    """An object that a pickle makes by a call, which is not made.

    Attributes:
        by: what is called, usually a `Name`.
        arguments: of the call.
        state: what the object is given afterwards; None without.
        items: of an object that is filled like a dictionary; None for others.
    """

    __slots__ = ("arguments", "by", "items", "state")

    by: Any
    arguments: tuple
    state: Any
    items: Items | None

    @property
    def class_name(self) -> str:
        """The class of the object, or the function that makes it, for messages."""
        made_by = self.by
        if isinstance(made_by, Name) and made_by.name in ("_reconstructor", "__newobj__") and self.arguments:
            made_by = self.arguments[0]  # a function of copyreg
        if isinstance(made_by, Persistent) and isinstance(made_by.identifier, tuple) and len(made_by.identifier) > 1:
            made_by = made_by.identifier[1]  # PyTorch before 1.6 keeps the source of a class beside it
        return str(made_by) if isinstance(made_by, Name) else "an unknown class"


@dataclass(frozen=True, eq=False, repr=False)
class Persistent:
    """Something outside of the pickle, such as the numbers of a tensor."""

    identifier: Any


@dataclass(frozen=True)
class Pickled:
    """A pickle that was read.

    Attributes:
        value: its value.
        persistent: what it refers to outside of it.
        operations: how many it has.
    """

    value: Any
    persistent: list[Persistent]
    operations: int

    @property
    def most_values(self) -> int:
        """Limit of a copy of the value: each operation makes one, and a small pickle may repeat a list forever."""
        return _MOST_REPETITIONS * self.operations + _FEWEST_VALUES


def shown(text: str) -> str:
    """Shortens text from a file and escapes all but its printable characters, for messages."""
    return printable(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
