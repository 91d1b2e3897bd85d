"""Builds dilated ResNet-v1 encoders over tower lists (He et al. 2015, "Deep Residual Learning").

Variable names are those of the slim ResNet-v1 checkpoints. The sizes of the encoders, their stems (the layers before
the first block) and their stride conventions are tables in `model/choices.py`. To add a ResNet of another size, add a
row to `NETWORKS` there. To add another kind of residual unit, write a function like `bottleneck_unit` and choose it in
`_build_units`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import tensorflow.compat.v1 as tf
import tf_slim as slim

from model import pooling, resizing
from model import utils_mg as layers
from model.choices import NETWORKS, STEMS, STRIDE_CONVENTIONS, StrideConvention
from model.memory import Recomputation
from model.utils_mg import TowerList

_STEM_STRIDE = 4


@dataclass(frozen=True)
class Unit:
    """The configuration of one residual unit.

    Attributes:
        scope: variable scope.
        depth: output channels.
        stride: output stride.
        rate: dilation of the layer that has the stride, or would have it without dilation.
        next_rate: dilation of the layers after it.
    """

    scope: str
    depth: int
    stride: int
    rate: int
    next_rate: int


def plan_blocks(network: str, convention: str, output_stride: int) -> list[list[Unit]]:
    """Computes stride and dilation of every residual unit.

    Args:
        network: key of `choices.NETWORKS`.
        convention: key of `choices.STRIDE_CONVENTIONS`.
        output_stride: 8, 16 or 32; strides that would exceed it are replaced by dilation.

    Returns:
        Four lists of units, one per block.
    """
    resnet, strides = NETWORKS[network], STRIDE_CONVENTIONS[convention]
    current_stride, rate = _STEM_STRIDE, 1
    blocks = []
    for block, (count, depth) in enumerate(zip(resnet.units, resnet.depths, strict=True)):
        units = []
        for index in range(count):
            strided = index == (count - 1 if strides.on_last_unit else 0)
            stride = strides.block_strides[block] if strided else 1
            dilation = stride if current_stride * stride > output_stride else 1
            stride //= dilation
            next_rate = rate * dilation
            own_rate = next_rate if strides.dilate_strided_layer else rate
            units.append(Unit(f"block{block + 1}/unit_{index + 1}", depth, stride, own_rate, next_rate))
            rate = next_rate
            current_stride *= stride
        blocks.append(units)
    return blocks


def extra_unit_scope(network: str, block: int) -> str:
    """Returns the scope of the layer that PSPNet adds after a block, e.g. `block4/unit_4` for block 4 of ResNet-50."""
    return f"block{block}/unit_{NETWORKS[network].units[block - 1] + 1}"


def _shortcut(xs: TowerList, depth: int, stride: int) -> TowerList:
    if xs[0].shape.as_list()[-1] == depth:
        return pooling.subsample(xs, stride)
    return layers.conv2d_batch_norm(xs, depth, 1, stride, has_activation=False, scope="shortcut")


def bottleneck_unit(xs: TowerList, unit: Unit, convention: StrideConvention) -> TowerList:
    """Builds a bottleneck: layers of 1x1, 3x3 and 1x1, and a shortcut.

    Args:
        xs: tower list [N, H, W, C].
        unit: scope, depth, stride and dilation.
        convention: which layer has the stride and the dilation.

    Returns:
        Tower list [N, ceil(H / unit.stride), ceil(W / unit.stride), unit.depth].
    """
    first, second = (unit.stride, 1) if convention.on_conv1 else (1, unit.stride)
    rate = unit.next_rate if convention.on_conv1 else unit.rate
    with tf.variable_scope(f"{unit.scope}/bottleneck_v1"):
        shortcut = _shortcut(xs, unit.depth, unit.stride)
        residual = layers.conv2d_batch_norm(xs, unit.depth // 4, 1, first, scope="conv1")
        residual = layers.conv2d_batch_norm(residual, unit.depth // 4, 3, second, rate, scope="conv2")
        return layers.conv2d_batch_norm(residual, unit.depth, 1, added=shortcut, scope="conv3")


def basic_unit(xs: TowerList, unit: Unit, convention: StrideConvention) -> TowerList:
    """Builds a basic unit: two 3x3 layers, of which the first has the stride, and a shortcut.

    Arguments and result are those of `bottleneck_unit`.
    """
    second_rate = unit.next_rate if convention.dilate_second_basic_layer else 1
    with tf.variable_scope(f"{unit.scope}/basic_v1"):
        shortcut = _shortcut(xs, unit.depth, unit.stride)
        residual = layers.conv2d_batch_norm(xs, unit.depth, 3, unit.stride, unit.rate, scope="conv1")
        return layers.conv2d_batch_norm(residual, unit.depth, 3, 1, second_rate, added=shortcut, scope="conv2")


def _build_units(xs: TowerList, units: Sequence[Unit], network: str, convention: StrideConvention) -> TowerList:
    build_unit = bottleneck_unit if NETWORKS[network].bottleneck else basic_unit
    for unit in units:
        xs = build_unit(xs, unit, convention)
    return xs


def _build_segments(
    xs: TowerList, units: Sequence[Unit], build: Callable[..., TowerList], recomputation: Recomputation
) -> TowerList:
    """Builds the units in segments of `recomputation.units_per_segment`; the last segment may be shorter."""
    length = recomputation.units_per_segment
    for first in range(0, len(units), length):
        xs = recomputation.run(functools.partial(build, units=units[first : first + length]), xs)
    return xs


def _parted_after(units: Sequence[Unit], scope: str | None) -> list[Sequence[Unit]]:
    """Splits the units after the unit with the given scope; returns one part if no unit or the last unit has it."""
    end = next((index for index, unit in enumerate(units, start=1) if unit.scope == scope), len(units))
    return [part for part in (units[:end], units[end:]) if part]


def _stem(images: TowerList, stem: str, pool_padding: str) -> dict[str, TowerList]:
    """Builds the layers before the first block and the max pooling after them; returns `conv1` and `pool1`."""
    xs = images
    for layer in STEMS[stem]:
        xs = layers.conv2d_batch_norm(xs, layer.depth, layer.kernel_size, layer.stride, scope=layer.scope)
    return {"conv1": xs, "pool1": pooling.max_pool(xs, 3, 2, pool_padding)}


def resnet_v1(
    images: TowerList,
    network: str,
    *,
    convention: str,
    output_stride: int,
    stem: str = "conv7",
    pool_padding: str = "same",
    frozen: Collection[str] = (),
    recomputation: Recomputation | None = None,
    halved_after: tuple[str, str] | None = None,
) -> dict[str, TowerList]:
    """Builds an encoder in the current variable scope.

    Args:
        images: tower list [N, H, W, channels] of the dtype of the activations, usually RGB 0..255 minus the mean;
            N, H and W may be unknown.
        network: key of `choices.NETWORKS`.
        convention: key of `choices.STRIDE_CONVENTIONS`.
        output_stride: 8, 16 or 32.
        stem: key of `choices.STEMS`.
        pool_padding: key of `choices.POOL_PADDINGS`, for the pooling after the stem.
        frozen: parts that are not trained, see `choices.ENCODER_PARTS`; their batch normalization uses its running
            averages without updating them.
        recomputation: records the residual units in segments, to recompute their activations in the backward pass;
            None keeps all activations. Frozen blocks are not recorded.
        halved_after: `(scope, grid)`: the output of the unit with this scope is resized to half its size before the
            next unit; `grid` is a key of `choices.RESIZE_GRIDS`. None resizes nothing.

    Returns:
        Tower lists by name: `conv1` (stride 2), `pool1` (stride 4) and `block1` to `block4`. `block4` is
        [N, ceil(H / output_stride), ceil(W / output_stride), channels]. With `halved_after`, the output of that unit
        is included under its scope, and all later endpoints have half the height and width.
    """
    halved_scope, grid = halved_after or (None, "")
    with _normalization("conv1" in frozen):
        endpoints = _stem(images, stem, pool_padding)
    xs = endpoints["pool1"]
    for number, units in enumerate(plan_blocks(network, convention, output_stride), start=1):
        build = functools.partial(_build_units, network=network, convention=STRIDE_CONVENTIONS[convention])
        is_frozen = f"block{number}" in frozen
        segments = None if is_frozen else recomputation
        with _normalization(is_frozen):
            for part in _parted_after(units, halved_scope):
                xs = build(xs, part) if segments is None else _build_segments(xs, part, build, segments)
                if part[-1].scope == halved_scope:
                    endpoints[halved_scope] = xs
                    xs = resizing.halve(xs, grid)
        endpoints[f"block{number}"] = xs
    return endpoints


def _normalization(is_frozen: bool) -> contextlib.AbstractContextManager[object]:
    """Makes the batch normalization of frozen layers use its running averages; others stay as the caller set them."""
    return slim.arg_scope([layers.batch_norm], is_training=False) if is_frozen else contextlib.nullcontext()
