"""How far two results are apart, in the units of docs/parity.md."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def relative_difference(actual: ArrayLike | Sequence[ArrayLike], expected: ArrayLike | Sequence[ArrayLike]) -> float:
    """Largest absolute difference over the largest absolute value expected; of lists the largest of their pairs."""
    if isinstance(actual, list | tuple) and isinstance(expected, list | tuple):
        return max(relative_difference(a, e) for a, e in zip(actual, expected, strict=True))
    a, e = np.asarray(actual).astype(np.float64), np.asarray(expected).astype(np.float64)
    assert a.shape == e.shape
    assert np.isfinite(a).all()
    scale = np.abs(e).max()
    assert 0 < scale < np.inf
    return float(np.abs(a - e).max() / scale)
