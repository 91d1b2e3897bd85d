"""Batch normalization whose moments are those of all towers together.

Each tower reduces its own activations to a mean and a sum of squared deviations; these 2C numbers are gathered
on the device of the first tower, combined by Chan, Golub & LeVeque, "Updating Formulae and a Pairwise Algorithm
for Computing Sample Variances" (1979), and sent back. Neither E[x^2] - E[x]^2 nor an average of variances is
formed, so the result does not degrade with the distance of the mean from zero, and towers may differ in size.

The two passes over the activations have hand-written gradients; the combination of the 2C numbers between them
is left to ordinary differentiation, which thereby sums the gradients across towers.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow.compat.v1 as tf

_REDUCED_AXES = [0, 1, 2]


def _element_count(x: tf.Tensor) -> tf.Tensor:
    """Number of values per channel of `x` [N, H, W, C], as a float32 scalar."""
    static = x.shape[:3].num_elements()
    if static is not None:
        return tf.constant(static, tf.float32)
    return tf.cast(tf.reduce_prod(tf.shape(x, out_type=tf.int64)[:3]), tf.float32)


@tf.custom_gradient
def tower_moments(x: tf.Tensor):
    """Mean and sum of squared deviations of one tower.

    Args:
        x: float32, float16 or bfloat16 [N, H, W, C].

    Returns:
        `(mean, squared_deviations)`, both float32 [C]: mean over N, H and W, and sum of (x - mean)^2.
    """
    first_mean = tf.reduce_mean(tf.cast(x, tf.float32), _REDUCED_AXES)
    # The sum of many values far from zero has lost digits; the mean of the deviations gives them back.
    mean = first_mean + tf.reduce_mean(tf.cast(x, tf.float32) - first_mean, _REDUCED_AXES)
    squared_deviations = tf.reduce_sum(tf.math.squared_difference(tf.cast(x, tf.float32), mean), _REDUCED_AXES)

    def gradient(d_mean, d_squared_deviations):
        # d squared_deviations / d mean is zero, because deviations from the mean sum to zero.
        deviations = tf.cast(x, tf.float32) - mean
        dx = d_mean / _element_count(x) + 2.0 * d_squared_deviations * deviations
        return tf.cast(dx, x.dtype)

    return (mean, squared_deviations), gradient


def combine_moments(
    means: Sequence[tf.Tensor], squared_deviations: Sequence[tf.Tensor], counts: Sequence[tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Moments of the union of several sets of values (Chan et al. 1979, eq. 2.1, for any number of sets).

    Args:
        means: per tower, float32 [C].
        squared_deviations: per tower, float32 [C], sums of squared deviations from the tower's own mean.
        counts: per tower, float32 scalar, values per channel.

    Returns:
        `(mean, variance, count)`: float32 [C], float32 [C] (biased: divided by the count), float32 scalar.
    """
    count = tf.add_n(list(counts))
    # Relative to the first mean: weights of sum one would each be rounded, and so much of a large mean lost.
    mean = means[0] + tf.add_n([(m - means[0]) * (n / count) for m, n in zip(means, counts, strict=True)])
    within = tf.add_n(list(squared_deviations))
    between = tf.add_n([n * tf.square(m - mean) for m, n in zip(means, counts, strict=True)])
    return mean, (within + between) / count, count


def normalize(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, epsilon: float
) -> tf.Tensor:
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta, differentiable in the moments too.

    Args:
        x: float32, float16 or bfloat16 [N, H, W, C].
        gamma, beta, mean, variance: float32 [C].
        epsilon: added to the variance.

    Returns:
        A tensor with the shape and dtype of `x`.
    """

    @tf.custom_gradient
    def fused(x, gamma, beta, mean, variance):
        y, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=epsilon, is_training=False
        )

        def gradient(dy):
            dx, d_gamma, d_beta, *_ = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=dy,
                x=x,
                scale=gamma,
                reserve_space_1=mean,
                reserve_space_2=variance,
                reserve_space_3=tf.zeros([0], tf.float32),
                epsilon=epsilon,
                is_training=False,
            )
            inverse_deviation = tf.math.rsqrt(variance + epsilon)
            scale = gamma * inverse_deviation
            return dx, d_gamma, d_beta, -scale * d_beta, -0.5 * scale * inverse_deviation * d_gamma

        return y, gradient

    return fused(x, gamma, beta, mean, variance)


def synchronized_moments(xs: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Moments over all towers, on the device of the first.

    Args:
        xs: tower list of [N_i, H_i, W_i, C]; the towers' sizes may differ.

    Returns:
        `(mean, variance, count)` as `combine_moments` gives them.
    """
    means, squared_deviations, counts = [], [], []
    for x in xs:
        with tf.device(x.device):
            mean, deviations = tower_moments(x)
            means.append(mean)
            squared_deviations.append(deviations)
            counts.append(_element_count(x))
    with tf.device(xs[0].device):
        return combine_moments(means, squared_deviations, counts)


def unbiased(variance: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Bessel's correction: variance * n / (n - 1), with n = 1 left as it is."""
    return variance * (count / tf.maximum(count - 1.0, 1.0))
