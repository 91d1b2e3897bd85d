"""Resizes tower lists: bilinear (features, images) and nearest-neighbour (labels)."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from model.choices import RESIZE_GRIDS
from model.utils_mg import TowerList, dynamic_shape, map_towers


def resize_bilinear(xs: TowerList, like: TowerList, grid: str) -> TowerList:
    """Resizes each tower bilinearly to the height and width of the same tower of `like`.

    Args:
        xs: tower list [N, h, w, C].
        like: tower list [N, H, W, any]; only its height and width are used.
        grid: key of `choices.RESIZE_GRIDS`.

    Returns:
        Tower list [N, H, W, C] of the dtype of `xs`; the interpolation is in float32.
    """

    def resize(x: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        _, height, width, _ = dynamic_shape(target)
        return _resized(x, height, width, grid)

    return map_towers(resize, xs, like)


def halve(xs: TowerList, grid: str) -> TowerList:
    """Resizes bilinearly to half the height and width, rounded up.

    With even sizes on the `half_pixel` grid, every output pixel is the mean of 2x2 input pixels.

    Args:
        xs: tower list [N, H, W, C].
        grid: key of `choices.RESIZE_GRIDS`.

    Returns:
        Tower list [N, ceil(H / 2), ceil(W / 2), C] of the dtype of `xs`.
    """

    def halved(x: tf.Tensor) -> tf.Tensor:
        _, height, width, _ = dynamic_shape(x)
        return _resized(x, (height + 1) // 2, (width + 1) // 2, grid)

    return map_towers(halved, xs)


def _resized(x: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor, grid: str) -> tf.Tensor:
    """Resizes [N, h, w, C] to [N, height, width, C] of the same dtype; the interpolation is in float32."""
    resized = tf.raw_ops.ResizeBilinear(images=x, size=tf.stack([height, width]), **RESIZE_GRIDS[grid])
    known = [size if isinstance(size, int) else None for size in (height, width)]
    return tf.cast(tf.ensure_shape(resized, [x.shape[0], *known, x.shape[3]]), x.dtype)


def resize_nearest(xs: TowerList, like: TowerList, grid: str) -> TowerList:
    """Resizes each tower by nearest neighbour to the height and width of the same tower of `like`.

    Args:
        xs: tower list [N, H, W] of any dtype, such as labels.
        like: tower list [N, h, w, any]; only its height and width are used.
        grid: key of `choices.RESIZE_GRIDS`.

    Returns:
        Tower list [N, h, w] of the dtype of `xs`.
    """

    def resize(x: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        _, height, width, _ = dynamic_shape(target)
        pixels = tf.expand_dims(x, -1)
        size = tf.stack([height, width])
        resized = tf.raw_ops.ResizeNearestNeighbor(images=pixels, size=size, **RESIZE_GRIDS[grid])
        return tf.ensure_shape(resized[..., 0], [x.shape[0], *target.shape[1:3]])

    return map_towers(resize, xs, like)
