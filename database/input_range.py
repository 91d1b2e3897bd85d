"""Which stored number stands for white in images of more than 8 bits, and warnings where that seems to be wrong."""

from __future__ import annotations

import logging
import threading

import numpy as np

logger = logging.getLogger(__name__)

# Numbers that usually stand for white: fractions, 8, 10, 12, 14 and 16 bits.
_USUAL_WHITES = (1, 255, 1023, 4095, 16383, 65535)

# Images whose largest number is up to this part of white are shown to the network as dark or black.
_DARK = 0.25

_ADVICE = "say with --input_range which number is white"


class InputRange:
    """The number that stands for white, and the kinds of images that were warned of. Threads may share it.

    Attributes:
        white: in images of more than 8 bits; None for what is usual for their kind.
    """

    def __init__(self, white: float | None = None) -> None:
        """Takes the number that stands for white, above 0."""
        self.white = white
        self._told: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def check(self, path: str, kind: str, largest: float, usual_white: float) -> None:
        """Warns, once for each kind of image, where the numbers of an image do not suit what stands for white.

        Args:
            path: of the image.
            kind: of its numbers, in words.
            largest: of its numbers.
            usual_white: what stands for white in its kind unless told otherwise.
        """
        white = usual_white if self.white is None else self.white
        if largest > white:
            self._warn_once(kind, "above", f"{path}: {kind} up to {largest:g}; those above {white:g} are read as white")
        elif 0 < largest <= white * _DARK:
            likely = next((usual for usual in _USUAL_WHITES if usual >= largest), largest)
            self._warn_once(
                kind, "below", f"{path}: {kind} up to {largest:g}, which is dark or black where {white:g} is white"
                f"{f' (it may be {likely:g})' if likely < white else ''}"
            )  # fmt: skip

    def check_colors(self, path: str, largest: int) -> None:
        """Warns, once, of colours of 16 bits that are nearly unused.

        Args:
            path: of the image.
            largest: of the upper 8 bits of its colours.
        """
        if largest <= 255 * _DARK:
            bound = (largest + 1) * 256
            told = f"{path}: colours of 16 bits below {bound}, which is dark or black where 65535 is white"
            self._warn_once("colours", "below", told, "convert them to 8 bits")

    def check_bytes(self, path: str) -> None:
        """Warns, once, where an image of 8 bits is met and a number for white was given."""
        if self.white is not None:
            told = f"{path}: an image of 8 bits, in which 255 is white whatever --input_range is"
            self._warn_once("bytes", "given", told, "the flag is for images of more bits")

    def _warn_once(self, kind: str, fault: str, told: str, advice: str = _ADVICE) -> None:
        with self._lock:
            if (kind, fault) in self._told:
                return
            self._told.add((kind, fault))
        logger.warning("%s: %s (warned of once, other images may be alike)", told, advice)


def scaled_to_bytes(numbers: np.ndarray, white: float) -> np.ndarray:
    """Numbers of any kind as uint8: 0 and below to 0, `white` and above to 255, rounded; NaN to 0."""
    if numbers.dtype == np.uint16:
        table = np.clip(np.rint(np.arange(65536) * (255.0 / white)), 0, 255).astype(np.uint8)
        return table[numbers]
    scaled = np.nan_to_num(numbers.astype(np.float64) * (255.0 / white), nan=0.0, posinf=255.0, neginf=0.0)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
