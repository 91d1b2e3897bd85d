"""Draws random numbers for all towers from one stream: each tower starts where the previous tower ends.

The generator is Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), whose counter can start at
any value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow.compat.v1 as tf


def philox_blocks(sizes: Sequence[int | tf.Tensor]) -> int | tf.Tensor:
    """Returns how many counter steps an array of these sizes uses; each step gives four float32 numbers."""
    return -(-math.prod(sizes) // 4)


def uniform_from_block(
    key: tf.Tensor, counter: tf.Tensor, first_block: int | tf.Tensor, shape: tf.Tensor, dtype: tf.DType
) -> tf.Tensor:
    """Draws uniform random numbers, starting every image (row of the first axis) with a new block.

    Args:
        key, counter: state of the generator, as `StatelessRandomGetKeyCounter` returns it.
        first_block: counter steps to skip.
        shape: int32 vector, [N, ...].
        dtype: ignored; `general_dropout` passes it.

    Returns:
        float32 of `shape`, in [0, 1).
    """
    del dtype  # half precision would be too coarse to compare with the dropout rate
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
