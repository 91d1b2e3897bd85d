"""Builds the heads that turn the features of an encoder into logits.

- `pyramid_pooling_head`: PSPNet (Zhao et al. 2017, "Pyramid Scene Parsing Network").
- `c1_head`: one 3x3 layer, CSAILVision's decoder `c1`.
- `upernet_head`: UPerNet (Xiao et al. 2018, "Unified Perceptual Parsing for Scene Understanding").
- `auxiliary_head`: the auxiliary classifier on block 3 (or `Encoder.auxiliary`), for training only.

To add a decoder, write its head here, add it to `pspnet_mg.DECODERS` and its name to `choices.DECODERS`. If it creates
variables under a separate scope, add that scope to `pspnet_mg.new_layer_scopes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow.compat.v1 as tf

from model import pooling, resizing
from model import utils_mg as layers
from model.encoder_blocks import extra_unit_scope
from model.pyramid_convolution import pyramid_conv2d_batch_norm
from model.utils_mg import TowerList

PYRAMID_BINS = (6, 3, 2, 1)
HEAD_DEPTH = 512
AUXILIARY_DEPTH = 256
DROPOUT_RATE = 0.1


def classifier(xs: TowerList, num_classes: int, seed: tf.Tensor | None, scope: str, kernel_size: int = 1) -> TowerList:
    """Applies dropout and a convolution with biases, usually 1x1.

    Args:
        xs: tower list [N, h, w, C].
        num_classes: channels of the logits.
        seed: int32 or int64 [2] for dropout, None for no dropout.
        scope: variable scope of the convolution.
        kernel_size: height and width of its kernel, odd.

    Returns:
        Tower list of logits, float32 [N, h, w, num_classes].
    """
    xs = layers.dropout(xs, DROPOUT_RATE, seed)
    return layers.cast(layers.conv2d(xs, num_classes, kernel_size, use_bias=True, scope=scope), tf.float32)


def pyramid_levels(
    features: TowerList, depth: int | None = None, resize: Callable[[TowerList], TowerList] | None = None
) -> list[TowerList]:
    """Averages the features over 6x6, 3x3, 2x2 and 1x1 regions and applies a 1x1 layer to each.

    Args:
        features: tower list [N, h, w, C].
        depth: channels of each level; None for C / 4.
        resize: resizes each level, see `utils_mg.conv2d_batch_norm`; None keeps one pixel per region.

    Returns:
        Tower lists [N, b, b, depth] with b = 6, 3, 2, 1, or of the size that `resize` returns.
    """
    depth = depth or features[0].shape.as_list()[-1] // len(PYRAMID_BINS)
    averages = pooling.adaptive_avg_pool(features, PYRAMID_BINS)
    with tf.variable_scope("psp"):
        return [
            layers.conv2d_batch_norm(level, depth, 1, resize=resize, scope=f"pool{bins}")
            for level, bins in zip(averages, PYRAMID_BINS, strict=True)
        ]


def _reduce_first(
    features: TowerList, pyramid_depth: int | None, depth: int, grid: str, scope: str, kernel_size: int
) -> TowerList:
    levels = pyramid_levels(features, pyramid_depth)
    return pyramid_conv2d_batch_norm(features, levels, depth, grid, kernel_size=kernel_size, scope=scope)


def _upsample_first(
    features: TowerList, pyramid_depth: int | None, depth: int, grid: str, scope: str, kernel_size: int
) -> TowerList:
    levels = pyramid_levels(features, pyramid_depth, lambda xs: resizing.resize_bilinear(xs, features, grid))
    return layers.conv2d_batch_norm(layers.concat([features, *levels]), depth, kernel_size, scope=scope)


def _add(
    features: TowerList, pyramid_depth: int | None, depth: int, grid: str, scope: str, kernel_size: int
) -> TowerList:
    del pyramid_depth, kernel_size
    levels = pooling.adaptive_avg_pool(features, PYRAMID_BINS)
    total = features
    for level in levels:
        total = layers.add(total, resizing.resize_bilinear(level, features, grid))
    return layers.conv2d_batch_norm(total, depth, 1, scope=scope)


# When to upsample the pooled averages: after their 1x1 layer, as PSPNet does, or before it, as CSAILVision's UPerNet.
# The results differ because of the ReLU of the 1x1 layer and, in training, because its normalization counts other
# pixels. The published ICNet adds the averages to the features instead, and applies a 1x1 layer to the sum. The
# functions take the features, the channels of each level and of the last layer, a key of `choices.RESIZE_GRIDS`, and
# scope and kernel size of the last layer.
PYRAMID_ORDERS: dict[str, Callable[[TowerList, int | None, int, str, str, int], TowerList]] = {
    "reduce_first": _reduce_first,
    "upsample_first": _upsample_first,
    "add": _add,
}


def pyramid_features(
    features: TowerList,
    network: str,
    resize_grid: str,
    pyramid_depth: int | None = None,
    depth: int = HEAD_DEPTH,
    pyramid_order: str = "reduce_first",
    kernel_size: int = 3,
) -> TowerList:
    """Applies pyramid pooling, then a layer, usually 3x3, to features, pool6, pool3, pool2 and pool1.

    Args:
        features: tower list [N, h, w, C], the last block of the encoder.
        network: key of `choices.NETWORKS`; determines the scope of the last layer.
        resize_grid: key of `choices.RESIZE_GRIDS`, to upsample the levels to h x w.
        pyramid_depth: channels of each level; None for C / 4.
        depth: channels of the last layer.
        pyramid_order: key of `PYRAMID_ORDERS`.
        kernel_size: height and width of the last layer's kernel, 3 or 1; with the order `add` it is 1.

    Returns:
        Tower list [N, h, w, depth].
    """
    build = PYRAMID_ORDERS[pyramid_order]
    return build(features, pyramid_depth, depth, resize_grid, extra_unit_scope(network, 4), kernel_size)


def pyramid_pooling_head(
    features: TowerList,
    network: str,
    num_classes: int,
    resize_grid: str,
    seed: tf.Tensor | None,
    pyramid_depth: int | None = None,
    depth: int = HEAD_DEPTH,
    pyramid_order: str = "reduce_first",
    kernel_size: int = 3,
    classifier_kernel_size: int = 1,
) -> TowerList:
    """Builds PSPNet's head: `pyramid_features`, dropout and the classifier.

    Args:
        features, network, resize_grid, pyramid_depth, depth, pyramid_order, kernel_size: see `pyramid_features`.
        num_classes: channels of the logits.
        seed: int32 or int64 [2] for dropout, None for no dropout.
        classifier_kernel_size: height and width of the classifier's kernel.

    Returns:
        Tower list of logits, float32 [N, h, w, num_classes].
    """
    xs = pyramid_features(features, network, resize_grid, pyramid_depth, depth, pyramid_order, kernel_size)
    return classifier(xs, num_classes, seed, "logits", classifier_kernel_size)


def c1_head(features: TowerList, network: str, num_classes: int, depth: int = HEAD_DEPTH) -> TowerList:
    """Builds a 3x3 layer and the classifier, without dropout (CSAILVision's decoder `c1`).

    Args:
        features: tower list [N, h, w, C], the last block of the encoder.
        network: key of `choices.NETWORKS`; determines the scope of the 3x3 layer.
        num_classes: channels of the logits.
        depth: channels of the 3x3 layer.

    Returns:
        Tower list of logits, float32 [N, h, w, num_classes].
    """
    xs = layers.conv2d_batch_norm(features, depth, 3, scope=extra_unit_scope(network, 4))
    return classifier(xs, num_classes, None, "logits")


def upernet_head(
    features: Sequence[TowerList],
    network: str,
    num_classes: int,
    resize_grid: str,
    seed: tf.Tensor | None,
    depth: int = HEAD_DEPTH,
    pyramid_depth: int | None = None,
    pyramid_order: str = "reduce_first",
) -> TowerList:
    """Builds UPerNet's head (Xiao et al. 2018).

    It applies pyramid pooling to the last block, builds a feature pyramid down to the first block, fuses all levels at
    the size of the first block and classifies them.

    Args:
        features: tower lists [N, h_i, w_i, C_i], blocks 1 to 4 of the encoder, from large to small.
        network: key of `choices.NETWORKS`; determines the scope of the layer after the pooling.
        num_classes: channels of the logits.
        resize_grid: key of `choices.RESIZE_GRIDS`, for all upsampling.
        seed: int32 or int64 [2] for dropout, None for no dropout.
        depth: channels of every layer except the pooled levels.
        pyramid_depth: channels of each pooled level; None for `depth`.
        pyramid_order: key of `PYRAMID_ORDERS`.

    Returns:
        Tower list of logits, float32 [N, h_1, w_1, num_classes].
    """
    *lower, last = features
    top = pyramid_features(last, network, resize_grid, pyramid_depth or depth, depth, pyramid_order)
    with tf.variable_scope("fpn"):
        outputs = [top]
        for number in range(len(lower), 0, -1):
            lateral = layers.conv2d_batch_norm(lower[number - 1], depth, 1, scope=f"lateral{number}")
            top = layers.add(lateral, resizing.resize_bilinear(top, lateral, resize_grid))
            outputs.insert(0, layers.conv2d_batch_norm(top, depth, 3, scope=f"output{number}"))
        largest = [resizing.resize_bilinear(xs, outputs[0], resize_grid) for xs in outputs[1:]]
        fused = layers.conv2d_batch_norm(layers.concat([outputs[0], *largest]), depth, 3, scope="fusion")
    return classifier(fused, num_classes, seed, "logits")


def auxiliary_head(
    features: TowerList, network: str, num_classes: int, seed: tf.Tensor | None, depth: int = AUXILIARY_DEPTH
) -> TowerList:
    """Builds the auxiliary classifier of training: a 3x3 layer, dropout and a 1x1 layer.

    Args:
        features: tower list [N, h, w, C], the endpoint `Encoder.auxiliary` of the encoder.
        network: key of `choices.NETWORKS`; determines the scope of the 3x3 layer.
        num_classes: channels of the logits.
        seed: int32 or int64 [2] for dropout, None for no dropout.
        depth: channels of the 3x3 layer.

    Returns:
        Tower list of logits, float32 [N, h, w, num_classes].
    """
    xs = layers.conv2d_batch_norm(features, depth, 3, scope=extra_unit_scope(network, 3))
    return classifier(xs, num_classes, seed, "aux_logits")
