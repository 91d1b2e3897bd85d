"""Averages over the regions of an image as one matrix."""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf


def region_averages(height: tf.Tensor | int, width: tf.Tensor | int, bins: int) -> tf.Tensor:
    """The matrix whose product with the pixels of an image, row after row, is their average over bins x bins regions.

    Args:
        height, width: of the image, known or an int32 scalar.
        bins: regions along each axis; see `utils_mg.adaptive_avg_pool` for where they begin and end.

    Returns:
        float32 [bins * bins, height * width].
    """
    rows, columns = _averaging_matrix(height, bins), _averaging_matrix(width, bins)
    return tf.reshape(tf.einsum("iy,jx->ijyx", rows, columns), tf.stack([bins * bins, height * width]))


def _averaging_matrix(length: tf.Tensor | int, bins: int) -> tf.Tensor:
    """float32 [bins, length]: row i holds 1/n over the n positions from floor(i L / bins) to ceil((i+1) L / bins)."""
    if isinstance(length, int):
        position, index = np.arange(length), np.arange(bins)[:, None]
        inside = (position >= index * length // bins) & (position < -(-(index + 1) * length // bins))
        return tf.constant(inside / inside.sum(axis=1, keepdims=True), tf.float32)
    position, index = tf.range(length), tf.range(bins)[:, tf.newaxis]
    start = index * length // bins
    end = ((index + 1) * length + bins - 1) // bins
    inside = tf.cast((position >= start) & (position < end), tf.float32)
    return inside / tf.cast(end - start, tf.float32)
