"""Resizing of tower lists, bilinear and nearest."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from model.utils_mg import TowerList, dynamic_shape, map_towers

# Bilinear grids that networks in the world were trained with; arguments of the ResizeBilinear kernel.
RESIZE_GRIDS: dict[str, dict[str, bool]] = {
    "half_pixel": {"align_corners": False, "half_pixel_centers": True},
    "align_corners": {"align_corners": True, "half_pixel_centers": False},
    "legacy": {"align_corners": False, "half_pixel_centers": False},
}


def resize_bilinear(xs: TowerList, like: TowerList, grid: str) -> TowerList:
    """Bilinear resize of each tower to the height and width of the same tower of `like`.

    Args:
        xs: tower list [N, h, w, C].
        like: tower list [N, H, W, anything], gives the sizes.
        grid: key of `RESIZE_GRIDS`.

    Returns:
        Tower list [N, H, W, C] of the dtype of `xs`; interpolation is float32.
    """

    def resize(x: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        _, height, width, _ = dynamic_shape(target)
        return _resized(x, height, width, grid)

    return map_towers(resize, xs, like)


def halve(xs: TowerList, grid: str) -> TowerList:
    """Bilinear resize to half the height and width, rounded up; on the half-pixel grid the mean of 2x2 pixels.

    Args:
        xs: tower list [N, H, W, C].
        grid: key of `RESIZE_GRIDS`.

    Returns:
        Tower list [N, ceil(H / 2), ceil(W / 2), C] of the dtype of `xs`.
    """

    def halved(x: tf.Tensor) -> tf.Tensor:
        _, height, width, _ = dynamic_shape(x)
        return _resized(x, (height + 1) // 2, (width + 1) // 2, grid)

    return map_towers(halved, xs)


def _resized(x: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor, grid: str) -> tf.Tensor:
    """[N, h, w, C] -> [N, height, width, C] of the same dtype; interpolation is float32."""
    resized = tf.raw_ops.ResizeBilinear(images=x, size=tf.stack([height, width]), **RESIZE_GRIDS[grid])
    known = [size if isinstance(size, int) else None for size in (height, width)]
    return tf.cast(tf.ensure_shape(resized, [x.shape[0], *known, x.shape[3]]), x.dtype)


def resize_nearest(xs: TowerList, like: TowerList, grid: str) -> TowerList:
    """Nearest-neighbour resize of each tower to the height and width of the same tower of `like`.

    Args:
        xs: tower list [N, H, W] of any dtype, such as labels.
        like: tower list [N, h, w, anything], gives the sizes.
        grid: key of `RESIZE_GRIDS`.

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
