"""Computes the moments and gradients of synchronized batch normalization (SyncBN) over all towers.

`utils_mg.batch_norm` is the layer: it owns the variables and calls the functions below in this order.

1. `tower_moments`: each tower reduces its activations to a mean and a variance [C] on its own device.
2. `common_moments`: the device of the first tower combines them (Chan, Golub & LeVeque 1979, "Updating Formulae and a
   Pairwise Algorithm for Computing Sample Variances"). The result does not lose precision if the mean is far from
   zero, as E[x^2] - E[x]^2 would, and towers may differ in size.
3. `common_normalization`: the same device computes the scale of each channel.
4. `normalize`: each tower normalizes its activations with the combined moments.

The gradients are written by hand, each as one pass of a fused kernel over the activations. In the backward pass each
tower also reduces its gradients to 2C numbers, which are summed over the towers before they reach the activations.

If several hosts train together (`model/host_group.py`), they exchange the moments of all their towers in one gather,
and the sums of the gradients in another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import tensorflow.compat.v1 as tf

from model.host_group import HostGroup, host_group

_MOMENTS_GRADIENT = "PSPNetTowerMoments"
_COMBINATION_GRADIENT = "PSPNetCombinedMoments"
_NORMALIZATION_GRADIENT = "PSPNetNormalize"

_REDUCED_AXES = [0, 1, 2]

# Epsilon of the fused kernels where the result must not depend on it: 1 - 2^-16 and 2^-16 add up to 1 exactly.
_KERNEL_EPSILON = 2.0**-16

# Number of values per channel: known when the graph is built, or a float32 scalar.
Count: TypeAlias = "float | tf.Tensor"


def element_count(x: tf.Tensor) -> Count:
    """Returns N * H * W of `x` [N, H, W, C]: a float if it is known, a float32 scalar tensor otherwise."""
    static = x.shape[:3].num_elements()
    if static is not None:
        return float(static)
    return tf.cast(tf.reduce_prod(tf.shape(x, out_type=tf.int64)[:3]), tf.float32)


def affine(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
    """Computes scale * (x - mean) + offset in one pass over `x`, in float32 for every dtype of `x`."""
    one_less_epsilon = _constant_per_channel(x, 1.0 - _KERNEL_EPSILON)
    return tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=scale,
        offset=offset,
        mean=mean,
        variance=one_less_epsilon,
        epsilon=_KERNEL_EPSILON,
        is_training=False,
    ).y


def _constant_per_channel(x: tf.Tensor, value: float) -> tf.Tensor:
    return tf.constant(np.full(x.shape.as_list()[-1], value, np.float32))


def tower_moments(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes mean and biased variance of one tower.

    Args:
        x: float32, float16 or bfloat16 [N, H, W, C].

    Returns:
        `(mean, variance)`, both float32 [C], over N, H and W.
    """
    mean, variance = raw_tower_moments(x)
    with tf.get_default_graph().gradient_override_map({"IdentityN": _MOMENTS_GRADIENT}):
        _, mean, variance = tf.identity_n([x, mean, variance])
    return mean, variance


def raw_tower_moments(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes what `tower_moments` does, for callers that define the gradient."""
    none = tf.constant(np.zeros(0, np.float32))
    normalized, mean, unbiased_variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=_constant_per_channel(x, 1.0),
        offset=_constant_per_channel(x, 0.0),
        mean=none,
        variance=none,
        epsilon=_KERNEL_EPSILON,
        is_training=True,
    )
    count = element_count(x)
    variance = unbiased_variance * (at_least_one(count - 1.0) / count)
    if x.dtype == tf.float32:
        # A sum of many values far from zero loses digits; the mean of the normalized values corrects the error.
        deviation = tf.sqrt(variance + _KERNEL_EPSILON)
        mean += tf.reduce_mean(normalized, _REDUCED_AXES) * deviation
    return mean, variance


@tf.RegisterGradient(_MOMENTS_GRADIENT)
def _tower_moments_gradient(
    op: tf.Operation, _dx: tf.Tensor, d_mean: tf.Tensor, d_variance: tf.Tensor
) -> tuple[tf.Tensor, None, None]:
    x, mean, _ = op.inputs
    return moments_gradient(x, mean, element_count(x), d_mean, d_variance), None, None


def moments_gradient(
    x: tf.Tensor, mean: tf.Tensor, count: Count, d_mean: tf.Tensor, d_variance: tf.Tensor
) -> tf.Tensor:
    """Computes the gradient of the moments of `x` [N, H, W, C] in one pass over it, in the dtype of `x`.

    Args:
        x: the values.
        mean: their mean, float32 [C].
        count: number of values per channel.
        d_mean, d_variance: gradients of the moments, float32 [C].
    """
    # d variance / d mean is zero, because the deviations from the mean sum to zero.
    return affine(x, d_variance * (2.0 / count), d_mean * (1.0 / count), mean)


def combine_moments(
    means: Sequence[tf.Tensor], variances: Sequence[tf.Tensor], counts: Sequence[Count]
) -> tuple[tf.Tensor, tf.Tensor, Count]:
    """Combines the moments of several towers (Chan et al. 1979, eq. 2.1, for any number of sets).

    Args:
        means: one per tower, float32 [C].
        variances: one per tower, float32 [C], biased (divided by the count of the tower).
        counts: one per tower, number of values per channel.

    Returns:
        `(mean, variance, count)` of all values: float32 [C], float32 [C] (biased), number of values per channel.
    """
    count = sum(counts[1:], start=counts[0])
    if len(means) == 1:
        return means[0], variances[0], count
    weights = _column([each / count for each in counts])
    mean, variance = _combined(means[0], tf.stack(means), tf.stack(variances), weights)
    return mean, variance, count


def _combined(
    first_mean: tf.Tensor, all_means: tf.Tensor, all_variances: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Combines moments [towers, C] by the share of each tower in the values, float32 [towers, 1]."""
    # Relative to the first mean: the weights are rounded, which would cost digits of a large mean.
    mean = first_mean + tf.reduce_sum(weights * (all_means - first_mean), 0)
    variance = tf.reduce_sum(weights * (all_variances + tf.square(all_means - mean)), 0)
    with tf.get_default_graph().gradient_override_map({"IdentityN": _COMBINATION_GRADIENT}):
        mean, variance, *_ = tf.identity_n([mean, variance, all_means, all_variances, weights])
    return mean, variance


def common_moments(
    means: Sequence[tf.Tensor], variances: Sequence[tf.Tensor], counts: Sequence[Count]
) -> tuple[tf.Tensor, tf.Tensor, Count]:
    """Combines the moments of the towers of all hosts; arguments and results as of `combine_moments`."""
    group = host_group()
    if group is None:
        return combine_moments(means, variances, counts)
    return _combined_over_hosts(group, tf.stack(means), tf.stack(variances), counts)


def _combined_over_hosts(
    group: HostGroup, means: tf.Tensor, variances: tf.Tensor, counts: Sequence[Count]
) -> tuple[tf.Tensor, tf.Tensor, Count]:
    """Gathers the moments [towers, C] of all hosts, with the counts unless they are known, and combines them."""
    channels = means.shape.as_list()[1]
    if all(isinstance(each, float) for each in counts):  # then they are the same on all hosts
        gathered = group.gather(tf.concat([means, variances], 1), "moments")
        count: Count = group.count * sum(counts[1:], start=counts[0])
        weights = _column([each / count for each in counts] * group.count)
    else:
        gathered = group.gather(tf.concat([means, variances, _column(counts)], 1), "moments")
        every = tf.stop_gradient(gathered[:, 2 * channels :])
        count = tf.reduce_sum(every)
        weights = every / count
    all_means, all_variances = gathered[:, :channels], gathered[:, channels : 2 * channels]
    return *_combined(all_means[0], all_means, all_variances, weights), count


def _column(values: Sequence[Count]) -> tf.Tensor:
    """Returns the values as float32 [towers, 1]."""
    if all(isinstance(value, float) for value in values):
        return tf.constant(np.array(values, np.float32)[:, np.newaxis])
    return tf.stack(values)[:, tf.newaxis]


@tf.RegisterGradient(_COMBINATION_GRADIENT)
def _combined_moments_gradient(
    op: tf.Operation, d_mean: tf.Tensor, d_variance: tf.Tensor, *_others: tf.Tensor
) -> tuple[None, None, tf.Tensor, tf.Tensor, None]:
    mean, _, all_means, _, weights = op.inputs
    weighted = weights * d_variance
    # d variance / d mean is zero here as well.
    return None, None, weights * d_mean + 2.0 * weighted * (all_means - mean), weighted, None


def normalization_scale(gamma: tf.Tensor, variance: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Computes gamma / sqrt(variance + epsilon), float32 [C], once for all towers."""
    return gamma * tf.math.rsqrt(variance + epsilon)


def common_normalization(
    gamma: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the scale of `normalization_scale` for the towers of all hosts; returns `(scale, mean)`.

    Their gradients are summed over the hosts, in one gather. From there on the hosts compute the same as one process
    does with all towers, in the same order and with the same rounding.
    """
    group = host_group()
    if group is None:
        return normalization_scale(gamma, variance, epsilon), mean
    scale = normalization_scale(group.gradient_from_first(gamma), variance, epsilon)
    scale, mean = group.shared([scale, mean], "normalization")
    return scale, mean


def normalize(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
    """Computes scale * (x - mean) + offset, differentiable in all arguments.

    Forward and backward pass each read the activations once.

    Args:
        x: float32, float16 or bfloat16 [N, H, W, C].
        scale: float32 [C], see `normalization_scale`.
        offset, mean: float32 [C].

    Returns:
        A tensor with the shape and dtype of `x`.
    """
    with tf.get_default_graph().gradient_override_map({"FusedBatchNormV3": _NORMALIZATION_GRADIENT}):
        return affine(x, scale, offset, mean)


@tf.RegisterGradient(_NORMALIZATION_GRADIENT)
def _normalization_gradient(
    op: tf.Operation, dy: tf.Tensor, *_others: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, None]:
    x, scale, _, mean, _ = op.inputs
    return *normalization_gradients(dy, x, scale, mean), None


def normalization_gradients(
    dy: tf.Tensor, x: tf.Tensor, scale: tf.Tensor, mean: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes the gradients of scale * (x - mean) + offset in one pass over `x` and `dy`, both [N, H, W, C].

    Returns:
        The gradients of `x`, and of scale, offset and mean, float32 [C].
    """
    dx, d_scale, d_offset, *_ = tf.raw_ops.FusedBatchNormGradV3(
        y_backprop=dy,
        x=x,
        scale=scale,
        reserve_space_1=mean,
        reserve_space_2=_constant_per_channel(x, 1.0 - _KERNEL_EPSILON),
        reserve_space_3=tf.constant(np.zeros(0, np.float32)),
        epsilon=_KERNEL_EPSILON,
        is_training=False,
    )
    return dx, d_scale, d_offset, -(scale * d_offset)


def synchronized_moments(xs: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, Count]:
    """Computes the moments over all towers, on the device of the first tower.

    Args:
        xs: tower list [N_i, H_i, W_i, C] of float32, float16 or bfloat16; N, H and W may differ between towers.

    Returns:
        `(mean, variance, count)`, see `combine_moments`.
    """
    means, variances, counts = [], [], []
    for x in xs:
        with tf.device(x.device):
            mean, variance = tower_moments(x)
            means.append(mean)
            variances.append(variance)
            counts.append(element_count(x))
    with tf.device(xs[0].device):
        return common_moments(means, variances, counts)


def unbiased(variance: tf.Tensor, count: Count) -> tf.Tensor:
    """Applies Bessel's correction, variance * n / (n - 1); with n = 1 the variance does not change."""
    return variance * (count / at_least_one(count - 1.0))


def at_least_one(number: Count) -> Count:
    """Returns a number, or 1 if it is smaller."""
    return tf.maximum(number, 1.0) if tf.is_tensor(number) else max(number, 1.0)
