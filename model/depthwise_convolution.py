"""Computes depthwise convolutions: each channel has its own filter (Howard et al. 2017, "MobileNets")."""

from __future__ import annotations

import tensorflow.compat.v1 as tf


def depthwise_conv2d(x: tf.Tensor, kernel: tf.Tensor, stride: int = 1, rate: int = 1) -> tf.Tensor:
    """Computes a depthwise convolution padded like slim's `conv2d_same`, see `convolution.convolve`.

    Args:
        x: [N, H, W, C] of any floating-point dtype.
        kernel: [k, k, 1, C] of the same dtype, k odd: the kernel of a convolution with C groups.
        stride: output stride.
        rate: dilation; must be 1 if the stride is not 1.

    Returns:
        [N, ceil(H / stride), ceil(W / stride), C] of the dtype of `x`.
    """
    size, _, _, channels = kernel.shape.as_list()
    by_channel = tf.reshape(kernel, [size, size, channels, 1])
    if stride == 1:
        # TensorFlow computes dilation by sorting pixels into batches, which has a gradient on CPUs too.
        return tf.nn.depthwise_conv2d(x, by_channel, [1] * 4, "SAME", dilations=[rate, rate])
    border = size // 2
    padded = tf.pad(x, [[0, 0], [border, border], [border, border], [0, 0]])
    return tf.nn.depthwise_conv2d(padded, by_channel, [1, stride, stride, 1], "VALID")
