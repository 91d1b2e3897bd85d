"""Windows, scales, mirror and stitching over a predict function.

The protocol of Zhao et al., "Pyramid Scene Parsing Network" (CVPR 2017): the probabilities of neighbouring
windows are averaged where they overlap, those of the scales and mirrored copies everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product

import numpy as np

SCALES_SINGLE = (1.0,)
SCALES_MULTI = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


class SlidingError(ValueError):
    """Windows, scales, images or predictions that do not fit together."""


def resize_bilinear(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes on the half-pixel grid without antialiasing, as OpenCV's INTER_LINEAR does.

    Args:
      array: float32 [H, W, C].
      height: rows of the result, 1 or more.
      width: columns of the result, 1 or more.

    Returns:
      float32 [height, width, C]; the array itself where the size is already right.

    Raises:
      SlidingError: the array is not [H, W, C] or empty, or height or width is below 1.
    """
    array = np.asarray(array, np.float32)
    if array.ndim != 3 or not array.size:
        raise SlidingError(
            f"array to resize has shape {list(array.shape)}: expected a non-empty [H, W, C]; resize one image at a time"
        )
    if height < 1 or width < 1:
        raise SlidingError(f"size to resize to is {height} x {width}: expected 1 x 1 or more; pass a larger one")
    rows_first = height * array.shape[1] <= array.shape[0] * width  # the order with the smaller intermediate
    for axis in (0, 1) if rows_first else (1, 0):
        array = _interpolate(array, (height, width)[axis], axis)
    return array


def _interpolate(array: np.ndarray, size: int, axis: int) -> np.ndarray:
    length = array.shape[axis]
    if size == length:
        return array
    positions = np.clip((np.arange(size) + 0.5) * (length / size) - 0.5, 0, length - 1)
    lower = np.floor(positions).astype(np.intp)
    fractions = (positions - lower).astype(np.float32)
    resized = np.take(array, lower, axis)
    difference = np.take(array, np.minimum(lower + 1, length - 1), axis)
    difference -= resized
    difference *= np.expand_dims(fractions, tuple(other for other in range(array.ndim) if other != axis))
    resized += difference
    return resized


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Places windows along one axis so that every pixel is covered and none lies outside.

    Args:
      length: pixels along the axis, 1 or more.
      window: pixels in a window, 1 or more.
      stride: pixels from one window's start to the next, 1..window.

    Returns:
      0, stride, 2 * stride and so on, the last moved back to length - window; [0] if one window is enough.

    Raises:
      SlidingError: an argument is outside its range.
    """
    if length < 1 or window < 1:
        raise SlidingError(f"length {length} with window {window}: expected 1 or more for both; pass larger ones")
    if not 1 <= stride <= window:
        raise SlidingError(
            f"stride {stride} with window {window}: expected 1..{window}, a longer one leaves "
            "pixels uncovered; choose one in that range"
        )
    last = max(length - window, 0)
    return [*range(0, last, stride), last]


def _window_stride(window: int, overlap: float) -> int:
    # 1e-9 makes up for products such as 10 * (1 - 0.8), which lie a rounding error below a whole number.
    return max(1, math.floor(window * (1 - overlap) + 1e-9))


def _coverage(length: int, window: int, starts: Sequence[int]) -> np.ndarray:
    """int64 [length]: by how many windows each pixel along one axis is covered."""
    counts = np.zeros(length, np.int64)
    for start in starts:
        counts[start : start + window] += 1
    return counts


class _ScaleMap:
    """The probabilities of one scale, growing window by window into their average.

    How often a pixel will be covered is known beforehand, so each window is divided by it as it comes in, and
    the image and its mirrored copy, whose coverages differ, share one sum.
    """

    def __init__(
        self,
        size: tuple[int, int],
        window_size: tuple[int, int],
        strides: tuple[int, ...],
        copies: int,
        num_classes: int,
    ) -> None:
        self.starts = [window_starts(*axis) for axis in zip(size, window_size, strides, strict=True)]
        rows, columns = (_coverage(*axis) for axis in zip(size, window_size, self.starts, strict=True))
        self._weights = (1 / (copies * np.outer(rows, columns))).astype(np.float32)[:, :, np.newaxis]
        self._missing = copies * len(self.starts[0]) * len(self.starts[1])
        self._sum = np.zeros((*size, num_classes), np.float32)

    def add(self, window: _Window, probabilities: np.ndarray) -> np.ndarray | None:
        """Adds one window; if it was the last, lets go of the map and returns it, float32 [H, W, C]."""
        sums = self._sum[:, ::-1] if window.mirrored else self._sum
        target = sums[window.top :, window.left :][: probabilities.shape[0], : probabilities.shape[1]]
        height, width = target.shape[:2]
        weights = self._weights[window.top : window.top + height, window.left : window.left + width]
        target += probabilities[:height, :width] * weights
        self._missing -= 1
        if self._missing:
            return None
        finished = self._sum
        del self._sum
        return finished


@dataclass(frozen=True)
class _Window:
    scale_map: _ScaleMap
    mirrored: bool
    top: int  # in the scaled image, after mirroring
    left: int
    pixels: np.ndarray  # float32 [window height, window width, 3]


def _height_and_width(window_size: int | tuple[int, int]) -> tuple[int, int]:
    size = tuple(window_size) if isinstance(window_size, Sequence) else (window_size, window_size)
    if len(size) != 2 or min(size) < 1:
        raise SlidingError(
            f"window_size is {window_size}: expected a height and a width of 1 or more; use "
            "the crop size the network was trained with"
        )
    return size


def _check_settings(num_classes: int, scales: Sequence[float], windows_per_batch: int, overlap: float) -> None:
    if not 1 <= num_classes <= 65536:
        raise SlidingError(f"num_classes is {num_classes}: expected 1..65536; pass the dataset's number of classes")
    if not len(scales) or not all(scale > 0 and math.isfinite(scale) for scale in scales):
        raise SlidingError(
            f"scales are {list(scales)}: expected one or more numbers above 0; use 1.0 for the image as it is"
        )
    if windows_per_batch < 1:
        raise SlidingError(f"windows_per_batch is {windows_per_batch}: expected 1 or more; use 1 if memory is short")
    if not 0 <= overlap < 1:
        raise SlidingError(f"overlap is {overlap}: expected 0 or more and below 1; use 1/3 if unsure")


class SlidingPredictor:
    """Predicts images of any size with a function that takes batches of windows of one size."""

    def __init__(
        self,
        predict: Callable[[np.ndarray], np.ndarray],
        num_classes: int,
        window_size: int | tuple[int, int],
        scales: Sequence[float] = SCALES_SINGLE,
        mirror: bool = True,
        windows_per_batch: int = 4,
        overlap: float = 1 / 3,
    ) -> None:
        """Sets how images are cut, scaled and mirrored.

        Args:
          predict: takes float32 [N, h, w, 3], less the mean, with N in 1..windows_per_batch and h, w the
            window size, and returns float32 [N, h, w, num_classes], probabilities that sum to 1 per pixel.
          num_classes: number of classes, 1..65536.
          window_size: height and width of a window in pixels, or one number for both.
          scales: factors by which the image is resized; all weigh alike.
          mirror: whether to average with the prediction of the image mirrored left to right.
          windows_per_batch: the most windows in one call of `predict`.
          overlap: the part that neighbouring windows share, 0 or more and below 1. The stride is the window
            less that part, rounded down, and 1 or more: window * 2 // 3 for an overlap of 1/3.

        Raises:
          SlidingError: an argument is outside its range.
        """
        _check_settings(num_classes, scales, windows_per_batch, overlap)
        self._predict = predict
        self._num_classes = num_classes
        self._window_size = _height_and_width(window_size)
        self._strides = tuple(_window_stride(length, overlap) for length in self._window_size)
        self._scales = tuple(scales)
        self._mirrorings = (False, True) if mirror else (False,)
        self._windows_per_batch = windows_per_batch

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Predicts one image: the average over scales and mirrored copies of their stitched probabilities.

        A scaled image has max(1, round(size * scale)) pixels along each axis. Where it is smaller than the
        window, it is padded with 0, the mean, below and to the right, and the prediction is cropped back.

        Args:
          image: float32 [H, W, 3], less the mean, 1 x 1 or more.

        Returns:
          float32 [H, W, num_classes], 0..1, summing to 1 over the classes.

        Raises:
          SlidingError: the image is not [H, W, 3] or is empty, or `predict` returns an unexpected shape.
        """
        image = np.asarray(image, np.float32)
        if image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise SlidingError(
                f"image has shape {list(image.shape)}: expected a non-empty [H, W, 3]; pass one colour image at a time"
            )
        height, width = image.shape[:2]
        total = np.zeros((height, width, self._num_classes), np.float32)
        windows = self._windows(image)
        while batch := list(islice(windows, self._windows_per_batch)):
            for window, predicted in zip(batch, self._predict_windows(batch), strict=True):
                finished = window.scale_map.add(window, predicted)
                if finished is not None:
                    total += resize_bilinear(finished, height, width)
        total /= len(self._scales)
        return total

    def labels(self, image: np.ndarray) -> np.ndarray:
        """Predicts the most probable class of each pixel; arguments and errors are those of `probabilities`.

        Returns:
          [H, W], 0..num_classes-1: uint8, or uint16 for more than 256 classes.
        """
        dtype = np.uint8 if self._num_classes <= 256 else np.uint16
        return self.probabilities(image).argmax(axis=2).astype(dtype)

    def _windows(self, image: np.ndarray) -> Iterator[_Window]:
        """The windows of all scales and mirrored copies, one after the other."""
        for scale in self._scales:
            height, width = (max(1, round(length * scale)) for length in image.shape[:2])
            scaled = resize_bilinear(image, height, width)
            scale_map = _ScaleMap(
                (height, width), self._window_size, self._strides, len(self._mirrorings), self._num_classes
            )
            for mirrored in self._mirrorings:
                source = scaled[:, ::-1] if mirrored else scaled
                for top, left in product(*scale_map.starts):
                    yield _Window(scale_map, mirrored, top, left, self._crop(source, top, left))

    def _crop(self, source: np.ndarray, top: int, left: int) -> np.ndarray:
        height, width = self._window_size
        pixels = np.zeros((height, width, 3), np.float32)
        part = source[top : top + height, left : left + width]
        pixels[: part.shape[0], : part.shape[1]] = part
        return pixels

    def _predict_windows(self, batch: Sequence[_Window]) -> np.ndarray:
        predicted = np.asarray(self._predict(np.stack([window.pixels for window in batch])))
        expected = (len(batch), *self._window_size, self._num_classes)
        if predicted.shape != expected:
            raise SlidingError(
                f"predict returned shape {list(predicted.shape)}: expected {list(expected)}; "
                "return the probabilities at the size of the windows, for all classes"
            )
        return predicted
