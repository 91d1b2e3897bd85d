"""Pictures to augment, and draws for it."""

from __future__ import annotations

import numpy as np
import pytest

from database.augment import Augmentation

SIZE = (37, 46)
NEARLY_ONE = float(np.nextafter(np.float32(1.0), np.float32(0.0)))
NO_MEAN = (0.0, 0.0, 0.0)
EVERYTHING = Augmentation((33, 40), (0.5, 2.0), 30.0, mirror=True, jitter_colors=True, gaussian_blur=True)
ROTATIONS = pytest.mark.parametrize("max_rotation", [0.0, 30.0])


def random_image(size: tuple[int, int] = SIZE, low: int = 0) -> np.ndarray:
    """Returns noise from `low` to 255, uint8 [*size, 3]."""
    return np.random.default_rng(0).integers(low, 256, (*size, 3), dtype=np.uint8)


def block_label(size=SIZE, block=9):
    """Returns square regions of random ids; neighbouring ids differ by far more than rounding."""
    ids = np.random.default_rng(1).choice([0, 7, 90, 200, 253], (size[0] // block + 1, size[1] // block + 1))
    return np.kron(ids, np.ones((block, block)))[: size[0], : size[1]].astype(np.uint8)


def draws_for(scale=0.0, rotation=0.5, row=0.0, column=0.0, mirror=0.75, colors=(0.5, 0.5, 0.5), blur=(0.75, 0.5)):
    return np.array([scale, rotation, row, column, mirror, *colors, *blur], np.float32)
