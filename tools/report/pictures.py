"""Chooses validation images for the report, and encodes them at a bounded size."""

from __future__ import annotations

import base64
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

BEST, MEDIAN, WORST, UNSCORED = "best", "median", "worst", "not scored"

_SIDES = (640, 480, 320, 200)  # longest side, pixels; a smaller one is taken if the pictures have too many bytes
_QUALITY = 85


class Choice(NamedTuple):
    """A chosen image: why it was chosen, and its position in the split."""

    kind: str
    position: int


@dataclass(frozen=True)
class Views:
    """What is shown of one image.

    Attributes:
        image: uint8 [H, W, 3].
        truth: uint8 [H, W], training ids, 255 ignored; None without a label.
        predictions: uint8 [H, W] each, of the runs.
    """

    image: np.ndarray
    truth: np.ndarray | None
    predictions: Sequence[np.ndarray]

    def reduced(self, side: int) -> Views:
        """Returns the views at most `side` pixels high and wide; labels have the id nearest to each pixel's centre."""
        height, width = self.image.shape[:2]
        scale = min(1.0, side / max(height, width))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        image = self.image
        if scale < 1:
            image = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS))
        truth = None if self.truth is None else _nearest(self.truth, size)
        return Views(image, truth, [_nearest(ids, size) for ids in self.predictions])


@dataclass(frozen=True)
class EncodedViews:
    """Views as text in a page.

    Attributes:
        width, height: pixels.
        image: JPEG as a `data:` address.
        truth: see `packed`; None without a label.
        predictions: see `packed`, of the runs.
    """

    width: int
    height: int
    image: str
    truth: str | None
    predictions: Sequence[str]

    @property
    def length(self) -> int:
        """Number of characters."""
        return len(self.image) + len(self.truth or "") + sum(map(len, self.predictions))


def choose_images(scores: Sequence[float], count: int) -> list[Choice]:
    """Chooses the best, median and worst images; each at most once.

    Args:
        scores: of the images; NaN if an image has none.
        count: number of images of each kind. If there are fewer than three times as many, the best are chosen first in
            each round, then the worst, then the median.

    Returns:
        The best from the best on, the median, and the worst with the worst last; evenly spaced images, of the kind
        `UNSCORED`, if no image has a score.
    """
    ranked = sorted((index for index, score in enumerate(scores) if math.isfinite(score)), key=lambda i: -scores[i])
    if not ranked:
        places = np.linspace(0, len(scores) - 1, min(3 * count, len(scores))).round().astype(int)
        return [Choice(UNSCORED, int(place)) for place in places]
    middle = (len(ranked) - 1) / 2
    orders = {
        BEST: list(range(len(ranked))),
        WORST: list(reversed(range(len(ranked)))),
        MEDIAN: sorted(range(len(ranked)), key=lambda rank: (abs(rank - middle), rank)),
    }
    taken: dict[int, str] = {}
    for _ in range(count):
        for kind, order in orders.items():
            free = next((rank for rank in order if rank not in taken), None)
            if free is not None:
                taken[free] = kind
    order_of_kinds = (BEST, MEDIAN, WORST)
    return [
        Choice(kind, ranked[rank])
        for rank, kind in sorted(taken.items(), key=lambda item: (order_of_kinds.index(item[1]), item[0]))
    ]


def encode(views: Sequence[Views], most_characters: int) -> tuple[list[EncodedViews], int]:
    """Encodes views with the largest of a few sizes at which they fit.

    Args:
        views: already reduced to the largest size, to save memory; see `Views.reduced`.
        most_characters: of all together.

    Returns:
        The encoded views, without the last ones if even the smallest size is too large; and the longest side in pixels.
    """
    for side in _SIDES:
        encoded = [_encoded(view.reduced(side)) for view in views]
        if sum(view.length for view in encoded) <= most_characters:
            return encoded, side
    lengths = np.cumsum([view.length for view in encoded])
    return encoded[: int(np.searchsorted(lengths, most_characters, side="right"))], side


LARGEST_SIDE = _SIDES[0]


def packed(ids: np.ndarray) -> str:
    """Returns training ids, row by row one byte each, compressed by zlib, in base64."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(ids, np.uint8).tobytes(), 9)).decode("ascii")


def _encoded(views: Views) -> EncodedViews:
    height, width = views.image.shape[:2]
    file = io.BytesIO()
    Image.fromarray(views.image).save(file, "JPEG", quality=_QUALITY, optimize=True)
    image = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
    truth = None if views.truth is None else packed(views.truth)
    return EncodedViews(width, height, image, truth, [packed(ids) for ids in views.predictions])


def _nearest(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows, columns = (
        np.minimum((np.arange(count) + 0.5) * old / count, old - 1).astype(int)
        for count, old in zip(size, ids.shape, strict=True)
    )
    return ids[np.ix_(rows, columns)]
