"""Copies the text, numbers, lists and dictionaries of a pickle, and leaves everything else out."""

from __future__ import annotations

from typing import Any

from tools.convert.inert_values import Items, Made
from tools.convert.numpy_values import LARGEST_INTEGER, decode_scalar, is_scalar
from tools.errors import PickleError

# Settings of a training nest about eight levels.
_DEEPEST = 32


def plain_items(items: Items, most_values: int) -> dict[str, Any]:
    """Copies the entries of a dictionary, up to 32 levels of dictionaries and lists in it.

    Args:
        items: of a pickle.
        most_values: limit of the copy.

    Returns:
        Text, numbers, booleans, lists and dictionaries by key; tuples become lists, and numbers of NumPy those of
        Python. In lists, None replaces everything else. Empty if there are more values than the limit.
    """
    try:
        return _Copy(most_values).items(items, 0)
    except _TooManyError:
        return {}


class _TooManyError(Exception):
    """Ends the copying of too many values."""


class _Copy:
    def __init__(self, most_values: int) -> None:
        self._left = most_values

    def items(self, items: Items, depth: int) -> dict[str, Any]:
        copies = ((key, self._value(value, depth + 1)) for key, value in items.items())
        return {key: value for key, value in copies if value is not None}

    def _value(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _TooManyError
        if depth > _DEEPEST:
            return None
        if isinstance(value, Made) and value.items is not None:  # of a class of dictionaries
            value = value.items
        if isinstance(value, Items):
            return self.items(value, depth)
        if isinstance(value, (list, tuple)):
            return [self._value(element, depth + 1) for element in value]
        if is_scalar(value):
            return _number(value)
        is_huge = isinstance(value, int) and abs(value) >= LARGEST_INTEGER
        return value if isinstance(value, (str, int, float)) and not is_huge else None


def _number(value: Made) -> Any:
    try:
        return decode_scalar(value)
    except PickleError:  # a complex number or a date
        return None
