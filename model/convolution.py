"""Computes the convolution of one tower, with a fast filter gradient for half precision on CPUs.

In float16 and bfloat16 on CPUs, oneDNN's filter gradient is slow for 1x1 layers and for 3x3 layers with many input
channels: up to four times slower than a matrix product of the same size. `_filter_gradient` replaces it for both.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from model.depthwise_convolution import depthwise_conv2d
from model.dilated_convolution import dilated_conv2d
from model.grouped_convolution import grouped_conv2d

_HALF_PRECISION_GRADIENT = "PSPNetHalfPrecisionConv2D"
# 3x3 layers with at least so many input channels compute their filter gradient in parts of so many channels.
_MANY_CHANNELS, _CHANNELS_OF_PART = 1024, 512


def convolve(x: tf.Tensor, kernel: tf.Tensor, stride: int = 1, rate: int = 1) -> tf.Tensor:
    """Computes a convolution padded like slim's `conv2d_same`.

    Args:
        x: [N, H, W, C] of any floating-point dtype.
        kernel: [k, k, C, filters] of the same dtype, k odd; with C / groups channels, the convolution is grouped.
        stride: output stride. The padding is 'SAME' for stride 1 and k // 2 on both sides otherwise.
        rate: dilation; must be 1 if the stride is not 1.

    Returns:
        [N, ceil(H / stride), ceil(W / stride), filters] of the dtype of `x`.

    Raises:
        ValueError: if both stride and rate are above 1.
    """
    if stride > 1 and rate > 1:
        raise ValueError(
            f"{tf.get_variable_scope().name}: stride {stride} and rate {rate} cannot be combined, because CPUs have no "
            "gradient for it: set one of them to 1, or subsample the output of stride 1"
        )
    channels, (_, _, group, filters) = x.shape.as_list()[-1], kernel.shape.as_list()
    if group == 1 and filters == channels > 1:
        return depthwise_conv2d(x, kernel, stride, rate)
    if group != channels:
        # Strided groups are rare, and the output of stride 1 has the gradient that they would need.
        return grouped_conv2d(x, kernel, rate)[:, ::stride, ::stride]
    if stride == 1:
        return dilated_conv2d(x, kernel, rate) if rate > 1 else _conv2d(x, kernel, 1, "SAME")
    border = kernel.shape.as_list()[0] // 2
    padded = tf.pad(x, [[0, 0], [border, border], [border, border], [0, 0]])
    return _conv2d(padded, kernel, stride, "VALID")


def _conv2d(x: tf.Tensor, kernel: tf.Tensor, stride: int, padding: str) -> tf.Tensor:
    on_gpu = tf.DeviceSpec.from_string(x.device).device_type == "GPU"
    if on_gpu or x.dtype not in (tf.float16, tf.bfloat16):
        return tf.nn.conv2d(x, kernel, stride, padding)
    with tf.get_default_graph().gradient_override_map({"Conv2D": _HALF_PRECISION_GRADIENT}):
        return tf.nn.conv2d(x, kernel, stride, padding)


@tf.RegisterGradient(_HALF_PRECISION_GRADIENT)
def _half_precision_gradient(op: tf.Operation, dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    x, kernel = op.inputs
    settings = {"strides": op.get_attr("strides"), "padding": op.get_attr("padding")}
    dx = tf.raw_ops.Conv2DBackpropInput(input_sizes=tf.shape(x), filter=kernel, out_backprop=dy, **settings)
    return dx, _filter_gradient(x, kernel, dy, settings)


def _filter_gradient(x: tf.Tensor, kernel: tf.Tensor, dy: tf.Tensor, settings: dict) -> tf.Tensor:
    height, width, channels, filters = kernel.shape.as_list()
    if height == width == 1:
        _, stride, _, _ = settings["strides"]
        seen = x if stride == 1 else x[:, ::stride, ::stride]
        product = tf.matmul(tf.reshape(seen, [-1, channels]), tf.reshape(dy, [-1, filters]), transpose_a=True)
        return tf.reshape(product, kernel.shape)
    parts = [x]
    if channels >= _MANY_CHANNELS:
        first = list(range(0, channels, _CHANNELS_OF_PART))
        parts = tf.split(x, [min(_CHANNELS_OF_PART, channels - start) for start in first], axis=3)
    gradients = [
        tf.raw_ops.Conv2DBackpropFilter(
            input=part, filter_sizes=[height, width, part.shape[3], filters], out_backprop=dy, **settings
        )
        for part in parts
    ]
    return tf.concat(gradients, axis=2) if len(gradients) > 1 else gradients[0]
