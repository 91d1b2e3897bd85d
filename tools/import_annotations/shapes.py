"""Shapes of annotations and the pixels that they cover.

One convention holds for all formats: coordinates are in pixels, (0, 0) is the upper left corner of the image, and the
pixel in row r and column c has its centre at (c + 0.5, r + 0.5). A shape covers the pixels whose centres it contains.
A centre on the left or upper edge of a polygon is inside, one on the right or lower edge is outside, so that polygons
with a common edge neither overlap nor leave a gap. Where a polygon overlaps itself, the even-odd rule holds, so that a
ring that is connected to its outline by a line is a hole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from database.errors import DataError
from database.images import read_label
from tools.errors import AnnotationError

# Crossings of edges and rows that are computed at a time.
_CROSSINGS_AT_A_TIME = 1 << 20


class Window(NamedTuple):
    """Covered pixels in a part of an image: bool [h, w], whose first pixel is in row `top` and column `left`."""

    top: int
    left: int
    mask: np.ndarray

    @property
    def area(self) -> int:
        """The number of covered pixels."""
        return int(np.count_nonzero(self.mask))

    def of(self, image: np.ndarray) -> np.ndarray:
        """Returns the same part of an array [H, W], as a view."""
        height, width = self.mask.shape
        return image[self.top : self.top + height, self.left : self.left + width]


class Shape(Protocol):
    """A shape of an annotation."""

    def covered(self, height: int, width: int) -> Window:
        """Returns the pixels of an image [height, width] that the shape covers.

        Raises:
            AnnotationError: the shape does not fit the image, or is damaged.
        """


@dataclass(frozen=True, eq=False)
class Polygon:
    """A closed polygon: float64 [n, 2], x and y of its corners."""

    corners: np.ndarray

    def covered(self, height: int, width: int) -> Window:
        """Fills the polygon by the even-odd rule; see the module for the convention."""
        (left, top), (right, bottom) = (
            np.clip(_first_centre(bound), 0, (width, height)).astype(np.int64)
            for bound in (self.corners.min(axis=0), self.corners.max(axis=0))
        )
        # True where the inside begins or ends; the last column collects what is right of the window.
        changes = np.zeros((bottom - top, right - left + 1), bool)
        for rows, xs in _crossings(self.corners, top, bottom):
            columns = np.clip(_first_centre(xs), left, right).astype(np.int64)
            np.logical_xor.at(changes, (rows - top, columns - left), True)
        return Window(int(top), int(left), np.logical_xor.accumulate(changes, axis=1)[:, :-1])


def _first_centre(positions: np.ndarray) -> np.ndarray:
    """Returns the index of the first pixel whose centre is at a position or after it, as float64."""
    return np.ceil(positions - 0.5)


def _crossings(corners: np.ndarray, top: int, bottom: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields rows, int64 [m], and the x where an edge crosses the line of their centres, float64 [m].

    Edges are computed downwards, so that polygons that share an edge in opposite directions have equal crossings.
    """
    following = np.roll(corners, -1, axis=0)
    is_upwards = (corners[:, 1] > following[:, 1])[:, None]
    starts, ends = np.where(is_upwards, following, corners), np.where(is_upwards, corners, following)
    first, last = (np.clip(_first_centre(points[:, 1]), top, bottom).astype(np.int64) for points in (starts, ends))
    crossed = np.flatnonzero(last > first)
    if not crossed.size:
        return
    starts, ends, first, counts = starts[crossed], ends[crossed], first[crossed], (last - first)[crossed]
    x_steps, y_steps = (ends - starts).T
    groups = (np.cumsum(counts) - counts) // _CROSSINGS_AT_A_TIME
    for group in np.unique(groups):
        edges = np.flatnonzero(groups == group)
        before = np.cumsum(counts[edges]) - counts[edges]
        rows = np.arange(counts[edges].sum()) + np.repeat(first[edges] - before, counts[edges])
        edge = np.repeat(edges, counts[edges])
        # The product comes first: it is exact for coordinates such as 2.25, so that a crossing at a centre is found.
        yield rows, starts[edge, 0] + (rows + 0.5 - starts[edge, 1]) * x_steps[edge] / y_steps[edge]


@dataclass(frozen=True)
class Ellipse:
    """An ellipse: centre, radii in pixels, and its clockwise rotation in degrees."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    rotation: float = 0.0

    def covered(self, height: int, width: int) -> Window:
        """Covers the centres inside and on the edge."""
        reach = max(self.radius_x, self.radius_y)
        top, bottom = (int(np.clip(np.ceil(self.y + side - 0.5), 0, height)) for side in (-reach, reach + 1))
        left, right = (int(np.clip(np.ceil(self.x + side - 0.5), 0, width)) for side in (-reach, reach + 1))
        y = np.arange(top, bottom)[:, None] + 0.5 - self.y
        x = np.arange(left, right)[None, :] + 0.5 - self.x
        angle = np.deg2rad(self.rotation)
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        if min(self.radius_x, self.radius_y) <= 0:
            return Window(top, left, np.zeros((bottom - top, right - left), bool))
        return Window(top, left, (along / self.radius_x) ** 2 + (across / self.radius_y) ** 2 <= 1)


def _clipped(top: int, left: int, mask: np.ndarray, height: int, width: int) -> Window:
    """Returns the part of a mask that is inside an image [height, width]."""
    first_row, first_column = max(0, -top), max(0, -left)
    inside = mask[first_row : max(first_row, height - top), first_column : max(first_column, width - left)]
    return Window(min(top + first_row, height), min(left + first_column, width), inside)


@dataclass(frozen=True)
class RunLengths:
    """A mask as lengths of runs of pixels, of which the first is outside, the second inside, and so on.

    Attributes:
        where: names the mask in messages.
        counts: of pixels in each run; they have to fill the mask.
        height, width: of the mask.
        by_columns: whether pixels are counted column by column, as in COCO, or row by row, as in CVAT.
        top, left: row and column of its first pixel.
        is_whole: whether the mask has to be as large as the image.
    """

    where: str
    counts: Sequence[int]
    height: int
    width: int
    by_columns: bool
    top: int = 0
    left: int = 0
    is_whole: bool = False

    def covered(self, height: int, width: int) -> Window:
        """Decodes the runs."""
        if self.is_whole and (self.height, self.width) != (height, width):
            raise AnnotationError(
                f"{self.where}: the mask has {self.width}x{self.height} pixels, expected {width}x{height} as its image"
            )
        top, left, bottom, right = self.top, self.left, self.top + self.height, self.left + self.width
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise AnnotationError(
                f"{self.where}: the mask covers columns {left} to {right - 1} and rows {top} to {bottom - 1}, expected "
                f"a part of the image, which has {width}x{height} pixels"
            )
        if min(self.counts, default=0) < 0 or sum(self.counts) != self.height * self.width:
            raise AnnotationError(
                f"{self.where}: the runs have {sum(self.counts)} pixels, expected {self.height * self.width} for "
                f"{self.width}x{self.height}"
            )
        counts = np.array(self.counts, np.int64)
        pixels = np.repeat(np.arange(counts.size) % 2 == 1, counts)
        mask = pixels.reshape(self.width, self.height).T if self.by_columns else pixels.reshape(self.height, self.width)
        return Window(top, left, mask)


@dataclass(frozen=True)
class Picture:
    """A mask as the bytes of an image file, in which pixels other than 0 are covered.

    Attributes:
        where: names the mask in messages.
        content: of a single-channel image.
        top, left: row and column of its first pixel.
        height, width: of the picture, in pixels.
    """

    where: str
    content: bytes
    top: int
    left: int
    height: int
    width: int

    def covered(self, height: int, width: int) -> Window:
        """Decodes the picture and returns the part inside the image."""
        try:
            mask = read_label(self.where, self.content) != 0
        except DataError as error:
            raise AnnotationError(str(error)) from error
        if mask.shape != (self.height, self.width):
            raise AnnotationError(
                f"{self.where}: the mask has {mask.shape[1]}x{mask.shape[0]} pixels, expected "
                f"{self.width}x{self.height} between its points"
            )
        return _clipped(self.top, self.left, mask, height, width)
