"""Training images of any size: the short side is drawn, the aspect ratio kept, and a batch padded to one size.

The method is that of CSAILVision for ADE20K (Zhou et al. 2019, "Semantic Understanding of Scenes through the ADE20K
Dataset"). The images of a tower are either all wide or all tall, so that little padding is needed. They share one short
side and are padded with ignored pixels at their right and lower edges.
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
    """How the images of a tower are resized and augmented.

    Attributes:
        short_sides: pixels; each batch of a tower draws one of them.
        max_size: pixels, the limit of the long side; an image that would exceed it gets a smaller short side.
        multiple: heights and widths are padded to multiples of it.
        mirror: mirror left to right, with probability 1/2.
        jitter_colors: change brightness, saturation and contrast at random.
        gaussian_blur: blur, with probability 1/2.
    """

    short_sides: tuple[int, ...]
    max_size: int
    multiple: int = 8
    mirror: bool = False
    jitter_colors: bool = False
    gaussian_blur: bool = False


def fitted_size(size: Size, short_side: int, max_size: int) -> Size:
    """Returns (height, width) in the aspect ratio of `size`, with that short side and a long side up to max_size."""
    scale = min(short_side / min(size), max_size / max(size))
    height, width = (max(1, int(length * scale)) for length in size)
    return height, width


def common_size(sizes: Sequence[Size], multiple: int) -> Size:
    """Returns the smallest (height, width), multiples of `multiple`, that fit all sizes."""
    height, width = (-(-max(lengths) // multiple) * multiple for lengths in zip(*sizes, strict=True))
    return height, width


def fitted(image: np.ndarray, label: np.ndarray, size: Size, *, mirrored: bool) -> tuple[np.ndarray, np.ndarray]:
    """Resizes a sample: the image with a triangle filter, which averages when it shrinks, the label by nearest pixel.

    Args:
        image: uint8 [H, W, 3], or float32 [H, W, channels], which is resized channel by channel.
        label: uint8 [H, W].
        size: (height, width) of the output.
        mirrored: whether to mirror left to right.

    Returns:
        `(image, label)`: as the arguments, [h, w, channels] and [h, w], on one grid.
    """
    width_and_height = size[::-1]
    parts = [image] if image.dtype == np.uint8 else [*image.transpose(2, 0, 1)]
    resized = [np.asarray(Image.fromarray(part).resize(width_and_height, Image.Resampling.BILINEAR)) for part in parts]
    image = resized[0] if image.dtype == np.uint8 else np.stack(resized, axis=2)
    label = np.asarray(Image.fromarray(label).resize(width_and_height, Image.Resampling.NEAREST))
    return (image[:, ::-1], label[:, ::-1]) if mirrored else (image, label)


def padded_batch(pairs: Sequence[tuple[np.ndarray, np.ndarray]], multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """Pads samples of any size to one batch, each in the upper left corner.

    Args:
        pairs: `(image, label)`, [h, w, channels] of one type and uint8 [h, w].
        multiple: see `common_size`.

    Returns:
        `(images, labels)`: [N, H, W, channels], padded by repeating the edge, and uint8 [N, H, W], padded with 255.
    """
    height, width = common_size([label.shape for _, label in pairs], multiple)
    first = pairs[0][0]
    images = np.empty((len(pairs), height, width, first.shape[2]), first.dtype)
    labels = np.full((len(pairs), height, width), IGNORE_LABEL, np.uint8)
    for index, (image, label) in enumerate(pairs):
        below, beside = height - label.shape[0], width - label.shape[1]
        images[index] = np.pad(image, ((0, below), (0, beside), (0, 0)), "edge")
        labels[index, : label.shape[0], : label.shape[1]] = label
    return images, labels


class GroupedOrder:
    """Orders images into batches that are all wide or all tall, as a function of the batch number.

    In every epoch, the wide and the tall images are shuffled and cut into batches, and the batches are shuffled
    together. Images of either kind that do not fill a batch are left out of that epoch.
    """

    def __init__(self, sizes: Sequence[Size], batch_size: int, seed: int) -> None:
        """Groups the images by their sizes, (height, width).

        Raises:
            DatasetError: neither the wide nor the tall images fill a batch.
        """
        is_tall = np.array([height > width for height, width in sizes])
        self._groups = [np.flatnonzero(is_tall), np.flatnonzero(~is_tall)]
        self._batch_size, self._seed = batch_size, seed
        self._batches = sum(len(group) // batch_size for group in self._groups)
        if not self._batches:
            tall, wide = map(len, self._groups)
            raise DatasetError(
                f"{wide} wide and {tall} tall images do not fill a batch of {batch_size}, and --dynamic_size 1 does "
                "not mix them: lower --batch_size"
            )
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def batch(self, number: int) -> np.ndarray:
        """Returns the image indices of a batch, int64 [batch_size]; batch numbers count from 0 through all epochs."""
        epoch, position = divmod(number, self._batches)
        return self._epoch(epoch)[position]

    def _shuffled(self, epoch: int) -> np.ndarray:
        """Returns the batches of an epoch, int64 [batches, batch_size]."""
        generator = np.random.default_rng([self._seed % 2**64, epoch])
        batches = []
        for group in self._groups:
            whole = len(group) // self._batch_size * self._batch_size
            batches.append(generator.permutation(group)[:whole].reshape(-1, self._batch_size))
        return generator.permutation(np.concatenate(batches).astype(np.int64))
