"""Reads the plain values that PyTorch's training checkpoints hold beside the tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.checkpoints.file_kinds import PYTORCH, kind_of

# Containers in each other; configurations have about 8.
_DEEPEST = 32


def read_meta(path: str) -> Mapping[str, Any]:
    """Reads strings, numbers, lists and dictionaries of a file of PyTorch; empty for other kinds and without any.

    Args:
        path: of a file that `files.read_weights` has read.
    """
    kind = kind_of(path)
    if kind is not PYTORCH:
        return {}
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    return _plain(content) if isinstance(content, Mapping) else {}


def _plain(value: Any, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        return None
    if isinstance(value, Mapping):
        plain = {key: _plain(element, depth + 1) for key, element in value.items() if isinstance(key, str)}
        return {key: element for key, element in plain.items() if element is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(element, depth + 1) for element in value]
    return value if isinstance(value, (str, bool, int, float)) else None
