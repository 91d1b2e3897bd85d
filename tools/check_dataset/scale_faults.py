"""Finds images whose channels are scaled differently, because their files have numbers of different types."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from tools.check_dataset.report import Fault
from tools.check_dataset.statistics import SplitStatistics

logger = logging.getLogger(__name__)

_BYTES = "uint8"
# Means of all channels that differ by more than this factor are of pixels that are scaled differently.
_FAR_APART = 8


def scale_faults(statistics: Mapping[str, SplitStatistics], white: float | None) -> list[Fault]:
    """Finds images of more than 8 bits whose default number for white differs from that of the first.

    If there are none, a warning is logged about a split whose means of all channels are far above or below those of the
    first split.

    Args:
        statistics: of the checked samples, by split.
        white: the number of `--input_range`; None for the default of each type.
    """
    faults = [] if white is not None else _different_defaults(statistics)
    if not faults:
        _warn_of_means_apart(statistics)
    return faults


def _different_defaults(statistics: Mapping[str, SplitStatistics]) -> list[Fault]:
    found = [(split, *kind) for split, sums in statistics.items() for kind in sums.kinds if kind[0] != _BYTES]
    return [
        Fault(
            split,
            f"images of {kind}, in which {white:g} is white by default, and of {found[0][1]} in {found[0][0]}, in "
            f"which it is {found[0][2]:g}, are scaled differently: give the number that is white in all with "
            "--input_range",
        )
        for split, kind, white in found[1:]
        if white != found[0][2]
    ]


def _warn_of_means_apart(statistics: Mapping[str, SplitStatistics]) -> None:
    means = [(split, sums.color_mean) for split, sums in statistics.items() if sums.kinds and sums.color_mean]
    for split, mean in means[1:]:
        first_split, first = means[0]
        pairs = [sorted(map(abs, pair)) for pair in zip(first, mean, strict=True)]
        are_above = {abs(here) > abs(there) for here, there in zip(mean, first, strict=True)}
        if len(are_above) == 1 and all(high > _FAR_APART * low for low, high in pairs):
            logger.warning(
                "the first channel has the mean %.6g in %s and %.6g in %s, and the others differ as much: check that "
                "the images of both are stored in the same unit",
                mean[0], split, first[0], first_split,
            )  # fmt: skip
