"""Builds the matrix that averages the pixels of an image over a grid of regions."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf


def region_averages(height: tf.Tensor | int, width: tf.Tensor | int, bins: int) -> tf.Tensor:
    """Returns a matrix whose product with the pixels of an image (in row-major order) is the mean of each region.

    Args:
        height, width: size of the image, an int or an int32 scalar tensor.
        bins: regions along each axis; `pooling.adaptive_avg_pool` defines their bounds.

    Returns:
        float32 [bins * bins, height * width].
    """
    rows, columns = _averaging_matrix(height, bins), _averaging_matrix(width, bins)
    # Not an einsum: TensorFlow Lite rejects the product that it becomes.
    products = rows[:, tf.newaxis, :, tf.newaxis] * columns[tf.newaxis, :, tf.newaxis, :]
    return tf.reshape(products, tf.stack([bins * bins, height * width]))


def _averaging_matrix(length: tf.Tensor | int, bins: int) -> tf.Tensor:
    """Returns float32 [bins, length]: row i is 1/n at the n positions in [floor(i L / bins), ceil((i+1) L / bins))."""
    if isinstance(length, int):
        position, index = np.arange(length), np.arange(bins)[:, None]
        inside = (position >= index * length // bins) & (position < -(-(index + 1) * length // bins))
        return tf.constant(inside / inside.sum(axis=1, keepdims=True), tf.float32)
    position, index = tf.range(length), tf.range(bins)[:, tf.newaxis]
    start = index * length // bins
    end = ((index + 1) * length + bins - 1) // bins
    inside = tf.cast((position >= start) & (position < end), tf.float32)
    return inside / tf.cast(end - start, tf.float32)
