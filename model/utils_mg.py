"""Layers over tower lists: every layer maps a list of tensors, one per tower, to such a list.

A layer runs where its input lives: operation i is placed on the device of element i, so the list itself says
where the towers are and no layer takes a device. Variables are created once, outside the towers, under the
device scope of the caller, and are shared. Only `batch_norm` lets the towers see each other.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Sequence

import tensorflow.compat.v1 as tf
import tf_slim as slim

from model import sync_batch_norm
from model.convolution import convolve
from model.random_stream import philox_blocks, uniform_from_block
from model.region_averages import region_averages

TowerList = list[tf.Tensor]

# Padding of max pooling by kernel size: TensorFlow's, most of it below and to the right, and that of PyTorch and Caffe.
POOL_PADDINGS: dict[str, Callable[[int], str | list[list[int]]]] = {
    "same": lambda kernel_size: "SAME",
    "symmetric": lambda kernel_size: [[0, 0], *[[kernel_size // 2, kernel_size // 2]] * 2, [0, 0]],
}

INITIALIZERS: dict[str, Callable[[int], tf.keras.initializers.Initializer]] = {
    # He et al. 2015, "Delving Deep into Rectifiers", eq. 10. (The form with the fan-out, eq. 14, would give a
    # classifier of few classes logits so large that the first steps are spent on shrinking them.)
    "he": lambda seed: tf.variance_scaling_initializer(2.0, "fan_in", "untruncated_normal", seed=seed),
    # Glorot & Bengio 2010, eq. 16.
    "xavier": lambda seed: tf.variance_scaling_initializer(1.0, "fan_avg", "uniform", seed=seed),
}


BATCH_NORM_EPSILON = 1e-5


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
        rate: dilation; 1 where the stride is not.
        initializer: key of `INITIALIZERS`. Initial weights depend on the graph's seed and the variable's name,
            not on what else was built before, such as the number of towers.
        use_bias: whether to add `biases`.
        scope: variable scope; holds `weights` [k, k, C, filters] and perhaps `biases` [filters].

    Returns:
        Tower list [N, ceil(H / stride), ceil(W / stride), filters] of the dtype of `xs`.

    Raises:
        ValueError: both a stride and a dilation.
    """
    with tf.variable_scope(scope, "conv2d", xs):
        weights = convolution_weights([kernel_size, kernel_size, xs[0].shape.as_list()[-1], filters], initializer)
        kernel = tf.cast(weights, xs[0].dtype)
        outputs = map_towers(lambda x: convolve(x, kernel, stride, rate), xs)
        return add_biases(outputs, filters) if use_bias else outputs


def convolution_weights(shape: Sequence[int], initializer: str) -> tf.Variable:
    """The variable `weights` of the current scope, float32; `initializer` is a key of `INITIALIZERS`."""
    seed = zlib.crc32(tf.get_variable_scope().name.encode())
    return slim.model_variable("weights", shape, initializer=INITIALIZERS[initializer](seed), use_resource=True)


def add_biases(xs: TowerList, filters: int) -> TowerList:
    """Adds the variable `biases` [filters] of the current scope."""
    variable = slim.model_variable("biases", [filters], initializer=tf.zeros_initializer(), use_resource=True)
    biases = tf.cast(variable, xs[0].dtype)
    return map_towers(lambda x: tf.nn.bias_add(x, biases), xs)


@slim.add_arg_scope
def batch_norm(
    xs: TowerList,
    is_training: bool = True,
    decay: float = 0.9,
    epsilon: float = BATCH_NORM_EPSILON,
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
                _move_average(moving_mean, mean, decay)
                _move_average(moving_variance, sync_batch_norm.unbiased(variance, count), decay)
        else:
            mean, variance = tf.convert_to_tensor(moving_mean), tf.convert_to_tensor(moving_variance)
        with tf.device(xs[0].device):
            scale = sync_batch_norm.normalization_scale(tf.convert_to_tensor(gamma), variance, epsilon)
        offset = tf.convert_to_tensor(beta)
        return map_towers(lambda x: sync_batch_norm.normalize(x, scale, offset, mean), xs)


def _move_average(average: tf.Variable, moment: tf.Tensor, decay: float) -> None:
    """Adds `average += (1 - decay) * (moment - average)` to UPDATE_OPS, which leaves out what is not finite."""
    with tf.device(average.device):
        step = (1.0 - decay) * (average - moment)
        # A pass that overflows in float16 must not ruin the averages for good.
        step = tf.where_v2(tf.math.is_finite(step), step, 0.0)
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, average.assign_sub(step, read_value=False))


def relu(xs: TowerList) -> TowerList:
    """Elementwise max(x, 0)."""
    return map_towers(tf.nn.relu, xs)


def add(xs: TowerList, ys: TowerList) -> TowerList:
    """Elementwise sum, tower by tower."""
    return map_towers(tf.add, xs, ys)


def concat(tower_lists: Sequence[TowerList]) -> TowerList:
    """Concatenation along the channels, tower by tower."""
    return map_towers(lambda *xs: tf.concat(xs, axis=-1), *tower_lists)


@slim.add_arg_scope
def conv2d_batch_norm(
    xs: TowerList,
    filters: int,
    kernel_size: int,
    stride: int = 1,
    rate: int = 1,
    activation: bool = True,
    resize: Callable[[TowerList], TowerList] | None = None,
    folded: bool = False,
    scope: str | None = None,
) -> TowerList:
    """Convolution, batch normalization and, if asked, ReLU: `scope/weights` and `scope/BatchNorm/...`.

    `resize` is applied to what is then normalized. With a 1x1 kernel, resizing by weights that sum to one commutes
    with convolution and bias: the result is that of the layer on resized inputs, the moments included.
    `folded`, the normalization is already part of the weights: `scope/weights` and `scope/biases`.
    """
    with tf.variable_scope(scope, "conv2d", xs) as variable_scope:
        outputs = conv2d(xs, filters, kernel_size, stride, rate, use_bias=folded, scope=variable_scope)
        if resize is not None:
            outputs = resize(outputs)
        if not folded:
            outputs = batch_norm(outputs)
        return relu(outputs) if activation else outputs


def max_pool(xs: TowerList, kernel_size: int, stride: int, padding: str = "same") -> TowerList:
    """Maximum over windows: [N, H, W, C] -> [N, ceil(H / stride), ceil(W / stride), C].

    Args:
        xs: tower list.
        kernel_size: odd, height and width of a window.
        stride: between windows.
        padding: key of `POOL_PADDINGS`; the two differ where the size is a multiple of the stride.
    """
    return map_towers(lambda x: tf.nn.max_pool2d(x, kernel_size, stride, POOL_PADDINGS[padding](kernel_size)), xs)


def subsample(xs: TowerList, stride: int) -> TowerList:
    """Every `stride`-th pixel, starting with the first."""
    return xs if stride == 1 else map_towers(lambda x: x[:, ::stride, ::stride, :], xs)


def adaptive_avg_pool(xs: TowerList, bins: Sequence[int]) -> list[TowerList]:
    """Adaptive average pooling: bin (i, j) is the mean over rows floor(iH/bins) to ceil((i+1)H/bins), columns alike.

    Bins overlap by a pixel where the size does not divide, and are those of plain pooling where it does, so any
    input size works; smaller inputs than `bins` repeat pixels. (The same bins as PyTorch's AdaptiveAvgPool2d.)
    Written as one matrix product for all numbers of bins, whose gradient is one tensor of the size of the input, and
    which leaves the layout of the activations alone.

    Args:
        xs: tower list [N, H, W, C], H and W known or not.
        bins: output heights and widths.

    Returns:
        For each number of bins a tower list [N, bins, bins, C] of the dtype of `xs`; sums are float32.
    """

    def averages(x: tf.Tensor) -> tf.Tensor:
        batch, height, width, channels = dynamic_shape(x)
        matrix = tf.concat([region_averages(height, width, b) for b in bins], axis=0)
        pixels = tf.reshape(tf.cast(x, tf.float32), tf.stack([batch, height * width, channels]))
        return tf.cast(tf.matmul(matrix, pixels), x.dtype)

    def level(regions: tf.Tensor, first: int, bins: int) -> tf.Tensor:
        batch, _, channels = dynamic_shape(regions)
        pooled = tf.reshape(regions[:, first : first + bins**2], tf.stack([batch, bins, bins, channels]))
        return tf.ensure_shape(pooled, [regions.shape[0], bins, bins, regions.shape[2]])

    regions = map_towers(averages, xs)
    firsts = [sum(b**2 for b in bins[:i]) for i in range(len(bins))]
    return [
        map_towers(functools.partial(level, first=first, bins=b), regions)
        for first, b in zip(firsts, bins, strict=True)
    ]


def dynamic_shape(x: tf.Tensor) -> list[int | tf.Tensor]:
    """The shape of `x`, an int where it is known and a scalar int32 tensor where it is not."""
    unknown = tf.shape(x)
    return [unknown[i] if size is None else size for i, size in enumerate(x.shape.as_list())]


def dropout(xs: TowerList, rate: float, seed: tf.Tensor | None) -> TowerList:
    """Zeroes values with probability `rate` and scales the others by 1 / (1 - rate).

    The masks of all towers are one stream of random numbers, laid over the images of the synchronized batch in
    their order: an image's mask depends on the seed and on the image's place in the whole batch, not on how the
    batch is shared out. Each tower draws its own part on its own device, by starting the counter of the generator
    (Philox: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") where the towers before it end.

    Args:
        xs: tower list [N, ...], all sizes known or not.
        rate: probability to drop, in [0, 1).
        seed: int32 or int64 [2], or None for no dropout.

    Returns:
        Tower list with the shapes and dtypes of `xs`; the mask is the same in every dtype.
    """
    if seed is None:
        return list(xs)
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
    blocks_before: int | tf.Tensor = 0
    outputs = []
    for x in xs:
        count, *sizes = dynamic_shape(x)
        with tf.device(x.device):
            draw = functools.partial(uniform_from_block, key, counter, blocks_before)
            outputs.append(tf.nn.experimental.general_dropout(x, rate, draw))
        blocks_before += count * philox_blocks(sizes)
    return outputs


def cast(xs: TowerList, dtype: tf.DType) -> TowerList:
    """Cast of each tower."""
    return map_towers(lambda x: tf.cast(x, dtype), xs)
