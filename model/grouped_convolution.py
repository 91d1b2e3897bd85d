"""Computes grouped convolutions, with a gradient on CPUs.

Source: Xie et al. 2017, "Aggregated Residual Transformations for Deep Neural Networks" (ResNeXt).

TensorFlow's CPU kernels compute a grouped convolution but have no gradient of it. Here the input gradient is another
grouped convolution, and the filter gradient is one batch of matrix products per tap of the kernel, a product per group.
"""

from __future__ import annotations

import itertools

import tensorflow.compat.v1 as tf

_GRADIENT = "PSPNetGroupedConv2D"


def grouped_conv2d(x: tf.Tensor, kernel: tf.Tensor, rate: int = 1) -> tf.Tensor:
    """Computes a grouped convolution with stride 1 and 'SAME' padding.

    Args:
        x: [N, H, W, groups * c] of any floating-point dtype.
        kernel: [k, k, c, groups * f] of the same dtype, k odd and statically known. The filters of a group are next to
            each other and see the channels of the same group.
        rate: dilation.

    Returns:
        [N, H, W, groups * f] of the dtype of `x`.
    """
    if tf.DeviceSpec.from_string(x.device).device_type == "GPU":
        return tf.nn.conv2d(x, kernel, strides=1, padding="SAME", dilations=rate)
    with tf.get_default_graph().gradient_override_map({"Conv2D": _GRADIENT}):
        return tf.nn.conv2d(x, kernel, strides=1, padding="SAME", dilations=rate)


@tf.RegisterGradient(_GRADIENT)
def _grouped_conv2d_gradient(op: tf.Operation, dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    x, kernel = op.inputs
    rate = op.get_attr("dilations")[1]
    groups = x.shape.as_list()[-1] // kernel.shape.as_list()[2]
    return _input_gradient(kernel, dy, groups, rate), _filter_gradient(x, kernel, dy, groups, rate)


def _input_gradient(kernel: tf.Tensor, dy: tf.Tensor, groups: int, rate: int) -> tf.Tensor:
    """Returns the convolution of the gradient with the turned kernel, whose groups swap channels and filters."""
    size, _, channels, filters = kernel.shape.as_list()
    by_group = tf.reshape(tf.reverse(kernel, [0, 1]), [size, size, channels, groups, filters // groups])
    turned = tf.reshape(tf.transpose(by_group, [0, 1, 4, 3, 2]), [size, size, filters // groups, groups * channels])
    return tf.nn.conv2d(dy, turned, strides=1, padding="SAME", dilations=rate)


def _filter_gradient(x: tf.Tensor, kernel: tf.Tensor, dy: tf.Tensor, groups: int, rate: int) -> tf.Tensor:
    size, _, channels, filters = kernel.shape.as_list()
    border = rate * (size // 2)
    padded = _groups_first(tf.pad(x, [[0, 0], [border, border], [border, border], [0, 0]]), groups)
    grouped_dy = _groups_first(dy, groups)
    _, batch, height, width, _ = tf.unstack(tf.shape(grouped_dy))
    pixels_dy = tf.reshape(grouped_dy, [groups, -1, filters // groups])

    def tap_gradient(row: int, column: int) -> tf.Tensor:
        seen = tf.slice(
            padded, [0, 0, row * rate, column * rate, 0], tf.stack([groups, batch, height, width, channels])
        )
        return tf.matmul(tf.reshape(seen, [groups, -1, channels]), pixels_dy, transpose_a=True)

    taps = tf.stack([tap_gradient(*tap) for tap in itertools.product(range(size), repeat=2)])
    by_channel = tf.transpose(taps, [0, 2, 1, 3])  # [taps, c, groups, f]
    return tf.reshape(by_channel, [size, size, channels, filters])


def _groups_first(x: tf.Tensor, groups: int) -> tf.Tensor:
    """Turns [N, H, W, groups * c] into [groups, N, H, W, c]."""
    batch, height, width, _ = tf.unstack(tf.shape(x))
    channels = x.shape.as_list()[-1] // groups
    return tf.transpose(tf.reshape(x, tf.stack([batch, height, width, groups, channels])), [3, 0, 1, 2, 4])
