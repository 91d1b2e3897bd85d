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


@dataclass(frozen=True)
class WindowPlacing:
    """Where windows lie in a scaled image.

    Attributes:
      overlap: fraction 0..1, less than 1, that neighbouring windows share.
      rounds_up: whether the stride, window * (1 - overlap), is rounded up, as in semseg and PSPNet's Caffe code,
        instead of down, as in PSPNet-TF-Reproduce.
      centred: whether an image that is smaller than a window lies in its middle, as in semseg, instead of its upper
        left corner, as in PSPNet's Caffe code.
    """

    overlap: float = 1 / 3
    rounds_up: bool = False
    centred: bool = False

    def stride(self, window: int) -> int:
        """Returns the stride in pixels, 1 or more, of windows of a length."""
        # 1e-9: products such as 10 * (1 - 0.8) are a rounding error beside an integer.
        stride = window * (1 - self.overlap)
        return max(1, math.ceil(stride - 1e-9) if self.rounds_up else math.floor(stride + 1e-9))

    def offset(self, window: int, scaled: int) -> int:
        """Returns the pixel of the first window at which an axis of `scaled` pixels starts."""
        return max(0, window - scaled) // 2 if self.centred else 0


BY_A_THIRD = WindowPlacing()


def window_stride(window: int, overlap: float) -> int:
    """Returns the stride in pixels, 1 or more, of windows that overlap by a fraction 0..1; it is rounded down."""
    return WindowPlacing(overlap).stride(window)


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
    def of(cls, weights: csr_array, offset: int = 0, first_pixel: int = 0) -> Placement:
        """Creates one and removes zeros at the borders.

        Args:
          weights: [image pixels from `offset` on, window pixels from `first_pixel` on], not all 0.
          offset, first_pixel: see `weights`.
        """
        rows = np.flatnonzero(np.diff(weights.indptr))
        reached = slice(int(rows[0]), int(rows[-1]) + 1)
        pixels = slice(int(weights.indices.min()), int(weights.indices.max()) + 1)
        values = weights[reached, pixels].astype(np.float32)
        pixels = slice(first_pixel + pixels.start, first_pixel + pixels.stop)
        return cls(pixels, slice(offset + reached.start, offset + reached.stop), values)


class ScaledAxis:
    """One axis of an image: scaled, cut into windows, predicted, averaged and scaled back.

    Attributes:
      window: length of a window in pixels.
      starts: first pixels of the windows in the scaled image.
      offset: first pixel of the image in a window that is larger than it; otherwise 0.
      from_image: float32 [scaled length, image length], the matrix that resizes the image.
    """

    def __init__(self, length: int, scaled: int, window: int, stride: int, offset: int = 0) -> None:
        """Resizes an axis of `length` pixels to `scaled` pixels and places windows along it."""
        self.window, self.offset = window, offset
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
        weights = _Columns((self._to_image[:, ::-1] if mirrored else self._to_image) @ self._average)
        placements = []
        for start in self.starts:
            rows = weights.rows_of(start, start + self.window)
            if rows is not None:
                part = weights.part(rows, start, start + self.window)
                placements.append((start, Placement.of(part, rows.start, self.offset)))
        return placements

    def placements_by_band(self, band_length: int) -> list[tuple[int, list[Placement]]]:
        """Returns `placements` split at bands of the image: pixels 0..band_length-1 and so on."""
        weights = _Columns(self._to_image @ self._average)
        placements = []
        for start in self.starts:
            rows = weights.rows_of(start, start + self.window)
            if rows is None:
                continue
            firsts = range(rows.start // band_length * band_length, rows.stop, band_length)
            bands = [slice(first, first + band_length) for first in firsts]
            parts = [(band.start, weights.part(band, start, start + self.window)) for band in bands]
            placements.append((start, [Placement.of(part, first, self.offset) for first, part in parts if part.nnz]))
        return placements


class _Columns:
    """Parts of a matrix with few rows per column; cutting all windows of an axis takes time linear in its length."""

    def __init__(self, matrix: csr_array) -> None:
        self._by_row = matrix
        self._by_column = matrix.tocsc()

    def rows_of(self, first: int, end: int) -> slice | None:
        """Returns the rows from the first to the last that have entries in columns first..end-1; None without any."""
        bounds = self._by_column.indptr[[first, min(end, self._by_column.shape[1])]]
        rows = self._by_column.indices[bounds[0] : bounds[1]]
        return slice(int(rows.min()), int(rows.max()) + 1) if len(rows) else None

    def part(self, rows: slice, first: int, end: int) -> csr_array:
        """Returns the entries in rows and in columns first..end-1."""
        return self._by_row[rows][:, first:end]
