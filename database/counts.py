"""Counts with their nouns, for messages."""

from __future__ import annotations


def number_of(count: int, singular: str, plural: str | None = None) -> str:
    """Returns a count with its noun: `1 pixel`, `2 pixels`.

    Args:
      count: 0 or more.
      singular: the noun after 1.
      plural: the noun after other counts; by default the singular with an s.
    """
    return f"{count} {singular if count == 1 else plural or f'{singular}s'}"


def and_of(count: int, singular: str, plural: str | None = None) -> str:
    """Returns what follows the first of several things, such as `` and 2 more pixels``; empty if there are no more.

    Args:
      count: number of things after the first.
      singular, plural: see `number_of`.
    """
    if not count:
        return ""
    return f" and {number_of(count, f'more {singular}', f'more {plural}' if plural else None)}"
