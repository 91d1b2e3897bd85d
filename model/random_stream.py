"""One stream of random numbers for all towers, each entering it where the towers before it leave off.

The generator is Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), whose counter can start
anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow.compat.v1 as tf


def philox_blocks(sizes: Sequence[int | tf.Tensor]) -> int | tf.Tensor:
    """Steps of the counter for an array of these sizes: each gives four float32 numbers."""
    return -(-math.prod(sizes) // 4)


def uniform_from_block(
    key: tf.Tensor, counter: tf.Tensor, first_block: int | tf.Tensor, shape: tf.Tensor, dtype: tf.DType
) -> tf.Tensor:
    """float32 of `shape` in [0, 1), each image beginning a block; `dtype` would be too coarse in half precision."""
    del dtype
    count, *sizes = tf.unstack(shape)
    blocks = philox_blocks(sizes)
    offset = tf.cast(tf.stack([first_block, 0]), tf.uint64)
    uniform = tf.raw_ops.StatelessRandomUniformV2(
        shape=tf.stack([count, 4 * blocks]),
        key=key,
        counter=counter + offset,
        alg=tf.random.Algorithm.PHILOX.value,
        dtype=tf.float32,
    )
    return tf.reshape(uniform[:, : math.prod(sizes)], shape)
