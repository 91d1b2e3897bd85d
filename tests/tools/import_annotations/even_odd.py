"""An independent rasterizer: every centre of a pixel by itself, in exact fractions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np


def centre_is_inside(x: Fraction, y: Fraction, corners: Sequence[Sequence[float]]) -> bool:
    """Counts the edges that a ray from a point to the right crosses. A point on an edge has the edge on its left."""
    inside = False
    points = [(Fraction(px), Fraction(py)) for px, py in corners]
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
    return inside


def filled(corners: Sequence[Sequence[float]], height: int, width: int) -> np.ndarray:
    """bool [height, width]: the pixels whose centres are inside a polygon by the even-odd rule."""
    half = Fraction(1, 2)
    return np.array([[centre_is_inside(column + half, row + half, corners) for column in range(width)]
                     for row in range(height)])  # fmt: skip
