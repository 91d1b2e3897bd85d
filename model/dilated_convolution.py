"""Computes dilated convolutions whose gradient runs on every CPU.

TensorFlow's gradient kernels reject dilations on CPUs without oneDNN, and in half precision also on many CPUs with it.
There, this module replaces the gradient by operations that run everywhere: the input gradient is another dilated
convolution, and the filter gradient is one matrix product per tap of the kernel.
"""

from __future__ import annotations

import functools
import itertools

import tensorflow.compat.v1 as tf

_GRADIENT = "PSPNetDilatedConv2D"


def dilated_conv2d(x: tf.Tensor, kernel: tf.Tensor, rate: int) -> tf.Tensor:
    """Computes a dilated convolution with stride 1 and 'SAME' padding.

    Args:
        x: [N, H, W, C] of any floating-point dtype.
        kernel: [k, k, C, filters] of the same dtype, k odd and statically known.
        rate: distance in pixels between neighbouring taps.

    Returns:
        [N, H, W, filters] of the dtype of `x`.
    """
    if _has_kernels_of_gradient(tf.DeviceSpec.from_string(x.device).device_type, x.dtype):
        return tf.nn.conv2d(x, kernel, strides=1, padding="SAME", dilations=rate)
    with tf.get_default_graph().gradient_override_map({"Conv2D": _GRADIENT}):
        return tf.nn.conv2d(x, kernel, strides=1, padding="SAME", dilations=rate)


def _has_kernels_of_gradient(device_type: str | None, dtype: tf.DType) -> bool:
    """Returns whether to use TensorFlow's own gradient; on CPUs only float32 uses it, if its kernels are there."""
    return device_type == "GPU" or (dtype == tf.float32 and _cpu_has_float32_kernels())


@functools.cache
def _cpu_has_float32_kernels() -> bool:
    """Runs a small filter gradient, which is missing on every CPU that lacks one of the kernels."""
    with tf.Graph().as_default() as graph, tf.device("/device:CPU:0"):
        x = tf.zeros([1, 2, 2, 1])
        gradient = tf.raw_ops.Conv2DBackpropFilter(
            input=x, filter_sizes=[3, 3, 1, 1], out_backprop=x, strides=[1] * 4, padding="SAME", dilations=[1, 2, 2, 1]
        )
    with tf.Session(graph=graph, config=tf.ConfigProto(device_count={"GPU": 0})) as session:
        try:
            session.run(gradient)
        except tf.errors.OpError:
            return False
    return True


@tf.RegisterGradient(_GRADIENT)
def _dilated_conv2d_gradient(op: tf.Operation, dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    x, kernel = op.inputs
    rate = op.get_attr("dilations")[1]
    return _input_gradient(kernel, dy, rate), _filter_gradient(x, kernel, dy, rate)


def _input_gradient(kernel: tf.Tensor, dy: tf.Tensor, rate: int) -> tf.Tensor:
    turned = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
    return tf.nn.conv2d(dy, turned, strides=1, padding="SAME", dilations=rate)


def _filter_gradient(x: tf.Tensor, kernel: tf.Tensor, dy: tf.Tensor, rate: int) -> tf.Tensor:
    kernel_size, _, channels, filters = kernel.shape.as_list()
    border = rate * (kernel_size // 2)
    padded = tf.pad(x, [[0, 0], [border, border], [border, border], [0, 0]])
    size = x.shape.as_list() if x.shape.is_fully_defined() else tf.shape(x)
    pixels_dy = tf.reshape(dy, [-1, filters])

    def tap_gradient(row: int, column: int) -> tf.Tensor:
        seen = tf.slice(padded, [0, row * rate, column * rate, 0], size)
        return tf.matmul(tf.reshape(seen, [-1, channels]), pixels_dy, transpose_a=True)

    taps = [tap_gradient(*tap) for tap in itertools.product(range(kernel_size), repeat=2)]
    return tf.reshape(tf.stack(taps), [kernel_size, kernel_size, channels, filters])
