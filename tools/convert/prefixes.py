"""Detects the layout of weights, also if all of its names have a prefix that another program added."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from tools.convert.conversion import recognize
from tools.convert.files import Weights
from tools.convert.layouts import WEIGHT_MAPS
from tools.convert.weight_map import WeightMap
from tools.errors import ConversionError

logger = logging.getLogger(__name__)

# By prefix: what the same program stores beside the network, as regular expressions with the reason to skip it.
_PREFIXES: dict[str, dict[str, str]] = {
    "module.": {},
    "model.": {},
    "backbone.": {r"head\.fc\..*": "the classifier of a classification network"},
    "encoder_q.": {
        r"encoder_k\..*": "MoCo's momentum encoder",
        r"queue(_ptr)?": "MoCo's queue of features",
    },
    "encoder.": {},
    "resnet.": {},  # transformers'
    "_orig_mod.": {},  # torch.compile's
}
# Prefixes in each other: `module.encoder_q.`, `model.backbone.`.
_MOST_PREFIXES = 3


@dataclass(frozen=True)
class _Stripped:
    """Names without prefix.

    Attributes:
        names: by the names in the file.
        prefix: that was removed.
        left: see `WeightMap`; for names without the prefix.
    """

    names: Mapping[str, str]
    prefix: str
    left: Mapping[str, str]


def identify(weights: Weights, layout: str | None, skip: str | None = None) -> tuple[Weights, WeightMap]:
    """Detects the layout, and removes a prefix without which the names have one.

    Args:
        weights: arrays by the names in the file.
        layout: key of `WEIGHT_MAPS`; None to detect it.
        skip: regular expression of names that do not count, such as those of a decoder whose encoder is wanted alone.

    Returns:
        The arrays by the project's names, and the layout. Without a prefix or with a given layout whose marks are in
        no names, the arrays are those of the file.

    Raises:
        ConversionError: the layout is none of `WEIGHT_MAPS`.
    """
    for candidate in _candidates(_Stripped({name: name for name in weights}, "", {}), _MOST_PREFIXES):
        weight_map = _layout_of([name for name in candidate.names.values() if not skips(skip, name)], layout)
        if weight_map is not None:
            if candidate.prefix:
                count = sum(name != shown for name, shown in candidate.names.items())
                logger.info("removed the prefix '%s' from %d of %d names", candidate.prefix, count, len(weights))
            renamed = {candidate.names[name]: array for name, array in weights.items()}
            return renamed, replace(weight_map, left={**weight_map.left, **candidate.left})
    return weights, recognize(weights) if layout is None else WEIGHT_MAPS[layout]


def skips(pattern: str | None, name: str) -> bool:
    """Returns whether a regular expression, if there is one, matches the whole of a name."""
    return pattern is not None and re.fullmatch(pattern, name) is not None


def _candidates(names: _Stripped, depth: int) -> Iterator[_Stripped]:
    """Yields the names as they are, then without each prefix, the fewest prefixes first."""
    waiting = [names]
    for _ in range(depth + 1):
        yield from waiting
        waiting = [found for before in waiting for prefix in _PREFIXES if (found := _without(before, prefix))]


def _without(names: _Stripped, prefix: str) -> _Stripped | None:
    """Removes a prefix; None if no name has it, or if two names would become equal."""
    stripped = {name: shown.removeprefix(prefix) for name, shown in names.names.items()}
    if stripped == names.names or len(set(stripped.values())) < len(stripped):
        return None
    return _Stripped(stripped, names.prefix + prefix, {**names.left, **_PREFIXES[prefix]})


def _layout_of(names: Collection[str], layout: str | None) -> WeightMap | None:
    if layout is not None:
        return WEIGHT_MAPS[layout] if WEIGHT_MAPS[layout].is_of(names) else None
    try:
        return recognize(names)
    except ConversionError:
        return None
