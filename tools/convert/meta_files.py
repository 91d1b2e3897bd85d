"""Reads the plain values that PyTorch's training checkpoints hold beside the tensors."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from tools.checkpoints.file_kinds import PYTORCH, kind_of

# Containers in each other; configurations have about 8. The number of values bounds those that occur many times.
_DEEPEST = 32
_MOST_VALUES = 100_000


def read_meta(path: str) -> Mapping[str, Any]:
    """Reads strings, numbers, lists and dictionaries of a file of PyTorch.

    Args:
        path: of a file that `files.read_weights` has read.

    Returns:
        The values by name, with None in lists where there are tensors; empty for files of other kinds, and with more
        than 100,000 values.
    """
    if kind_of(path) is not PYTORCH:
        return {}
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    try:
        return _plain(content, itertools.count()) if isinstance(content, Mapping) else {}
    except _TooManyError:
        return {}


class _TooManyError(Exception):
    """Ends the reading of too many values."""


def _plain(value: Any, counter: Iterator[int], depth: int = 0) -> Any:
    if next(counter) > _MOST_VALUES:
        raise _TooManyError
    if depth > _DEEPEST:
        return None
    if isinstance(value, Mapping):
        plain = {key: _plain(element, counter, depth + 1) for key, element in value.items() if isinstance(key, str)}
        return {key: element for key, element in plain.items() if element is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(element, counter, depth + 1) for element in value]
    return value if isinstance(value, (str, bool, int, float)) else None
