"""Pictures to change."""

from __future__ import annotations

import numpy as np

SIZE = (37, 46)


def random_image(size: tuple[int, int] = SIZE, low: int = 0) -> np.ndarray:
    """uint8 [*size, 3], noise from `low` to 255."""
    return np.random.default_rng(0).integers(low, 256, (*size, 3), dtype=np.uint8)
