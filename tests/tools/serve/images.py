"""Pictures for tests of the server."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def picture(height: int = 6, width: int = 8, seed: int = 0) -> np.ndarray:
    """Random pixels, uint8 [height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def png(pixels: np.ndarray, format_name: str = "PNG") -> bytes:
    """A file with these pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=format_name)
    return file.getvalue()
