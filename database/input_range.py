"""Defines which stored number is white in images of more than 8 bits, and warns where that seems to be wrong."""

from __future__ import annotations

import logging
import threading

import numpy as np

logger = logging.getLogger(__name__)

# Numbers that usually are white: in fractions, and in 8, 10, 12, 14 and 16 bits.
_USUAL_WHITES = (1, 255, 1023, 4095, 16383, 65535)

# Images whose largest number is at most this fraction of white appear dark or black to the network.
_DARK = 0.25

# Numbers above this many times white are no overshoots: another number is white in such images.
_ABOVE_DEFAULT = 4

# Numbers above this many times white, or as far below 0 as white is above it, are not brightness: they mark pixels
# without data, such as -9999 or 1e32. Smaller excesses below 0 or above white are overshoots of resampling, and
# highlights.
_FAR_ABOVE = 1000

_ADVICE = "give the number that is white with --input_range"
_ADVICE_FOR_LATER = "give the number that is white with --input_range to train.py, which uses the images"
_ADVICE_FOR_CHANNELS = "give the number that is white in all images with --input_range"
_REPLACE = "replace them in the file, by 0 where there is no data, and let the label ignore such pixels"


class InputRange:
    """The number that is white, and the kinds of images already warned about. It is thread-safe.

    Attributes:
        white: the number that is white in images of more than 8 bits; None for the default of each kind.
    """

    def __init__(self, white: float | None = None, *, is_decided: bool = True) -> None:
        """Sets the number that is white.

        Args:
            white: above 0.
            is_decided: False if another number may still be given when the images are used; `fault_of` then reports
                only numbers that are wrong whatever white is.
        """
        self.white = white
        self._is_decided = is_decided
        self._warned: set[tuple[str, str]] = set()
        self._scaled_by: dict[float, str] = {}  # an image, by the default number for white that it was scaled by
        self._lock = threading.Lock()

    def fault_of(self, kind: str, numbers: np.ndarray, usual_white: float) -> str | None:
        """Describes why numbers cannot be used as an image; None if they can.

        Faults are NaN and infinity, numbers far outside 0 to white, and images in which every pixel would be clipped to
        black or to white.

        Args:
            kind: kind of the numbers, as text.
            numbers: [H, W] of the whole image.
            usual_white: the default number for white in its kind.
        """
        if numbers.size == 0:
            return None
        white = usual_white if self.white is None else self.white
        shown = f"numbers from 0 (black) to {white:g} (white)"
        smallest, largest = float(numbers.min()), float(numbers.max())  # NaN if any is
        if not np.isfinite(smallest + largest) and not np.isfinite(numbers).all():
            return f"{kind}, {_counted(numbers, ~np.isfinite(numbers))}, expected {shown}: {_REPLACE}"
        if not self._is_decided:
            return None
        if largest > _FAR_ABOVE * white or smallest < -white:
            far = (numbers > _FAR_ABOVE * white) | (numbers < -white)
            fault = f"{kind}, {_counted(numbers, far)}, expected {shown}"
            return f"{fault}: {_REPLACE}; or, if these are brightness, {self._advice}"
        if smallest < 0 and largest <= 0:
            return (
                f"{kind} from {smallest:g} to {largest:g}, so the image is black, expected {shown}: make them positive"
            )
        if largest > white and smallest >= white:
            return f"{kind} from {smallest:g} to {largest:g}, so the image is white, expected {shown}: {self._advice}"
        return None

    def check(self, path: str, kind: str, numbers: np.ndarray, usual_white: float) -> None:
        """Warns, once per kind of image, if the numbers of an image do not fit the number for white.

        Args:
            path: path of the image.
            kind: kind of its numbers, as text.
            numbers: [H, W], finite.
            usual_white: the default number for white in its kind.
        """
        white = usual_white if self.white is None else self.white
        smallest, largest = float(numbers.min(initial=0)), float(numbers.max(initial=0))
        if smallest < 0:
            found = f"{path}: {kind} down to {smallest:g}; those below 0 are read as black"
            self._warn_once(kind, "negative", found, "make them positive if they are not black")
        if largest > white:
            self._warn_once(kind, "above", f"{path}: {kind} up to {largest:g}; those above {white:g} are read as white")
        elif 0 < largest <= white * _DARK:
            likely = next((usual for usual in _USUAL_WHITES if usual >= largest), largest)
            self._warn_once(
                kind, "below", f"{path}: {kind} up to {largest:g}, which is dark or black where {white:g} is white"
                f"{f' (it may be {likely:g})' if likely < white else ''}"
            )  # fmt: skip

    def check_colors(self, path: str, largest: int) -> None:
        """Warns once about 16-bit colours that use little of the range.

        Args:
            path: path of the image.
            largest: the largest value of the upper 8 bits of its colours.
        """
        if largest <= 255 * _DARK:
            bound = (largest + 1) * 256
            found = f"{path}: 16-bit colours below {bound}, which is dark or black where 65535 is white"
            self._warn_once("colours", "below", found, "convert them to 8 bits")

    def check_bytes(self, path: str) -> None:
        """Warns once if an image has 8 bits although a number for white was given."""
        if self.white is not None:
            found = f"{path}: the image has 8 bits, so 255 is white and --input_range has no effect"
            self._warn_once("bytes", "given", found, "give the flag only for images of more bits")

    def warn_of_dropped_channel(self, path: str) -> None:
        """Warns once that the fourth channel of an image is dropped as alpha."""
        found = f"{path}: the fourth channel is dropped as alpha, which it is by the file"
        self._warn_once(
            "alpha", "dropped", found, "if it is a band, such as near infrared, train with --input_channels 4"
        )

    def check_scale(self, path: str, numbers: np.ndarray, usual_white: float) -> None:
        """Warns, once each, if channels of more than 8 bits are scaled by several defaults, or by one far too small.

        Args:
            path: path of the image.
            numbers: [H, W, channels], finite, of more than 8 bits.
            usual_white: the default number for white in their kind.
        """
        if self.white is not None or numbers.size == 0:
            return
        kind, largest = numbers.dtype.name, float(numbers.max())
        with self._lock:
            self._scaled_by.setdefault(usual_white, f"{path} ({kind})")
            others = [(white, image) for white, image in self._scaled_by.items() if white != usual_white]
        for white, image in others[:1]:
            found = f"{path} ({kind}): {usual_white:g} is white, but {white:g} in {image}, so they are scaled apart"
            self._warn_once("channels", "mixed", found, _ADVICE_FOR_CHANNELS)
        if largest > _ABOVE_DEFAULT * usual_white:
            found = f"{path}: {kind} up to {largest:g}, where {usual_white:g} is white"
            self._warn_once(kind, "far above", found, _ADVICE_FOR_CHANNELS)

    @property
    def _advice(self) -> str:
        return _ADVICE if self._is_decided else _ADVICE_FOR_LATER

    def _warn_once(self, kind: str, fault: str, found: str, advice: str | None = None) -> None:
        with self._lock:
            if (kind, fault) in self._warned:
                return
            self._warned.add((kind, fault))
        logger.warning("%s: %s (logged once, other images may be affected)", found, advice or self._advice)


def scaled_to_bytes(numbers: np.ndarray, white: float) -> np.ndarray:
    """Scales finite numbers of any type to uint8: 0 and below to 0, `white` and above to 255, rounded."""
    if numbers.dtype == np.uint16:
        table = np.clip(np.rint(np.arange(65536) * (255.0 / white)), 0, 255).astype(np.uint8)
        return table[numbers]
    return np.clip(np.rint(numbers.astype(np.float64) * (255.0 / white)), 0, 255).astype(np.uint8)


def _counted(numbers: np.ndarray, bad: np.ndarray) -> str:
    """Describes how many pixels are bad, and the first of them with its position."""
    row, column = (int(index) for index in np.argwhere(bad)[0])
    count = np.count_nonzero(bad)
    return (
        f"{count} of {numbers.size} pixels out of range "
        f"(the first is {numbers[row, column]:g} in row {row}, column {column})"
    )
