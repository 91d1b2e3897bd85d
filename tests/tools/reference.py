"""Independent answers in float64, by the shortest way there is."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates


def resize_by_scipy(array, height, width):
    """float64 [height, width, C]: [H, W, C] resized bilinearly on the half-pixel grid."""
    rows = (np.arange(height) + 0.5) * array.shape[0] / height - 0.5
    columns = (np.arange(width) + 0.5) * array.shape[1] / width - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    channels = [
        map_coordinates(array[..., channel].astype(np.float64), grid, order=1, mode="nearest")
        for channel in range(array.shape[2])
    ]
    return np.stack(channels, axis=-1)
