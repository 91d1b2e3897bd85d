"""Provides layers that map a list of tensors, one per tower (GPU), to another such list.

`batch_norm` is the synchronized batch normalization (SyncBN): its moments are computed over all towers. The arithmetic
and the gradients are in `model/sync_batch_norm.py`. No other layer combines values of different towers.

Each layer runs operation i on the device of element i of its input, so no layer takes a device. Variables are created
once, under the device scope of the caller, and all towers share them.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow.compat.v1 as tf
import tf_slim as slim

from model import in_place_batch_norm, sync_batch_norm
from model.choices import ACTIVATIONS, RELU6
from model.convolution import convolve
from model.host_group import host_group
from model.random_stream import philox_blocks, uniform_from_block

TowerList = list[tf.Tensor]

INITIALIZERS: dict[str, Callable[[int], tf.keras.initializers.Initializer]] = {
    # He et al. 2015, "Delving Deep into Rectifiers", eq. 10. (With the fan-out of eq. 14, the logits of a classifier
    # with few classes would be so large that the first steps would only shrink them.)
    "he": lambda seed: tf.variance_scaling_initializer(2.0, "fan_in", "untruncated_normal", seed=seed),
    # Glorot & Bengio 2010, eq. 16.
    "xavier": lambda seed: tf.variance_scaling_initializer(1.0, "fan_avg", "uniform", seed=seed),
}


BATCH_NORM_EPSILON = 1e-5

# gamma, beta, moving_mean and moving_variance, float32 [C].
_BatchNormVariables = tuple[tf.Variable, tf.Variable, tf.Variable, tf.Variable]


def map_towers(function: Callable[..., tf.Tensor], *tower_lists: Sequence[tf.Tensor]) -> TowerList:
    """Applies `function` to element i of every list, on the device of element i of the first list.

    Raises:
        ValueError: if the lists differ in length.
    """
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
    groups: int = 1,
    scope: str | None = None,
) -> TowerList:
    """Computes a convolution whose weights all towers share, padded like slim's `conv2d_same`.

    The padding is 'SAME' for stride 1. Otherwise it is kernel_size // 2 on both sides for every input size, so that
    the strided output equals the subsampled output of stride 1.

    Args:
        xs: tower list [N, H, W, C] of a floating-point dtype; the float32 weights are cast to it once.
        filters: output channels.
        kernel_size: height and width of the kernel, odd.
        stride: output stride.
        rate: dilation; must be 1 if the stride is not 1.
        initializer: key of `INITIALIZERS`. Initial weights depend only on the graph's seed and the variable's name,
            not on the number of towers or on layers built before.
        use_bias: whether to add `biases`.
        groups: groups of input channels and filters; a filter sees the channels of its group only.
        scope: variable scope of `weights` [k, k, C / groups, filters] and, with `use_bias`, `biases` [filters].

    Returns:
        Tower list [N, ceil(H / stride), ceil(W / stride), filters] of the dtype of `xs`.

    Raises:
        ValueError: if both stride and rate are above 1.
    """
    with tf.variable_scope(scope, "conv2d", xs):
        channels = xs[0].shape.as_list()[-1] // groups
        weights = convolution_weights([kernel_size, kernel_size, channels, filters], initializer)
        kernel = tf.cast(weights, xs[0].dtype)
        outputs = map_towers(lambda x: convolve(x, kernel, stride, rate), xs)
        return add_biases(outputs, filters) if use_bias else outputs


def convolution_weights(shape: Sequence[int], initializer: str) -> tf.Variable:
    """Creates the float32 variable `weights` in the current scope; `initializer` is a key of `INITIALIZERS`."""
    seed = zlib.crc32(tf.get_variable_scope().name.encode())
    return slim.model_variable("weights", shape, initializer=INITIALIZERS[initializer](seed), use_resource=True)


def add_biases(xs: TowerList, filters: int) -> TowerList:
    """Adds `biases`, a float32 variable [filters] that is created in the current scope with zeros."""
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
    followed_by: Ending | None = None,
    synchronized: bool = True,
    scope: str = "BatchNorm",
) -> TowerList:
    """Normalizes over the pixels of all towers: SyncBN (Ioffe & Szegedy 2015, "Batch Normalization", algorithm 1).

    In training it normalizes with the mean and the biased variance of the whole batch, and adds one operation per
    running average to the UPDATE_OPS collection: `average += (1 - decay) * (moment - average)`, with the unbiased
    variance. Otherwise it normalizes with the running averages.

    Args:
        xs: tower list [N_i, H_i, W_i, C] of float32, float16 or bfloat16; N, H and W may differ between towers. The
            moments are float32 for every dtype.
        is_training: whether to normalize with the moments of the batch.
        decay: decay of the running averages, in [0, 1); 0.9 to 0.99 suits runs of 30k steps.
        epsilon: added to the variance.
        update_averages: whether to update the running averages; False when a forward pass is recomputed.
        followed_by: the end of the layer, which is then computed here, in place, so that the input is not kept for the
            backward pass (float32 only), see `model/in_place_batch_norm.py`; None returns the normalized values.
        synchronized: whether the moments are those of all towers. Otherwise each tower is normalized with its own, and
            the running averages are those of the first tower, as slim's clones and PyTorch's DataParallel have them.
        scope: variable scope of `gamma`, `beta`, `moving_mean` and `moving_variance`, float32 [C].

    Returns:
        Tower list with the shapes and dtypes of `xs`.
    """
    with tf.variable_scope(scope, "BatchNorm", xs):
        variables = _batch_norm_variables(xs[0].shape.as_list()[-1])
        whole = synchronized or not is_training
        parts = [slice(0, len(xs))] if whole else [slice(i, i + 1) for i in range(len(xs))]
        outputs = []
        for part in parts:
            moves = decay if update_averages and part.start == 0 else None
            ending = None if followed_by is None else followed_by.of_towers(part)
            outputs += _normalized(xs[part], variables, moves if is_training else None, epsilon, ending, is_training)
        return outputs


def _normalized(
    xs: TowerList,
    variables: _BatchNormVariables,
    decay: float | None,
    epsilon: float,
    followed_by: Ending | None,
    is_training: bool,
) -> TowerList:
    """Normalizes towers together; `decay` is None to leave the running averages, for the others see `batch_norm`."""
    gamma, beta, moving_mean, moving_variance = variables
    links: Sequence[tf.Tensor | None] = [None] * len(xs)
    if not is_training:
        mean, variance = tf.convert_to_tensor(moving_mean), tf.convert_to_tensor(moving_variance)
    else:
        if followed_by is None:
            mean, variance, count = sync_batch_norm.synchronized_moments(xs)
        else:
            xs, links, (mean, variance, count) = in_place_batch_norm.synchronized_moments(xs)
        if decay is not None:
            _move_average(moving_mean, mean, decay)
            _move_average(moving_variance, sync_batch_norm.unbiased(variance, count), decay)
    with tf.device(xs[0].device):
        if is_training:
            scale, mean = sync_batch_norm.common_normalization(tf.convert_to_tensor(gamma), mean, variance, epsilon)
        else:
            scale = sync_batch_norm.normalization_scale(tf.convert_to_tensor(gamma), variance, epsilon)
    offset = tf.convert_to_tensor(beta)
    if followed_by is None:
        return map_towers(lambda x: sync_batch_norm.normalize(x, scale, offset, mean), xs)
    with tf.device(xs[0].device):
        inverse = in_place_batch_norm.inverse_scale(gamma, scale)
    return followed_by.in_place(xs, links, in_place_batch_norm.Channels(scale, offset, mean, inverse))


def _batch_norm_variables(channels: int) -> _BatchNormVariables:
    """Creates `gamma`, `beta`, `moving_mean` and `moving_variance` [channels] in the current scope."""

    def variable(name: str, initializer, trainable: bool) -> tf.Variable:
        return slim.model_variable(name, [channels], initializer=initializer, trainable=trainable, use_resource=True)

    return (
        variable("gamma", tf.ones_initializer(), trainable=True),
        variable("beta", tf.zeros_initializer(), trainable=True),
        variable("moving_mean", tf.zeros_initializer(), trainable=False),
        variable("moving_variance", tf.ones_initializer(), trainable=False),
    )


def _move_average(average: tf.Variable, moment: tf.Tensor, decay: float) -> None:
    """Adds `average += (1 - decay) * (moment - average)` to UPDATE_OPS; channels that are not finite do not change."""
    with tf.device(average.device):
        step = (1.0 - decay) * (average - moment)
        # An overflow in float16 must not turn the averages into NaN for the rest of the run.
        step = tf.where_v2(tf.math.is_finite(step), step, 0.0)
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, average.assign_sub(step, read_value=False))


def add(xs: TowerList, ys: TowerList) -> TowerList:
    """Adds the two lists element by element, tower by tower."""
    return map_towers(tf.add, xs, ys)


def concat(tower_lists: Sequence[TowerList]) -> TowerList:
    """Concatenates along the channels, tower by tower."""
    return map_towers(lambda *xs: tf.concat(xs, axis=-1), *tower_lists)


@dataclass(frozen=True)
class Ending:
    """What a layer computes after its batch normalization: activation(normalized + added).

    Attributes:
        added: tower list of the shape of the layer's output, such as the shortcut of a residual unit, or None.
        activation: key of `choices.ACTIVATIONS`, `choices.RELU6`, or None for no activation.
    """

    added: TowerList | None
    activation: str | None

    def of_towers(self, part: slice) -> Ending:
        """Returns the end of the layer for some of the towers."""
        return Ending(None if self.added is None else self.added[part], self.activation)

    def apply(self, xs: TowerList) -> TowerList:
        """Computes the end of a layer from the normalized values."""
        xs = xs if self.added is None else add(self.added, xs)
        if self.activation is None:
            return xs
        if self.activation == RELU6:
            return map_towers(tf.nn.relu6, xs)
        slope = ACTIVATIONS[self.activation]
        return map_towers(tf.nn.relu if slope == 0 else lambda x: tf.nn.leaky_relu(x, slope), xs)

    def in_place(
        self, xs: TowerList, links: Sequence[tf.Tensor | None], channels: in_place_batch_norm.Channels
    ) -> TowerList:
        """Normalizes and computes the end of a layer, without keeping `xs`; see `in_place_batch_norm.normalize`."""
        slope = None if self.activation is None else ACTIVATIONS[self.activation]
        added = self.added or [None] * len(xs)
        return map_towers(
            lambda x, link, each: in_place_batch_norm.normalize(x, link, channels, each, slope), xs, links, added
        )


@slim.add_arg_scope
def normalize_and_activate(
    xs: TowerList,
    has_activation: bool = True,
    added: TowerList | None = None,
    folded: bool = False,
    activation: str = "relu",
    bounded: bool = False,
    in_place: bool = False,
) -> TowerList:
    """Applies batch normalization, adds `added` and applies the activation: the end of every layer but a classifier.

    Args:
        xs: tower list [N, H, W, C], the output of a convolution.
        has_activation: whether to apply the activation.
        added: tower list of the same shapes and dtypes, such as the shortcut of a residual unit, or None.
        folded: whether the normalization is already part of the weights; then it is left out.
        activation: key of `choices.ACTIVATIONS`.
        bounded: whether a ReLU is a ReLU6; other activations stay as they are.
        in_place: whether to keep only the output for the backward pass, see `model/in_place_batch_norm.py`; needs an
            activation with a slope above zero.
    """
    if bounded and activation == "relu":
        activation = RELU6
    ending = Ending(added, activation if has_activation else None)
    if folded:
        return ending.apply(xs)
    return batch_norm(xs, followed_by=ending) if in_place else ending.apply(batch_norm(xs))


@slim.add_arg_scope
def conv2d_batch_norm(
    xs: TowerList,
    filters: int,
    kernel_size: int,
    stride: int = 1,
    rate: int = 1,
    has_activation: bool = True,
    added: TowerList | None = None,
    resize: Callable[[TowerList], TowerList] | None = None,
    folded: bool = False,
    groups: int = 1,
    filter_scale: float = 1.0,
    pruned: Mapping[str, int] | None = None,
    scope: str | None = None,
) -> TowerList:
    """Applies a convolution, batch normalization and the activation.

    The variables are `scope/weights` and `scope/BatchNorm/...`; with `folded`, `scope/weights` and `scope/biases`.

    Args:
        xs, filters, kernel_size, stride, rate, groups, scope: see `conv2d`.
        has_activation, added: see `normalize_and_activate`.
        resize: function applied between convolution and normalization. With a 1x1 kernel, resizing by weights that
            sum to one commutes with convolution and bias, so output and moments equal those for resized inputs.
        folded: whether the normalization is already part of the weights; then a bias replaces it.
        filter_scale: factor of `filters`, one of `choices.FILTER_SCALES`.
        pruned: number of filters of layers that have fewer, by full variable scope.

    Returns:
        Tower list [N, ceil(H / stride), ceil(W / stride), filters] of the dtype of `xs`, or of the size that `resize`
        returns.
    """
    with tf.variable_scope(scope, "conv2d", xs) as variable_scope:
        filters = (pruned or {}).get(variable_scope.name, int(filters * filter_scale))
        outputs = conv2d(xs, filters, kernel_size, stride, rate, use_bias=folded, groups=groups, scope=variable_scope)
        if resize is not None:
            outputs = resize(outputs)
        return normalize_and_activate(outputs, has_activation, added, folded)


def dynamic_shape(x: tf.Tensor) -> list[int | tf.Tensor]:
    """Returns the shape of `x`: an int for each known size and an int32 scalar tensor for each unknown one."""
    unknown = tf.shape(x)
    return [unknown[i] if size is None else size for i, size in enumerate(x.shape.as_list())]


def dropout(xs: TowerList, rate: float, seed: tf.Tensor | None) -> TowerList:
    """Sets values to zero with probability `rate` and scales the others by 1 / (1 - rate).

    An image's mask depends on the seed and on the position of the image in the whole batch, not on how the batch is
    split into towers and hosts: the masks of all towers are one stream of random numbers, see
    `model/random_stream.py`. Each tower draws its part on its own device.

    Args:
        xs: tower list [N, ...]; sizes may be unknown.
        rate: probability to drop a value, in [0, 1).
        seed: int32 or int64 [2], or None for no dropout.

    Returns:
        Tower list with the shapes and dtypes of `xs`; the mask does not depend on the dtype.
    """
    if seed is None:
        return list(xs)
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
    blocks_before = _blocks_of_hosts_before(xs)
    outputs = []
    for x in xs:
        count, *sizes = dynamic_shape(x)
        with tf.device(x.device):
            draw = functools.partial(uniform_from_block, key, counter, blocks_before)
            outputs.append(tf.nn.experimental.general_dropout(x, rate, draw))
        blocks_before += count * philox_blocks(sizes)
    return outputs


def _blocks_of_hosts_before(xs: TowerList) -> int | tf.Tensor:
    """Returns how many counter steps the hosts of lower rank use for their part of the masks; 0 without hosts."""
    group = host_group()
    if group is None:
        return 0
    own = sum(count * philox_blocks(sizes) for count, *sizes in map(dynamic_shape, xs))
    # Static sizes are the same on all hosts.
    return group.rank * own if isinstance(own, int) else group.sum_before(own, "dropout")


def cast(xs: TowerList, dtype: tf.DType) -> TowerList:
    """Casts each tower to `dtype`."""
    return map_towers(lambda x: tf.cast(x, dtype), xs)
