"""Parses the sum of losses that `--loss_type` describes.

A term of a sum is a loss with a factor in front of it, as in `normal+0.5*dice`; a factor of 1 is not written. The
module imports without TensorFlow, so that flags are parsed quickly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from model.choices import LOSS_TYPES, LOSSES

SMALLEST_FACTOR, LARGEST_FACTOR = 0.001, 1000.0

_FACTOR = re.compile(r"\d+(\.\d+)?|\.\d+", re.ASCII)


class LossTerm(NamedTuple):
    """A term of the loss.

    Attributes:
        factor: from `SMALLEST_FACTOR` to `LARGEST_FACTOR`.
        name: of `choices.LOSSES`, or `focal_<gamma>`.
    """

    factor: float
    name: str


def loss_terms(text: str) -> tuple[LossTerm, ...]:
    """Parses a sum of losses; each name is one of `choices.LOSS_TYPES`.

    Raises:
        ValueError: a name is unknown or occurs twice, or a factor is outside of its range.
    """
    parts = [split_factor(part) for part in text.split("+")]
    for _, name in parts:
        if LOSS_TYPES.fullmatch(name) is None:
            raise ValueError(
                f"loss type '{name}' is unknown: use {', '.join(LOSSES)} or focal_<gamma>, e.g. focal_2, or a sum such "
                "as normal+0.5*dice"
            )
    return checked_terms([LossTerm(factor, name) for factor, name in parts])


def split_factor(text: str) -> tuple[float, str]:
    """Splits a term into its factor, 1 if there is none, and the text of its name, without spaces around it.

    Raises:
        ValueError: the factor is not a plain decimal number from `SMALLEST_FACTOR` to `LARGEST_FACTOR`.
    """
    before, star, name = text.rpartition("*")
    if not star:
        return 1.0, name.strip()
    before = before.strip()
    factor = float(before) if _FACTOR.fullmatch(before) else 0.0
    if not SMALLEST_FACTOR <= factor <= LARGEST_FACTOR:
        raise ValueError(
            f"a sum of losses with factors from {SMALLEST_FACTOR:g} to {LARGEST_FACTOR:g}, such as normal+0.5*dice: "
            f"'{before[:40]}' is no such factor"
        )
    return factor, name.strip()


def checked_terms(terms: Sequence[LossTerm]) -> tuple[LossTerm, ...]:
    """Sorts the terms of a sum, so that equal sums are written and computed in the same way.

    Raises:
        ValueError: a loss occurs twice.
    """
    order = sorted(terms, key=_place)
    for term, following in zip(order, order[1:], strict=False):
        if _place(term) == _place(following):
            raise ValueError(f"a sum of different losses: {following.name} occurs twice, add up its factors")
    return tuple(order)


def loss_text(terms: Sequence[LossTerm]) -> str:
    """Writes a sum; the inverse of `loss_terms`."""
    return "+".join(name if factor == 1 else f"{factor!r}".removesuffix(".0") + f"*{name}" for factor, name in terms)


def has_loss(text: str, *names: str) -> bool:
    """Returns whether one of the losses is a term of a sum."""
    return any(term.name in names for term in loss_terms(text))


def _place(term: LossTerm) -> tuple[int, float]:
    """Returns the place of a term in a sum: that in `LOSSES`, and after these the focal losses by their gamma."""
    match = LOSS_TYPES.fullmatch(term.name)
    assert match is not None
    return (LOSSES.index(term.name), 0.0) if match["gamma"] is None else (len(LOSSES), float(match["gamma"]))
