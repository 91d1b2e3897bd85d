"""Training images of any size and shape: the short side is drawn, the aspect ratio kept, a batch padded to one size.

As CSAILVision trains on ADE20K (Zhou et al. 2019, "Semantic Understanding of Scenes through the ADE20K Dataset"): the
images of a tower are all wide or all tall, so that little is padded, share one short side and are filled up with
ignored pixels at their right and lower edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from database.classes import IGNORE_LABEL
from database.errors import DatasetError

Size = tuple[int, int]


@dataclass(frozen=True)
class DynamicSizes:
    """How a tower's images are sized and changed.

    Attributes:
        short_sides: pixels, of which each batch of a tower draws one.
        max_size: pixels, for the long side; an image that would be longer gets a smaller short side.
        multiple: heights and widths are filled up to multiples of it.
        mirror: mirror left to right, half of the time.
        jitter_colors: draw brightness, saturation and contrast.
        gaussian_blur: blur, half of the time.
    """

    short_sides: tuple[int, ...]
    max_size: int
    multiple: int = 8
    mirror: bool = False
    jitter_colors: bool = False
    gaussian_blur: bool = False


def fitted_size(size: Size, short_side: int, max_size: int) -> Size:
    """(height, width) with the aspect ratio of `size`, its short side given and its long side at most `max_size`."""
    scale = min(short_side / min(size), max_size / max(size))
    height, width = (max(1, int(length * scale)) for length in size)
    return height, width


def common_size(sizes: Sequence[Size], multiple: int) -> Size:
    """The smallest (height, width), multiples of `multiple`, that hold all sizes."""
    height, width = (-(-max(lengths) // multiple) * multiple for lengths in zip(*sizes, strict=True))
    return height, width


def fitted(image: np.ndarray, label: np.ndarray, size: Size, *, mirrored: bool) -> tuple[np.ndarray, np.ndarray]:
    """A sample in another size: the image through a triangle filter, which averages where it shrinks, labels nearest.

    Args:
        image: uint8 [H, W, 3].
        label: uint8 [H, W].
        size: (height, width) of what comes out.
        mirrored: whether left and right change places.

    Returns:
        `(image, label)`: uint8 [h, w, 3] and uint8 [h, w], on one grid.
    """
    width_and_height = size[::-1]
    image = np.asarray(Image.fromarray(image).resize(width_and_height, Image.Resampling.BILINEAR))
    label = np.asarray(Image.fromarray(label).resize(width_and_height, Image.Resampling.NEAREST))
    return (image[:, ::-1], label[:, ::-1]) if mirrored else (image, label)


def padded_batch(pairs: Sequence[tuple[np.ndarray, np.ndarray]], multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of any size as one batch, each in its upper left corner.

    Args:
        pairs: `(image, label)`, uint8 [h, w, 3] and uint8 [h, w].
        multiple: see `common_size`.

    Returns:
        `(images, labels)`: uint8 [N, H, W, 3], outside the samples their edge repeated, and uint8 [N, H, W], 255 there.
    """
    height, width = common_size([label.shape for _, label in pairs], multiple)
    images = np.empty((len(pairs), height, width, 3), np.uint8)
    labels = np.full((len(pairs), height, width), IGNORE_LABEL, np.uint8)
    for index, (image, label) in enumerate(pairs):
        below, beside = height - label.shape[0], width - label.shape[1]
        images[index] = np.pad(image, ((0, below), (0, beside), (0, 0)), "edge")
        labels[index, : label.shape[0], : label.shape[1]] = label
    return images, labels


class GroupedOrder:
    """The order of batches whose images are all wide or all tall, as a function of the batch's number.

    In every epoch the wide and the tall images are shuffled and cut into batches, and those shuffled together. What is
    left of either kind, less than a batch, sits the epoch out; the next one shuffles anew.
    """

    def __init__(self, sizes: Sequence[Size], batch_size: int, seed: int) -> None:
        """Takes (height, width) of every image.

        Raises:
            DatasetError: there are fewer wide and fewer tall images than a batch.
        """
        is_tall = np.array([height > width for height, width in sizes])
        self._groups = [np.flatnonzero(is_tall), np.flatnonzero(~is_tall)]
        self._batch_size, self._seed = batch_size, seed
        self._batches = sum(len(group) // batch_size for group in self._groups)
        if not self._batches:
            tall, wide = map(len, self._groups)
            raise DatasetError(
                f"{wide} wide and {tall} tall images give no batch of {batch_size} with --dynamic_size 1, which does "
                "not mix them: lower --batch_size"
            )
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def batch(self, number: int) -> np.ndarray:
        """int64 [batch_size]: which images are in a batch, numbers counted from 0 through all epochs."""
        epoch, position = divmod(number, self._batches)
        return self._epoch(epoch)[position]

    def _shuffled(self, epoch: int) -> np.ndarray:
        """int64 [batches, batch_size]"""
        generator = np.random.default_rng([self._seed % 2**64, epoch])
        batches = []
        for group in self._groups:
            whole = len(group) // self._batch_size * self._batch_size
            batches.append(generator.permutation(group)[:whole].reshape(-1, self._batch_size))
        return generator.permutation(np.concatenate(batches).astype(np.int64))
