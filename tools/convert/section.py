"""Reads values of the configuration that another project wrote, with errors that name the file and the key."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from tools.errors import ConversionError

_MOST_SHOWN = 60
_MOST_NUMBER = 255.0


class Section:
    """A dictionary of a configuration; messages name its keys with their path."""

    def __init__(self, values: Any, path: str, source: str, holder: str = "meta") -> None:
        """Wraps a dictionary.

        Args:
            values: the dictionary.
            path: keys that lead to it, joined by dots; empty for the whole configuration.
            source: name of the file, for messages.
            holder: of the configuration, for messages.

        Raises:
            ConversionError: `values` is no dictionary.
        """
        if not isinstance(values, Mapping):
            raise ConversionError(f"{source}: {holder}'s {path} is {shown_value(values)}, expected a dictionary")
        self._values, self._path, self._source, self._holder = values, path, source, holder

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def has(self, key: str) -> bool:
        """Returns whether there is a value other than None."""
        return self._values.get(key) is not None

    def section(self, key: str) -> Section:
        return Section(self._values.get(key), self._name(key), self._source, self._holder)

    def refuse(self, key: str, expected: str) -> ConversionError:
        found = f"{self._holder}'s {self._name(key)} is {shown_value(self._values.get(key))}"
        return ConversionError(f"{self._source}: {found}, expected {expected}: such networks are not read")

    def value(self, key: str, default: Any, allowed: Sequence[Any], expected: str | None = None) -> Any:
        """Returns a value that is one of `allowed`; lists equal tuples, and 1 is not True."""
        found = self._values.get(key, default)
        found = tuple(found) if isinstance(found, list) else found
        for value in allowed:
            if found == value and isinstance(found, bool) == isinstance(value, bool):
                return value
        raise self.refuse(key, expected or " or ".join(map(repr, allowed)))

    def switch(self, key: str, default: bool) -> bool:
        return self.value(key, default, (False, True))

    def three(self, key: str, smallest: float, largest: float = _MOST_NUMBER) -> tuple[float, float, float]:
        """Returns three numbers from `smallest` to `largest`."""
        found = self._values.get(key)
        if (
            not isinstance(found, (list, tuple))
            or len(found) != 3
            or not all(type(number) in (int, float) and smallest <= number <= largest for number in found)
        ):
            raise self.refuse(key, f"three numbers from {smallest:g} to {largest:g}")
        return float(found[0]), float(found[1]), float(found[2])

    def _name(self, key: str) -> str:
        return f"{self._path}.{key}".lstrip(".")


def shown_value(value: Any) -> str:
    """Returns the beginning of a value in one line; values may be huge, and may occur in each other many times."""
    short = reprlib.Repr()
    short.maxlevel = 2
    try:
        return " ".join(short.repr(value).split())[:_MOST_SHOWN]
    except ValueError:  # Python writes no whole numbers of thousands of digits
        return f"a long {type(value).__name__}"
