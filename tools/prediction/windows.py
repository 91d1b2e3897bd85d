"""Where windows lie along an axis of a scaled image, and what their pixels contribute to the image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, diags_array

from tools.prediction.interpolation import interpolation_matrix


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Places windows along one axis so that every pixel is covered and none lies outside.

    Args:
      length: pixels along the axis, 1 or more.
      window: pixels in a window, 1 or more.
      stride: pixels from one window's start to the next, 1..window.

    Returns:
      0, stride, 2 * stride and so on, the last moved back to length - window; [0] if one window is enough.

    Raises:
      ValueError: an argument is outside its range.
    """
    if length < 1 or window < 1:
        raise ValueError(f"length {length} with window {window}: expected 1 or more for both; pass larger ones")
    if not 1 <= stride <= window:
        raise ValueError(
            f"stride {stride} with window {window}: expected 1..{window}, a longer one leaves "
            "pixels uncovered; choose one in that range"
        )
    last = max(length - window, 0)
    return [*range(0, last, stride), last]


def window_stride(window: int, overlap: float) -> int:
    """Pixels from one window's start to the next, 1 or more, where neighbours share a part (0..1) of the window."""
    # 1e-9 makes up for products such as 10 * (1 - 0.8), which lie a rounding error below a whole number.
    return max(1, math.floor(window * (1 - overlap) + 1e-9))


def scaled_length(length: int, scale: float) -> int:
    """Pixels along an axis of `length` pixels that is scaled, 1 or more."""
    return max(1, round(length * scale))


def whole_window(length: int, step: int, rest: int) -> int:
    """The smallest step * n + rest, n of 1 or more, that holds `length` pixels."""
    return step * max(1, math.ceil((length - rest) / step)) + rest


@dataclass(frozen=True)
class Placement:
    """What pixels of a window contribute to an axis of the image.

    Attributes:
      pixels: those of the window.
      reached: the pixels of the image that they contribute to.
      weights: float32 [number of reached, number of pixels].
    """

    pixels: slice
    reached: slice
    weights: csr_array

    @classmethod
    def of(cls, weights: csr_array, offset: int = 0) -> Placement:
        """Of [pixels of the image from `offset` on, pixels of the window], where not all weights are 0."""
        rows = np.flatnonzero(np.diff(weights.indptr))
        reached = slice(int(rows[0]), int(rows[-1]) + 1)
        pixels = slice(int(weights.indices.min()), int(weights.indices.max()) + 1)
        values = weights[reached, pixels].astype(np.float32)
        return cls(pixels, slice(offset + reached.start, offset + reached.stop), values)


class ScaledAxis:
    """One axis of an image that is scaled, cut into windows, predicted, averaged and scaled back.

    Attributes:
      window: length of a window.
      starts: of the windows.
      from_image: float32 [scaled length, image length], resizes the image.
    """

    def __init__(self, length: int, scale: float, window: int, stride: int) -> None:
        """Scales an axis of `length` pixels and places windows along it."""
        scaled = scaled_length(length, scale)
        self.window = window
        self.starts = window_starts(scaled, window, stride)
        self.from_image = interpolation_matrix(length, scaled).astype(np.float32)
        self._to_image = interpolation_matrix(scaled, length)
        coverage = np.zeros(scaled)
        for start in self.starts:
            coverage[start : start + window] += 1
        self._average = diags_array(1 / coverage)

    def placements(self, mirrored: bool) -> list[tuple[int, Placement]]:
        """Start and placement of each window in the scaled image, or in its mirrored copy.

        A window that contributes to no pixel of the image, as may be where that is the smaller one, is left out.
        """
        weights = (self._to_image[:, ::-1] if mirrored else self._to_image) @ self._average
        parts = [(start, weights[:, start : start + self.window]) for start in self.starts]
        return [(start, Placement.of(part)) for start, part in parts if part.nnz]

    def placements_by_band(self, band_length: int) -> list[tuple[int, list[Placement]]]:
        """As `placements`, with one placement for each band (pixels 0..band_length-1 and so on) of the image."""
        weights = self._to_image @ self._average
        bands = [(first, weights[first : first + band_length]) for first in range(0, weights.shape[0], band_length)]
        placements = []
        for start in self.starts:
            parts = [(first, band[:, start : start + self.window]) for first, band in bands]
            placements.append((start, [Placement.of(part, first) for first, part in parts if part.nnz]))
        return [(start, by_band) for start, by_band in placements if by_band]
