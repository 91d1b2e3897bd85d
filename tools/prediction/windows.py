"""Places windows along an axis of a scaled image, and weights their pixels' contributions to the image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, diags_array

from tools.prediction.interpolation import interpolation_matrix


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Places windows along an axis so that every pixel is covered and no window lies outside.

    Args:
      length: pixels along the axis, 1 or more.
      window: pixels in a window, 1 or more.
      stride: pixels from one window's start to the next, 1..window.

    Returns:
      The starts 0, stride, 2 * stride, ..., the last moved back to length - window; [0] if one window is enough.

    Raises:
      ValueError: an argument is outside its range.
    """
    if length < 1 or window < 1:
        raise ValueError(f"length {length} with window {window}: expected 1 or more for both; pass larger ones")
    if not 1 <= stride <= window:
        raise ValueError(
            f"stride {stride} with window {window}: expected 1..{window}; a longer stride leaves pixels uncovered"
        )
    last = max(length - window, 0)
    return [*range(0, last, stride), last]


def window_stride(window: int, overlap: float) -> int:
    """Returns the stride in pixels, 1 or more, of windows that overlap by a fraction 0..1."""
    # 1e-9: products such as 10 * (1 - 0.8) are a rounding error below an integer.
    return max(1, math.floor(window * (1 - overlap) + 1e-9))


def scaled_length(length: int, scale: float) -> int:
    """Returns the scaled length of an axis in pixels, 1 or more."""
    return max(1, round(length * scale))


def whole_window(length: int, step: int, rest: int) -> int:
    """Returns the smallest step * n + rest, n >= 1, that is at least `length`."""
    return step * max(1, math.ceil((length - rest) / step)) + rest


@dataclass(frozen=True)
class Placement:
    """Contribution of a window's pixels to an axis of the image.

    Attributes:
      pixels: pixels of the window.
      reached: pixels of the image to which they contribute.
      weights: float32 [number of reached, number of pixels].
    """

    pixels: slice
    reached: slice
    weights: csr_array

    @classmethod
    def of(cls, weights: csr_array, offset: int = 0) -> Placement:
        """Creates one from [image pixels from `offset` on, window pixels], not all 0; removes zeros at the borders."""
        rows = np.flatnonzero(np.diff(weights.indptr))
        reached = slice(int(rows[0]), int(rows[-1]) + 1)
        pixels = slice(int(weights.indices.min()), int(weights.indices.max()) + 1)
        values = weights[reached, pixels].astype(np.float32)
        return cls(pixels, slice(offset + reached.start, offset + reached.stop), values)


class ScaledAxis:
    """One axis of an image: scaled, cut into windows, predicted, averaged and scaled back.

    Attributes:
      window: length of a window in pixels.
      starts: first pixels of the windows in the scaled image.
      from_image: float32 [scaled length, image length], the matrix that resizes the image.
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
        """Returns start and placement of each window in the scaled image, or in its mirrored copy.

        Windows that contribute to no pixel are omitted; they occur if the image is smaller than the scaled one.
        """
        weights = (self._to_image[:, ::-1] if mirrored else self._to_image) @ self._average
        parts = [(start, weights[:, start : start + self.window]) for start in self.starts]
        return [(start, Placement.of(part)) for start, part in parts if part.nnz]

    def placements_by_band(self, band_length: int) -> list[tuple[int, list[Placement]]]:
        """Returns `placements` split at bands of the image: pixels 0..band_length-1 and so on."""
        weights = self._to_image @ self._average
        bands = [(first, weights[first : first + band_length]) for first in range(0, weights.shape[0], band_length)]
        placements = []
        for start in self.starts:
            parts = [(first, band[:, start : start + self.window]) for first, band in bands]
            placements.append((start, [Placement.of(part, first) for first, part in parts if part.nnz]))
        return [(start, by_band) for start, by_band in placements if by_band]
