"""Predicts images of any size with sliding windows, several scales and mirrored copies.

The protocol of Zhao et al., "Pyramid Scene Parsing Network" (CVPR 2017): probabilities of neighbouring windows are
averaged where they overlap, those of scales and mirrored copies everywhere.

Both averages and the resizing between them are linear, so each window is added to the result independently, with one
small matrix per axis. Windows of all scales are processed in the order of the image rows they reach. Rows that no
later window reaches are yielded and freed, so a full [H, W, classes] never needs to exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np
from scipy.sparse import csr_array

from tools.errors import NotFiniteError
from tools.prediction.interpolation import along_columns, along_rows
from tools.prediction.predictions import LABELS_ONLY, Prediction, Wanted
from tools.prediction.scaled_sizes import SCALES_SINGLE, FactorSizes, ScaledSizes, Size
from tools.prediction.windows import BY_A_THIRD, Placement, ScaledAxis, WindowPlacing, whole_window, window_starts
from tools.runtime.background import read_ahead

# Rows of the result per band: few enough that the sums stay in the processor's cache.
_BAND_ROWS = 16


@dataclass(frozen=True)
class _Strip:
    """All windows of one scale at one height."""

    window: int  # height of a window
    offset: int  # its first row with pixels of the image
    from_image: csr_array  # rows of the scale's `from_image` for this strip
    rows: list[Placement]  # from top to bottom, each within one band
    columns: ScaledAxis


@dataclass(frozen=True)
class _Window:
    pixels: np.ndarray  # float32 [height, width, channels], smaller than a window if the scaled image is
    size: Size  # height and width of a window
    corner: Size  # row and column of a window at which `pixels` start
    rows: list[Placement]  # those of its strip
    columns: Placement

    @property
    def first_row(self) -> int:
        """The first row of the image that the window reaches."""
        return self.rows[0].reached.start


class _OpenBands:
    """Sums of the bands of the result that later windows may still reach.

    A band is float32 [W, rows, C]: `along_columns` returns its result with these axes.
    """

    def __init__(self, height: int, width: int, num_classes: int) -> None:
        self._size, self._num_classes = (height, width), num_classes
        self._bands: dict[int, np.ndarray] = {}  # by first row
        self._next = 0  # first row of the band to hand out next

    def add(self, window: _Window, probabilities: np.ndarray) -> None:
        """Adds the probabilities of a window, float32 [h, w, C]."""
        columns = window.columns
        for rows in window.rows:
            part = along_rows(rows.weights, probabilities[rows.pixels, columns.pixels])
            top = rows.reached.start // _BAND_ROWS * _BAND_ROWS
            within = slice(rows.reached.start - top, rows.reached.stop - top)
            self._band(top)[columns.reached, within] += along_columns(columns.weights, part)

    def _band(self, top: int) -> np.ndarray:
        if top not in self._bands:
            height, width = self._size
            self._bands[top] = np.zeros((width, min(_BAND_ROWS, height - top), self._num_classes), np.float32)
        return self._bands[top]

    def hand_out(self, end: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yields and frees the bands above row `end`, from top to bottom: first row and sum of each."""
        while self._next < end and min(self._next + _BAND_ROWS, self._size[0]) <= end:
            yield self._next, self._bands.pop(self._next)
            self._next += _BAND_ROWS


def _height_and_width(window_size: int | tuple[int, int]) -> tuple[int, int]:
    size = tuple(window_size) if isinstance(window_size, Sequence) else (window_size, window_size)
    if len(size) != 2 or min(size) < 1:
        raise ValueError(
            f"window_size is {window_size}: expected a height and a width of 1 or more; use "
            "the crop size the network was trained with"
        )
    return size


def _sizes_at(scales: Sequence[float] | ScaledSizes) -> ScaledSizes:
    if callable(scales):
        return scales
    if not len(scales) or not all(scale > 0 and math.isfinite(scale) for scale in scales):
        raise ValueError(
            f"scales are {list(scales)}: expected one or more numbers above 0; use 1.0 for the unscaled image"
        )
    return FactorSizes(tuple(scales))


def _check_settings(num_classes: int, windows_per_batch: int, overlap: float) -> None:
    if not 1 <= num_classes <= 65536:
        raise ValueError(f"num_classes is {num_classes}: expected 1..65536; pass the dataset's number of classes")
    if windows_per_batch < 1:
        raise ValueError(f"windows_per_batch is {windows_per_batch}: expected 1 or more; use 1 if memory is short")
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}: expected 0 or more and below 1; use 1/3 if unsure")


def _checked_image(image: np.ndarray, channels: int) -> np.ndarray:
    image = np.asarray(image, np.float32)
    if image.ndim != 3 or image.shape[2] != channels or not image.size:
        raise ValueError(
            f"image has shape {list(image.shape)}: expected a non-empty [H, W, {channels}]; pass one colour image at a "
            "time"
        )
    return image


def _check_finite(window: _Window, probabilities: np.ndarray) -> None:
    """Checks the probabilities of a window, float32 [h, w, C], by their sum, which is not finite if a value is not.

    Raises:
      NotFiniteError: a value is NaN or infinite; the message names the part of the image.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if math.isfinite(probabilities.sum(dtype=np.float32)):
            return
    count = probabilities.size - np.count_nonzero(np.isfinite(probabilities))
    height, width = window.size
    raise NotFiniteError(
        f"{count} of {probabilities.size} probabilities are not finite in the window of {height}x{width} that reaches "
        f"rows {window.rows[0].reached.start} to {window.rows[-1].reached.stop - 1} and columns "
        f"{window.columns.reached.start} to {window.columns.reached.stop - 1} of the image"
    )


def _at_labels(sums: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Returns the sums at the labels, float32 [rows, W], from those of all classes, [W, rows, C]; 0 for other ids."""
    ids = label.T
    is_class = ids < sums.shape[2]
    found = np.take_along_axis(sums, np.where(is_class, ids, 0)[..., np.newaxis].astype(np.intp), axis=2)[..., 0]
    return np.where(is_class, found, np.float32(0)).T


class SlidingPredictor:
    """Predicts images of any size with a function that predicts batches of windows of one size."""

    def __init__(
        self,
        predict: Callable[[np.ndarray], np.ndarray],
        num_classes: int,
        window_size: int | tuple[int, int] | None,
        scales: Sequence[float] | ScaledSizes = SCALES_SINGLE,
        mirror: bool = True,
        windows_per_batch: int = 4,
        placing: WindowPlacing = BY_A_THIRD,
        whole_sizes: tuple[int, int] = (1, 0),
        channels: int = 3,
    ) -> None:
        """Sets windows, scales and mirroring.

        Args:
          predict: takes float32 [N, h, w, channels] with the mean subtracted, N in 1..windows_per_batch and h, w the
            window size; returns float32 [N, h, w, num_classes], probabilities that sum to 1 per pixel. It is called in
            a background thread, one call at a time, and must not modify an array that it has returned.
          num_classes: number of classes, 1..65536.
          window_size: height and width of a window in pixels, or one number for both; None for one window per
            scale that contains the whole image.
          scales: factors by which the image is resized, or the sizes that it gets; all have equal weight.
          mirror: whether to average with the prediction of the image mirrored left to right.
          windows_per_batch: maximum number of windows in one call of `predict`.
          placing: where the windows lie; by default their stride is window * 2 // 3.
          whole_sizes: (step, rest): windows of whole images have heights and widths of step * n + rest.
          channels: of the images.

        Raises:
          ValueError: an argument is outside its range.
        """
        _check_settings(num_classes, windows_per_batch, placing.overlap)
        self._predict = predict
        self._num_classes = num_classes
        self._channels = channels
        self._window_size = None if window_size is None else _height_and_width(window_size)
        self._whole_sizes = whole_sizes
        self._placing = placing
        self._sizes_at = _sizes_at(scales)
        self._mirrorings = (False, True) if mirror else (False,)
        self._windows_per_batch = windows_per_batch

    def calling(self, predict: Callable[[np.ndarray], np.ndarray]) -> SlidingPredictor:
        """Returns a predictor of the same settings that calls another function for batches of windows."""
        other = copy(self)
        other._predict = predict
        return other

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Predicts one image: averages the stitched probabilities of all scales and mirrored copies.

        A scaled image has max(1, round(size * scale)) pixels along each axis, or a size of `ScaledSizes`. If it is
        smaller than the window, it is padded with 0 (the mean), and the prediction is cropped.

        Args:
          image: float32 [H, W, channels] with the mean subtracted, 1 x 1 or more.

        Returns:
          float32 [H, W, num_classes], 0..1, summing to 1 over the classes.

        Raises:
          ValueError: the image is not [H, W, channels] or is empty, or `predict` returns an unexpected shape.
          NotFiniteError: `predict` returns NaN or infinity.
        """
        probabilities = self.predict(image, Wanted(np.float32)).probabilities
        assert probabilities is not None
        return probabilities

    def labels(self, image: np.ndarray) -> np.ndarray:
        """Predicts the most probable class of each pixel; see `predict`."""
        return self.predict(image).labels

    def predict(self, image: np.ndarray, wanted: Wanted = LABELS_ONLY) -> Prediction:
        """Predicts the most probable class of each pixel, and what else is wanted, in one pass over the windows.

        Memory is needed for the float32 probabilities of the rows that the largest window reaches, not of the whole
        image, in addition to what is returned. The labels do not depend on what else is wanted.

        Args:
          image: see `probabilities`.
          wanted: what to keep beside the labels.

        Raises:
          ValueError, NotFiniteError: see `probabilities`.
        """
        image = _checked_image(image, self._channels)
        size = image.shape[:2]
        kind, copies = wanted.probabilities, len(self._sizes_at(*size)) * len(self._mirrorings)
        result = Prediction(
            np.empty(size, np.uint8 if self._num_classes <= 256 else np.uint16),
            None if kind is None else np.empty((*size, self._num_classes), kind),
            np.empty(size, np.float32) if wanted.confidence else None,
            None if wanted.label is None else np.empty(size, np.float32),
        )
        for top, sums in self._bands(image):
            rows = slice(top, top + sums.shape[1])
            result.labels[rows] = sums.argmax(axis=2).T
            if result.confidence is not None:
                result.confidence[rows] = sums.max(axis=2).T / np.float32(copies)
            if wanted.label is not None and result.of_label is not None:
                result.of_label[rows] = _at_labels(sums, wanted.label[rows]) / np.float32(copies)
            if result.probabilities is not None:
                averages = sums.transpose(1, 0, 2) / np.float32(copies)
                result.probabilities[rows] = np.rint(255 * averages) if kind is np.uint8 else averages
        return result

    def window_count(self, height: int, width: int) -> int:
        """Returns how many windows an image needs, over all scales and mirrored copies."""
        return len(self._mirrorings) * sum(
            math.prod(
                len(window_starts(length, window, self._placing.stride(window)))
                for length, window in zip(scaled, self._window_size_at(scaled), strict=True)
            )
            for scaled in self._sizes_at(height, width)
        )

    def _bands(self, image: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yields first row and sum over scales and copies, float32 [W, rows, classes], of each band from the top."""
        height, width = image.shape[:2]
        bands = _OpenBands(height, width, self._num_classes)
        # The next batch is predicted in the background while this one is added to the bands.
        for batch, predictions in read_ahead(self._predict_windows, self._batches(image), depth=1):
            for window, predicted in zip(batch, predictions, strict=True):
                yield from bands.hand_out(window.first_row)
                _check_finite(window, predicted)
                bands.add(window, predicted)
        yield from bands.hand_out(height)

    def _batches(self, image: np.ndarray) -> Iterator[list[_Window]]:
        """Yields the windows in batches of one size."""
        for _, windows in groupby(self._windows(image), key=lambda window: window.size):
            while batch := list(islice(windows, self._windows_per_batch)):
                yield batch

    def _windows(self, image: np.ndarray) -> Iterator[_Window]:
        """Yields the windows of all scales and mirrored copies, ordered by the first image row that they reach."""
        size = image.shape[:2]
        strips = [strip for scaled in self._sizes_at(*size) for strip in self._strips(size, scaled)]
        for strip in sorted(strips, key=lambda strip: strip.rows[0].reached.start):
            resized = along_columns(strip.columns.from_image, along_rows(strip.from_image, image))
            for mirrored in self._mirrorings:
                pixels = np.ascontiguousarray((resized[::-1] if mirrored else resized).transpose(1, 0, 2))
                for left, columns in strip.columns.placements(mirrored):
                    cut = pixels[:, left : left + strip.columns.window]
                    corner = strip.offset, strip.columns.offset
                    yield _Window(cut, (strip.window, strip.columns.window), corner, strip.rows, columns)

    def _strips(self, size: Size, scaled: Size) -> list[_Strip]:
        placing = self._placing
        rows, columns = (
            ScaledAxis(length, resized, window, placing.stride(window), placing.offset(window, resized))
            for length, resized, window in zip(size, scaled, self._window_size_at(scaled), strict=True)
        )
        return [
            _Strip(rows.window, rows.offset, rows.from_image[top : top + rows.window], placements, columns)
            for top, placements in rows.placements_by_band(_BAND_ROWS)
        ]

    def _window_size_at(self, scaled: Size) -> Size:
        """Returns height and width of the windows for a scaled image."""
        if self._window_size is not None:
            return self._window_size
        height, width = (whole_window(length, *self._whole_sizes) for length in scaled)
        return height, width

    def _predict_windows(self, batch: list[_Window]) -> tuple[list[_Window], np.ndarray]:
        """Returns the windows and their probabilities, float32 [N, h, w, num_classes]."""
        size = batch[0].size
        windows = np.zeros((len(batch), *size, self._channels), np.float32)
        for padded, window in zip(windows, batch, strict=True):
            height, width = window.pixels.shape[:2]
            top, left = window.corner
            padded[top : top + height, left : left + width] = window.pixels
        predicted = np.asarray(self._predict(windows))
        expected = (len(batch), *size, self._num_classes)
        if predicted.shape != expected:
            raise ValueError(
                f"predict returned shape {list(predicted.shape)}: expected {list(expected)}; "
                "return the probabilities at the size of the windows, for all classes"
            )
        return batch, predicted
