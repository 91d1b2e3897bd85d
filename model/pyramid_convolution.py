"""Computes the 3x3 or 1x1 convolution after pyramid pooling without upsampling the pyramid.

The layer's input is the features concatenated with their averages over 1 to 36 regions, upsampled to the size of the
features. Upsampling and convolution are both linear. So the taps of the kernel are applied to the few averages first,
and their products are upsampled to the pixel of each tap. This half of the layer, a fifth of the operations of a
PSPNet-50, then costs almost nothing, and no concatenation is stored. The result is the same except for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow.compat.v1 as tf
import tf_slim as slim

from model import utils_mg as layers
from model.convolution import convolve
from model.sync_batch_norm import at_least_one
from model.utils_mg import TowerList

# Position of pixel i of `size` on an axis of `bins` pixels, for each key of `choices.RESIZE_GRIDS`.
_POSITIONS: dict[str, Callable] = {
    "half_pixel": lambda i, size, bins: (i + 0.5) * (bins / size) - 0.5,
    "align_corners": lambda i, size, bins: i * ((bins - 1) / at_least_one(size - 1)),  # with size 1, position 0
    "legacy": lambda i, size, bins: i * (bins / size),
}


@slim.add_arg_scope
def pyramid_conv2d_batch_norm(
    features: TowerList,
    levels: Sequence[TowerList],
    filters: int,
    grid: str,
    kernel_size: int = 3,
    initializer: str = "he",
    folded: bool = False,
    pruned: Mapping[str, int] | None = None,
    joined: bool = True,
    scope: str | None = None,
) -> TowerList:
    """Applies a convolution to features and upsampled levels, batch normalization and the activation.

    The variables and, except for rounding, the result are those of `utils_mg.conv2d_batch_norm` applied to the
    concatenation of `features` with the `levels` upsampled by `resizing.resize_bilinear`.

    Args:
        features: tower list [N, H, W, C].
        levels: tower lists [N, b, b, D] with b statically known.
        filters: output channels.
        grid: key of `choices.RESIZE_GRIDS`.
        kernel_size: height and width of the kernel, 3 or 1.
        initializer: key of `utils_mg.INITIALIZERS`.
        folded, pruned: see `utils_mg.conv2d_batch_norm`.
        joined: see `convolve_upsampled`.
        scope: variable scope.

    Returns:
        Tower list [N, H, W, filters] of the dtype of `features`.
    """
    with tf.variable_scope(scope, "conv2d", features) as variable_scope:
        filters = (pruned or {}).get(variable_scope.name, filters)
        channels = [xs[0].shape.as_list()[-1] for xs in (features, *levels)]
        kernel = layers.convolution_weights([kernel_size] * 2 + [sum(channels), filters], initializer)
        of_features, *of_levels = _split(tf.cast(kernel, features[0].dtype), channels)
        of_features = tf.convert_to_tensor(of_features)
        convolved = layers.map_towers(lambda x: convolve(x, of_features), features)
        outputs = layers.add(convolved, convolve_upsampled(levels, of_levels, features, grid, joined))
        outputs = layers.add_biases(outputs, filters) if folded else outputs
        return layers.normalize_and_activate(outputs, folded=folded)


def _split(kernel: tf.Tensor, channels: Sequence[int]) -> list[tf.Tensor] | list[np.ndarray]:
    """Splits a kernel along its input channels; a constant kernel is split into arrays."""
    value = tf.get_static_value(kernel)
    if value is None:
        return tf.split(kernel, channels, axis=2)
    return np.split(value, np.cumsum(channels)[:-1], axis=2)


def convolve_upsampled(
    levels: Sequence[TowerList],
    kernels: Sequence[tf.Tensor | np.ndarray],
    like: TowerList,
    grid: str,
    joined: bool = True,
) -> TowerList:
    """Sums, over the levels, the 'SAME' convolution of the level upsampled to the size of `like`.

    Args:
        levels: tower lists [N, b, b, D] with b statically known.
        kernels: one per level, [k, k, D, filters] with an odd k; arrays are arranged for the product once.
        like: tower list [N, H, W, any] of the same dtype; only its height and width are used.
        grid: key of `choices.RESIZE_GRIDS`.
        joined: whether all towers share one product with each kernel. It needs less memory, and its rounding depends on
            the number of towers.

    Returns:
        Tower list [N, H, W, filters] of the dtype of `like`; the interpolation is in float32.
    """
    apply_taps = _apply_taps if joined else _apply_taps_by_tower
    taps = [apply_taps(level, kernel) for level, kernel in zip(levels, kernels, strict=True)]
    bins = [level[0].shape.as_list()[1] for level in levels]
    size = int(kernels[0].shape[0])
    return layers.map_towers(lambda x, *products: _upsampled(products, bins, x, grid, size), like, *taps)


def _upsampled(
    taps: Sequence[tf.Tensor], bins: Sequence[int], like: tf.Tensor, grid: str, kernel_size: int
) -> tf.Tensor:
    """Upsamples the results of `_apply_taps` for one tower to the pixel of each tap and sums them."""
    _, height, width, _ = layers.dynamic_shape(like)
    filters = taps[0].shape.as_list()[-1]
    rows, columns = [], []
    for level, size in zip(taps, bins, strict=True):
        rows.append(_interpolation_of_taps(height, size, grid, kernel_size))
        columns.append(tf.matmul(_interpolation_of_taps(width, size, grid, kernel_size), level))  # [N, k b, W, filters]
    stacked = tf.concat([tf.reshape(x, [-1, x.shape[1], width * filters]) for x in columns], axis=1)
    upsampled = tf.matmul(tf.concat(rows, axis=1), stacked)
    result = tf.reshape(upsampled, tf.stack([-1, height, width, filters]))
    return tf.cast(tf.ensure_shape(result, [*like.shape[:3], filters]), like.dtype)


def _apply_taps(levels: TowerList, kernel: tf.Tensor | np.ndarray) -> TowerList:
    """Applies every tap of a kernel [k, k, D, filters] to every average, for all towers on the device of the first.

    The averages and products are small, and the kernel and its gradient large: a product per tower would need a copy of
    both for each tower.

    Returns:
        Tower list float32 [N, k b, k b, filters]. Axis 1 is (row of the tap, row of the average), axis 2 likewise for
        columns.
    """
    bins, depth = levels[0].shape.as_list()[2:]
    size, filters = int(kernel.shape[0]), int(kernel.shape[-1])
    averages = layers.map_towers(lambda x: tf.reshape(x, [-1, depth]), levels)
    with tf.device(levels[0].device):
        # One product of two matrices: OpenVINO and TensorFlow Lite reject one that broadcasts the averages.
        products = _of_towers(tf.matmul(_joined(averages), _taps_as_columns(kernel)), averages)

    def by_image(products: tf.Tensor) -> tf.Tensor:
        taps = tf.cast(tf.reshape(products, [-1, bins, bins, size, size, filters]), tf.float32)
        transposed = tf.transpose(taps, [0, 3, 1, 4, 2, 5])
        return tf.reshape(transposed, [-1, size * bins, size * bins, filters])

    outputs = []
    for level, rows in zip(levels, products, strict=True):
        with tf.device(level.device):
            outputs.append(by_image(rows))
    return outputs


def _apply_taps_by_tower(levels: TowerList, kernel: tf.Tensor | np.ndarray) -> TowerList:
    """Computes what `_apply_taps` does, with a product for each tower on its device."""
    return [_apply_taps([level], kernel)[0] for level in levels]


def _joined(rows: TowerList) -> tf.Tensor:
    return rows[0] if len(rows) == 1 else tf.concat(rows, axis=0)


def _of_towers(joined: tf.Tensor, rows: TowerList) -> TowerList:
    """Splits `joined` along its first axis into parts of as many rows as each of `rows` has."""
    return [joined] if len(rows) == 1 else tf.split(joined, [layers.dynamic_shape(x)[0] for x in rows], num=len(rows))


def _taps_as_columns(kernel: tf.Tensor | np.ndarray) -> tf.Tensor:
    """Arranges a kernel [k, k, D, filters] as [D, k k filters]."""
    transpose = np.transpose if isinstance(kernel, np.ndarray) else tf.transpose
    return tf.reshape(transpose(kernel, [2, 0, 1, 3]), [int(kernel.shape[2]), -1])


def _interpolation_of_taps(size: tf.Tensor | int, bins: int, grid: str, kernel_size: int) -> tf.Tensor:
    """Returns float32 [size, k bins]: the weight of each average in a pixel for each tap along an axis."""
    border = kernel_size // 2
    padded = tf.pad(interpolation_matrix(size, bins, grid), [[border, border], [0, 0]])  # as the convolution pads
    taps = range(kernel_size)
    return tf.concat([padded[tap or None : tap + 1 - kernel_size or None] for tap in taps], axis=1)


def interpolation_matrix(size: tf.Tensor | int, bins: int, grid: str) -> tf.Tensor:
    """Returns float32 [size, bins]: the weights of `resizing.resize_bilinear` from `bins` pixels to `size` pixels."""
    position = _POSITIONS[grid]
    if isinstance(size, int):
        at = np.clip(position(np.arange(size), size, bins), 0, bins - 1)
        return tf.constant(np.maximum(0, 1 - np.abs(at[:, np.newaxis] - np.arange(bins))), tf.float32)
    length = tf.cast(size, tf.float32)
    at = tf.clip_by_value(position(tf.range(length), length, bins), 0.0, bins - 1.0)
    return tf.nn.relu(1.0 - tf.abs(at[:, tf.newaxis] - tf.range(bins, dtype=tf.float32)))
