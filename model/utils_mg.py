"""Layers over tower lists: every layer maps a list of tensors, one per tower, to such a list.

A layer runs where its input lives: operation i is placed on the device of element i, so the list itself says
where the towers are and no layer takes a device. Variables are created once, outside the towers, under the
device scope of the caller, and are shared. Only `batch_norm` lets the towers see each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow.compat.v1 as tf
import tf_slim as slim

from model import sync_batch_norm

TowerList = list[tf.Tensor]

# Bilinear grids that networks in the world were trained with; arguments of the ResizeBilinear kernel.
RESIZE_GRIDS: dict[str, dict[str, bool]] = {
    "half_pixel": {"align_corners": False, "half_pixel_centers": True},
    "align_corners": {"align_corners": True, "half_pixel_centers": False},
    "legacy": {"align_corners": False, "half_pixel_centers": False},
}

INITIALIZERS: dict[str, Callable[[], tf.keras.initializers.Initializer]] = {
    # He et al. 2015, "Delving Deep into Rectifiers", eq. 10. (The form with the fan-out, eq. 14, would give a
    # classifier of few classes logits so large that the first steps are spent on shrinking them.)
    "he": lambda: tf.variance_scaling_initializer(2.0, "fan_in", "untruncated_normal"),
    # Glorot & Bengio 2010, eq. 16.
    "xavier": lambda: tf.variance_scaling_initializer(1.0, "fan_avg", "uniform"),
}


def map_towers(function: Callable[..., tf.Tensor], *tower_lists: Sequence[tf.Tensor]) -> TowerList:
    """Applies `function` to element i of every list, on the device of element i of the first list."""
    outputs = []
    for elements in zip(*tower_lists, strict=True):
        with tf.device(elements[0].device):
            outputs.append(function(*elements))
    return outputs


@slim.add_arg_scope
def conv2d(
    xs: TowerList,
    filters: int,
    kernel_size: int,
    stride: int = 1,
    rate: int = 1,
    initializer: str = "he",
    use_bias: bool = False,
    scope: str | None = None,
) -> TowerList:
    """Convolution with weights shared by all towers, padded like slim's `conv2d_same`.

    With stride 1 the padding is 'SAME'; with a stride it is kernel_size // 2 on both sides whatever the input
    size, so that subsampling the dense output gives the strided one.

    Args:
        xs: tower list [N, H, W, C] of the computation's dtype; the float32 weights are cast to it once.
        filters: output channels.
        kernel_size: odd, height and width of the kernel.
        stride: output stride.
        rate: dilation.
        initializer: key of `INITIALIZERS`.
        use_bias: whether to add `biases`.
        scope: variable scope; holds `weights` [k, k, C, filters] and perhaps `biases` [filters].

    Returns:
        Tower list [N, ceil(H / stride), ceil(W / stride), filters] of the dtype of `xs`.
    """
    with tf.variable_scope(scope, "conv2d", xs):
        dtype = xs[0].dtype
        shape = [kernel_size, kernel_size, xs[0].shape.as_list()[-1], filters]
        weights = slim.model_variable("weights", shape, initializer=INITIALIZERS[initializer](), use_resource=True)
        kernel = tf.cast(weights, dtype)

        def convolve(x: tf.Tensor) -> tf.Tensor:
            if stride == 1:
                return tf.nn.conv2d(x, kernel, strides=1, padding="SAME", dilations=rate)
            before = rate * (kernel_size - 1) // 2
            after = rate * (kernel_size - 1) - before
            padded = tf.pad(x, [[0, 0], [before, after], [before, after], [0, 0]])
            return tf.nn.conv2d(padded, kernel, strides=stride, padding="VALID", dilations=rate)

        outputs = map_towers(convolve, xs)
        if not use_bias:
            return outputs
        biases = tf.cast(
            slim.model_variable("biases", [filters], initializer=tf.zeros_initializer(), use_resource=True),
            dtype,
        )
        return map_towers(lambda x: tf.nn.bias_add(x, biases), outputs)


@slim.add_arg_scope
def batch_norm(
    xs: TowerList,
    is_training: bool = True,
    decay: float = 0.9,
    epsilon: float = 1e-5,
    update_averages: bool = True,
    scope: str = "BatchNorm",
) -> TowerList:
    """Batch normalization over the pixels of all towers (Ioffe & Szegedy 2015), synchronized.

    In training, the biased moments of the whole batch normalize, and the running averages move by
    `average += (1 - decay) * (moment - average)`, with the unbiased variance, through one operation in the
    UPDATE_OPS collection. Otherwise the running averages normalize.

    Args:
        xs: tower list [N_i, H_i, W_i, C]; sizes may differ between towers. Moments are float32 in any dtype.
        is_training: whether to normalize with the moments of the batch.
        decay: of the running averages; 0.9 to 0.99 suits runs of 30k steps.
        epsilon: added to the variance.
        update_averages: whether to add the update; off where a forward pass is computed a second time.
        scope: variable scope; holds float32 [C] `gamma`, `beta`, `moving_mean`, `moving_variance`.

    Returns:
        Tower list with the shapes and dtypes of `xs`.
    """
    with tf.variable_scope(scope, "BatchNorm", xs):
        channels = [xs[0].shape.as_list()[-1]]

        def variable(name: str, initializer, trainable: bool) -> tf.Variable:
            return slim.model_variable(name, channels, initializer=initializer, trainable=trainable, use_resource=True)

        gamma = variable("gamma", tf.ones_initializer(), trainable=True)
        beta = variable("beta", tf.zeros_initializer(), trainable=True)
        moving_mean = variable("moving_mean", tf.zeros_initializer(), trainable=False)
        moving_variance = variable("moving_variance", tf.ones_initializer(), trainable=False)

        if is_training:
            mean, variance, count = sync_batch_norm.synchronized_moments(xs)
            if update_averages:
                unbiased = sync_batch_norm.unbiased(variance, count)
                for average, moment in ((moving_mean, mean), (moving_variance, unbiased)):
                    with tf.device(average.device):
                        step = (1.0 - decay) * (average - tf.stop_gradient(moment))
                        # A pass that overflows in float16 must not ruin the averages for good.
                        step = tf.where(tf.math.is_finite(step), step, tf.zeros_like(step))
                        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, average.assign_sub(step, read_value=False))
        else:
            mean, variance = tf.convert_to_tensor(moving_mean), tf.convert_to_tensor(moving_variance)
        scale, offset = tf.convert_to_tensor(gamma), tf.convert_to_tensor(beta)
        return map_towers(lambda x: sync_batch_norm.normalize(x, scale, offset, mean, variance, epsilon), xs)


def relu(xs: TowerList) -> TowerList:
    """Elementwise max(x, 0)."""
    return map_towers(tf.nn.relu, xs)


def add(xs: TowerList, ys: TowerList) -> TowerList:
    """Elementwise sum, tower by tower."""
    return map_towers(tf.add, xs, ys)


def conv2d_batch_norm(
    xs: TowerList,
    filters: int,
    kernel_size: int,
    stride: int = 1,
    rate: int = 1,
    activation: bool = True,
    scope: str | None = None,
) -> TowerList:
    """Convolution, batch normalization and, if asked, ReLU: `scope/weights` and `scope/BatchNorm/...`."""
    with tf.variable_scope(scope, "conv2d", xs) as variable_scope:
        outputs = batch_norm(conv2d(xs, filters, kernel_size, stride, rate, scope=variable_scope))
        return relu(outputs) if activation else outputs


def max_pool(xs: TowerList, kernel_size: int, stride: int) -> TowerList:
    """Maximum over windows, 'SAME' padding: [N, H, W, C] -> [N, ceil(H / stride), ceil(W / stride), C]."""
    return map_towers(lambda x: tf.nn.max_pool2d(x, kernel_size, stride, "SAME"), xs)


def subsample(xs: TowerList, stride: int) -> TowerList:
    """Every `stride`-th pixel, starting with the first."""
    return xs if stride == 1 else map_towers(lambda x: x[:, ::stride, ::stride, :], xs)


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


def adaptive_avg_pool(xs: TowerList, bins: int) -> TowerList:
    """Adaptive average pooling: bin (i, j) is the mean over rows floor(iH/bins) to ceil((i+1)H/bins), columns alike.

    Bins overlap by a pixel where the size does not divide, and are those of plain pooling where it does, so any
    input size works; smaller inputs than `bins` repeat pixels. (The same bins as PyTorch's AdaptiveAvgPool2d.)
    Written as two matrix products, which leave the layout of the activations alone.

    Args:
        xs: tower list [N, H, W, C], H and W known or not.
        bins: output height and width.

    Returns:
        Tower list [N, bins, bins, C] of the dtype of `xs`; sums are float32.
    """

    def pool(x: tf.Tensor) -> tf.Tensor:
        batch, height, width, _ = dynamic_shape(x)
        channels = x.shape.as_list()[-1]
        columns = tf.matmul(_averaging_matrix(width, bins), tf.cast(x, tf.float32))
        rows = tf.matmul(
            _averaging_matrix(height, bins), tf.reshape(columns, tf.stack([batch, height, bins * channels]))
        )
        pooled = tf.reshape(rows, tf.stack([batch, bins, bins, channels]))
        pooled.set_shape([x.shape[0], bins, bins, channels])
        return tf.cast(pooled, x.dtype)

    return map_towers(pool, xs)


def dynamic_shape(x: tf.Tensor) -> list[int | tf.Tensor]:
    """The shape of `x`, an int where it is known and a scalar int32 tensor where it is not."""
    unknown = tf.shape(x)
    return [unknown[i] if size is None else size for i, size in enumerate(x.shape.as_list())]


def resize_bilinear(xs: TowerList, like: TowerList, grid: str) -> TowerList:
    """Bilinear resize of each tower to the height and width of the same tower of `like`.

    Args:
        xs: tower list [N, h, w, C].
        like: tower list [N, H, W, anything], gives the sizes.
        grid: key of `RESIZE_GRIDS`.

    Returns:
        Tower list [N, H, W, C] of the dtype of `xs`; interpolation is float32.
    """

    def resize(x: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        _, height, width, _ = dynamic_shape(target)
        resized = tf.raw_ops.ResizeBilinear(images=x, size=tf.stack([height, width]), **RESIZE_GRIDS[grid])
        resized.set_shape([x.shape[0], target.shape[1], target.shape[2], x.shape[3]])
        return tf.cast(resized, x.dtype)

    return map_towers(resize, xs, like)


def dropout(xs: TowerList, rate: float, seed: tf.Tensor | None) -> TowerList:
    """Zeroes values with probability `rate` and scales the others by 1 / (1 - rate).

    Args:
        xs: tower list.
        rate: probability to drop.
        seed: int32 [2], or None for no dropout. The mask is a function of the seed and the tower's position
            alone, so that a resumed run draws what the uninterrupted one would have drawn.
    """
    if seed is None:
        return list(xs)
    towers = tf.range(len(xs))
    return map_towers(
        lambda x, tower: tf.nn.experimental.stateless_dropout(
            x, rate, tf.random.experimental.stateless_fold_in(seed, tower)
        ),
        xs,
        tf.unstack(towers),
    )


def concat(tower_lists: Sequence[TowerList]) -> TowerList:
    """Concatenation along channels, tower by tower."""
    return map_towers(lambda *elements: tf.concat(elements, axis=-1), *tower_lists)


def cast(xs: TowerList, dtype: tf.DType) -> TowerList:
    """Cast of each tower."""
    return map_towers(lambda x: tf.cast(x, dtype), xs)
