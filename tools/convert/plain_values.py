"""Copies the text, numbers, lists and dictionaries of a pickle, and leaves everything else out."""

from __future__ import annotations

from typing import Any

from tools.convert.inert_values import Items, Made
from tools.convert.numpy_values import LARGEST_INTEGER, decode_scalar, is_scalar
from tools.errors import PickleError

# Settings of a training nest about ten levels.
_DEEPEST = 100
_LEFT_OUT = object()


def plain_items(items: Items, most_values: int) -> dict[str, Any]:
    """Copies the entries of a dictionary; tuples become lists, and numbers of NumPy those of Python.

    Args:
        items: of a pickle.
        most_values: limit of the copy.

    Raises:
        PickleError: it contains itself, is nested too deeply, or has more values.
    """
    return _Copy(most_values).items(items, 0)


class _Copy:
    def __init__(self, most_values: int) -> None:
        self._left = self._most_values = most_values

    def items(self, items: Items, depth: int) -> dict[str, Any]:
        copies = ((key, self._value(value, depth + 1)) for key, value in items.items())
        return {key: value for key, value in copies if value is not _LEFT_OUT}

    def _value(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise PickleError(f"it repeats lists, more than {self._most_values} values in all")
        if depth > _DEEPEST:
            raise PickleError(f"it is nested more than {_DEEPEST} levels deep, or contains itself")
        if isinstance(value, Made) and value.items is not None:  # of a class of dictionaries
            value = value.items
        if isinstance(value, Items):
            return self.items(value, depth)
        if isinstance(value, (list, tuple)):
            return [copy for copy in (self._value(part, depth + 1) for part in value) if copy is not _LEFT_OUT]
        if is_scalar(value):
            return self._number(value)
        is_huge = isinstance(value, int) and abs(value) >= LARGEST_INTEGER
        return value if value is None or isinstance(value, (str, int, float)) and not is_huge else _LEFT_OUT

    @staticmethod
    def _number(value: Made) -> Any:
        try:
            return decode_scalar(value)
        except PickleError:  # a complex number or a date
            return _LEFT_OUT
