"""Pools over tower lists: maximum over windows, averages over a grid of regions, and every n-th pixel."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import tensorflow.compat.v1 as tf

from model.region_averages import region_averages
from model.utils_mg import TowerList, dynamic_shape, map_towers

# Padding of max pooling for a kernel size: `same` is TensorFlow's, which pads more at the bottom and the right;
# `symmetric` is that of PyTorch and Caffe.
POOL_PADDINGS: dict[str, Callable[[int], str | list[list[int]]]] = {
    "same": lambda kernel_size: "SAME",
    "symmetric": lambda kernel_size: [[0, 0], *[[kernel_size // 2, kernel_size // 2]] * 2, [0, 0]],
}


def max_pool(xs: TowerList, kernel_size: int, stride: int, padding: str = "same") -> TowerList:
    """Takes the maximum over windows.

    Args:
        xs: tower list [N, H, W, C].
        kernel_size: height and width of a window, odd.
        stride: distance between windows, in pixels.
        padding: key of `POOL_PADDINGS`; the two differ only if the input size is a multiple of the stride.

    Returns:
        Tower list [N, ceil(H / stride), ceil(W / stride), C] of the dtype of `xs`.
    """
    return map_towers(lambda x: tf.nn.max_pool2d(x, kernel_size, stride, POOL_PADDINGS[padding](kernel_size)), xs)


def subsample(xs: TowerList, stride: int) -> TowerList:
    """Keeps every `stride`-th row and column, starting with the first."""
    return xs if stride == 1 else map_towers(lambda x: x[:, ::stride, ::stride, :], xs)


def adaptive_avg_pool(xs: TowerList, bins: Sequence[int]) -> list[TowerList]:
    """Averages over a grid of bins x bins regions, with the same regions as PyTorch's AdaptiveAvgPool2d.

    Region (i, j) spans rows floor(i H / bins) to ceil((i + 1) H / bins) (exclusive), and columns likewise. Regions
    overlap by one pixel if the size is not divisible by `bins`; inputs smaller than `bins` repeat pixels. All grids
    are computed by one matrix product: its gradient is a single tensor of the size of the input, and it needs no other
    memory layout of the activations.

    Args:
        xs: tower list [N, H, W, C]; H and W may be unknown.
        bins: numbers of regions along each axis, one per output.

    Returns:
        One tower list [N, b, b, C] of the dtype of `xs` for each b in `bins`; sums are computed in float32.
    """

    def averages(x: tf.Tensor) -> tf.Tensor:
        batch, height, width, channels = dynamic_shape(x)
        matrix = tf.concat([region_averages(height, width, b) for b in bins], axis=0)
        pixels = tf.reshape(tf.cast(x, tf.float32), tf.stack([batch, height * width, channels]))
        return tf.cast(tf.matmul(matrix, pixels), x.dtype)

    def level(regions: tf.Tensor, first: int, bins: int) -> tf.Tensor:
        batch, _, channels = dynamic_shape(regions)
        pooled = tf.reshape(regions[:, first : first + bins**2], tf.stack([batch, bins, bins, channels]))
        return tf.ensure_shape(pooled, [regions.shape[0], bins, bins, regions.shape[2]])

    regions = map_towers(averages, xs)
    firsts = [sum(b**2 for b in bins[:i]) for i in range(len(bins))]
    return [
        map_towers(functools.partial(level, first=first, bins=b), regions)
        for first, b in zip(firsts, bins, strict=True)
    ]
