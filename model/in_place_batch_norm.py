"""Normalizes and activates so that the backward pass needs the output only (`--save_memory 2`).

Source: Rota Bulo, Porzi & Kontschieder 2018, "In-Place Activated BatchNorm for Memory-Optimized Training of DNNs".

A layer of convolution, batch normalization and activation usually keeps two tensors for the backward pass: the input of
the normalization, and the output, which is the input of the next convolution. Here only the output is kept. The
backward pass inverts the activation, a leaky ReLU, and the normalization to get the input back:

    input = (inverse_activation(output) - added - offset) / scale + mean

This is exact except for rounding: the input comes back with an error of about 2^-24 |value before the activation| /
|gamma| in units of its deviation. Below `SMALLEST_GAMMA` that error would reach the gradient of gamma, so the input of
such a channel is taken to be the mean, and its gamma is changed by the weight decay only.

The functions mirror those of `model/sync_batch_norm.py`, which also computes the gradients; moments are synchronized
over all towers in the same way. The input is recovered once, in the gradient of `normalize`. It reaches the gradient of
the moments along an edge of its own: `tower_moments` returns a second reference to its input, the link, and what
`normalize` returns as the gradient of the link is the recovered input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from model import sync_batch_norm
from model.sync_batch_norm import Count

_MOMENTS_GRADIENT = "PSPNetInPlaceTowerMoments"
_NORMALIZATION_GRADIENT = "PSPNetInPlaceNormalize"

# Smallest |gamma| of a channel whose input is recovered.
SMALLEST_GAMMA = 1e-4


class Channels(NamedTuple):
    """The normalization of each channel, float32 [C].

    Attributes:
        scale: gamma / sqrt(variance + epsilon).
        offset: beta.
        mean: mean of the batch, or the running average.
        inverse_scale: 1 / scale, or 0 if |gamma| is below `SMALLEST_GAMMA`; without a gradient.
    """

    scale: tf.Tensor
    offset: tf.Tensor
    mean: tf.Tensor
    inverse_scale: tf.Tensor


def inverse_scale(gamma: tf.Tensor | tf.Variable, scale: tf.Tensor) -> tf.Tensor:
    """Computes `Channels.inverse_scale` from gamma and scale, both float32 [C]."""
    is_small = tf.abs(gamma) < SMALLEST_GAMMA
    return tf.stop_gradient(tf.where_v2(is_small, 0.0, 1.0 / tf.where_v2(is_small, 1.0, scale)))


def tower_moments(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes mean and biased variance of one tower without keeping `x` for the backward pass.

    Args:
        x: float32 [N, H, W, C].

    Returns:
        `(x, link, mean, variance)`: `x` and `link`, both for `normalize` and for nothing else, and the moments,
        float32 [C].
    """
    mean, variance = sync_batch_norm.raw_tower_moments(x)
    count = tf.convert_to_tensor(sync_batch_norm.element_count(x), tf.float32)
    with tf.get_default_graph().gradient_override_map({"IdentityN": _MOMENTS_GRADIENT}):
        x, link, mean, variance, _ = tf.identity_n([x, x, mean, variance, count])
    return x, link, mean, variance


@tf.RegisterGradient(_MOMENTS_GRADIENT)
def _tower_moments_gradient(
    op: tf.Operation, dx: tf.Tensor, recovered: tf.Tensor, d_mean: tf.Tensor, d_variance: tf.Tensor, _: tf.Tensor
) -> tuple[tf.Tensor, None, None, None, None]:
    *_, mean, _, count = op.inputs
    return dx + sync_batch_norm.moments_gradient(recovered, mean, count, d_mean, d_variance), None, None, None, None


def synchronized_moments(
    xs: Sequence[tf.Tensor],
) -> tuple[list[tf.Tensor], list[tf.Tensor], tuple[tf.Tensor, tf.Tensor, Count]]:
    """Computes the moments over all towers, on the device of the first tower.

    Args:
        xs: tower list float32 [N_i, H_i, W_i, C]; N, H and W may differ between towers.

    Returns:
        `(xs, links, (mean, variance, count))`, see `tower_moments` and `sync_batch_norm.combine_moments`.
    """
    inputs, links, means, variances = [], [], [], []
    for x in xs:
        with tf.device(x.device):
            x, link, mean, variance = tower_moments(x)
        inputs.append(x)
        links.append(link)
        means.append(mean)
        variances.append(variance)
    counts = [sync_batch_norm.element_count(x) for x in xs]
    with tf.device(xs[0].device):
        return inputs, links, sync_batch_norm.common_moments(means, variances, counts)


def normalize(
    x: tf.Tensor, link: tf.Tensor | None, channels: Channels, added: tf.Tensor | None, negative_slope: float | None
) -> tf.Tensor:
    """Computes activation(scale * (x - mean) + offset + added); the backward pass reads the output and `added`.

    Args:
        x: float32 [N, H, W, C].
        link: second result of `tower_moments` for `x`; None if the moments do not depend on `x`.
        channels: of the normalization.
        added: float32 [N, H, W, C], such as the shortcut of a residual unit, or None.
        negative_slope: slope of the leaky ReLU below zero, in (0, 1); None for no activation.

    Returns:
        float32 [N, H, W, C].
    """
    y = sync_batch_norm.affine(x, channels.scale, channels.offset, channels.mean)
    if added is not None:
        y += added
    if negative_slope is not None:
        y = tf.nn.leaky_relu(y, negative_slope)
    link = tf.stop_gradient(x) if link is None else link
    with tf.get_default_graph().gradient_override_map({"IdentityN": _NORMALIZATION_GRADIENT}):
        y, *_ = tf.identity_n([y, x, link, *channels, *([] if added is None else [added])])
    return y


@tf.RegisterGradient(_NORMALIZATION_GRADIENT)
def _normalization_gradient(op: tf.Operation, dy: tf.Tensor, *_others: tf.Tensor) -> list[tf.Tensor | None]:
    result, _, _, scale, offset, mean, inverse, *added = op.inputs
    y = op.outputs[0]
    slope = result.op.get_attr("alpha") if result.op.type == "LeakyRelu" else None
    if slope is not None:
        dy = tf.raw_ops.LeakyReluGrad(gradients=dy, features=y, alpha=slope)
    # Without this dependency the input would be recovered right after the forward pass and kept until it is needed.
    with tf.control_dependencies([dy]):
        normalized = tf.identity(y) if slope is None else tf.nn.leaky_relu(y, 1.0 / slope)
    if added:
        normalized -= added[0]
    recovered = sync_batch_norm.affine(normalized, inverse, mean, offset)
    dx, d_scale, d_offset, d_mean = sync_batch_norm.normalization_gradients(dy, recovered, scale, mean)
    return [None, dx, recovered, d_scale, d_offset, d_mean, None, *([dy] if added else [])]
