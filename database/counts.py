"""Counts in words of messages."""

from __future__ import annotations


def number_of(count: int, singular: str, plural: str | None = None) -> str:
    """A count with its noun: `1 pixel`, `2 pixels`.

    Args:
      count: 0 or more.
      singular: the noun, as after 1.
      plural: as after other counts; by default with an s at its end.
    """
    return f"{count} {singular if count == 1 else plural or f'{singular}s'}"


def and_of(count: int, singular: str, plural: str | None = None) -> str:
    """What follows the first of several things: `` and 2 more pixels``, nothing where there are no more.

    Args:
      count: of those beside the first.
      singular, plural: see `number_of`.
    """
    if not count:
        return ""
    return f" and {number_of(count, f'more {singular}', f'more {plural}' if plural else None)}"
