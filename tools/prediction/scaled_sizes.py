"""The sizes to which an image is resized before its prediction, one per scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tools.prediction.windows import scaled_length, whole_window

Size = tuple[int, int]

SCALES_SINGLE = (1.0,)
SCALES_MULTI = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


class ScaledSizes(Protocol):
    """Chooses the sizes at which an image is predicted; the predictions have equal weight."""

    def __call__(self, height: int, width: int) -> Sequence[Size]:
        """Returns one or more (height, width) in pixels for an image of a size."""


@dataclass(frozen=True)
class FactorSizes:
    """Multiplies both sides by each scale, as PSPNet-TF-Reproduce.

    Attributes:
        scales: factors above 0.
    """

    scales: tuple[float, ...] = SCALES_SINGLE

    def __call__(self, height: int, width: int) -> list[Size]:
        """Returns (height, width) for each scale; each side has 1 pixel or more."""
        return [(scaled_length(height, scale), scaled_length(width, scale)) for scale in self.scales]

    def enlarged(self, factor: int) -> FactorSizes:
        """Returns the sizes of an image that is enlarged by a factor before."""
        return replace(self, scales=tuple(scale * factor for scale in self.scales))


@dataclass(frozen=True)
class LongSideSizes:
    """Resizes the long side to scale * base_size + extra, and keeps the aspect ratio.

    `test` in tool/test.py of hszhao/semseg, where `extra` is 0; eval_sub.m of hszhao/PSPNet, where it is
    1.

    Attributes:
        base_size: pixels of the long side at scale 1.
        scales: factors above 0.
        extra: pixels added to the long side at every scale.
    """

    base_size: int
    scales: tuple[float, ...] = SCALES_SINGLE
    extra: int = 0

    def __call__(self, height: int, width: int) -> list[Size]:
        """Returns (height, width) for each scale; each side has 1 pixel or more."""
        return [self._size(height, width, max(1, round(scale * self.base_size) + self.extra)) for scale in self.scales]

    @staticmethod
    def _size(height: int, width: int, long_side: int) -> Size:
        if height > width:
            return long_side, max(1, round(long_side / height * width))
        return max(1, round(long_side / width * height)), long_side


@dataclass(frozen=True)
class ShortSideSizes:
    """Resizes the short side to each of several lengths, unless the long side would become too long.

    `ValDataset` in dataset.py of CSAILVision/semantic-segmentation-pytorch: both sides are rounded up to a multiple of
    the network's stride, so the aspect ratio changes a little.

    Attributes:
        short_sides: pixels.
        longest_side: pixels of the long side, before it is rounded.
        multiple: that heights and widths are rounded up to.
    """

    short_sides: tuple[int, ...]
    longest_side: int
    multiple: int

    def __call__(self, height: int, width: int) -> list[Size]:
        """Returns (height, width) for each short side."""
        return [self._size(height, width, short_side) for short_side in self.short_sides]

    def _size(self, height: int, width: int, short_side: int) -> Size:
        scale = min(short_side / min(height, width), self.longest_side / max(height, width))
        scaled = (whole_window(int(length * scale), self.multiple, 0) for length in (height, width))
        return next(scaled), next(scaled)
