"""Label files of colours, and the palette that they fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from database.color_masks import ColorTable

COLORS = ((128, 64, 128), (70, 70, 70), (0, 0, 255))
IDS = np.random.default_rng(0).integers(0, 3, (5, 7))
RGB = np.array(COLORS, np.uint8)[IDS]
BINARY = IDS % 2
TABLE = ColorTable("p.txt", {color: index for index, color in enumerate(COLORS)})


def save(path: Path, array: np.ndarray, **options) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return str(path)
