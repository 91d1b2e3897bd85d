"""Builds dilated ResNet-v1 encoders over tower lists (He et al. 2015, "Deep Residual Learning").

ResNet-D, ResNeXt and wide ResNets differ from them in the sizes and options of their rows. Variable names are those of
the slim ResNet-v1 checkpoints. The sizes of the encoders, their stems (the layers before the first block) and their
stride conventions are tables in `model/choices.py`. To add a ResNet of another size, add a row to `NETWORKS` there. To
add another kind of residual unit, write a function like `bottleneck_unit` and choose it in `resnet_v1`.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from model import pooling
from model import utils_mg as layers
from model.choices import NETWORKS, STEMS, STRIDE_CONVENTIONS, ResNet, StrideConvention
from model.encoder_blocks import build_blocks, build_stem, spacings
from model.encoder_end import ALL_BLOCKS
from model.errors import ConventionError
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
        width: channels of the inner layers of a bottleneck.
        groups: groups of its 3x3 layer.
        averaged_shortcut: see `choices.ResNet`.
        has_projection: whether the shortcut is a 1x1 layer; otherwise it is the input.
    """

    scope: str
    depth: int
    stride: int
    rate: int
    next_rate: int
    width: int
    groups: int = 1
    averaged_shortcut: bool = False
    has_projection: bool = False


def plan_blocks(network: str, convention: str, output_stride: int, stem: str | None = None) -> list[list[Unit]]:
    """Computes stride and dilation of every residual unit.

    Args:
        network: key of `choices.NETWORKS`.
        convention: key of `choices.STRIDE_CONVENTIONS`.
        output_stride: 8, 16 or 32; strides that would exceed it are replaced by dilation.
        stem: key of `choices.STEMS`, the usual one by default; its channels decide about the first shortcut.

    Returns:
        Four lists of units, one per block.

    Raises:
        ConventionError: the convention dilates a layer that has a stride.
    """
    resnet, strides = _size(network), STRIDE_CONVENTIONS[convention]
    blocks: list[list[Unit]] = []
    nominal = [
        stride if index == (count - 1 if strides.on_last_unit else 0) else 1
        for count, stride in zip(resnet.units, strides.block_strides, strict=True)
        for index in range(count)
    ]
    spaced = iter(spacings(nominal, _STEM_STRIDE, output_stride, strides.dilate_strided_layer))
    sizes = zip(resnet.units, resnet.depths, strides.more_dilation, strict=True)
    channels = STEMS[stem or resnet.stem][-1].depth
    for block, (count, depth, factor) in enumerate(sizes, start=1):
        kind = (int(depth * resnet.width), resnet.groups, resnet.averaged_shortcut)
        blocks.append([])
        for index in range(1, count + 1):
            scope, has_projection = f"block{block}/unit_{index}", channels != depth
            blocks[-1].append(Unit(scope, depth, *next(spaced).dilated(factor), *kind, has_projection))
            channels = depth
        if any(unit.stride > 1 and unit.rate > 1 for unit in blocks[-1]):
            raise ConventionError(
                f"stride convention {convention} has no output stride {output_stride}, which it would dilate strided "
                "layers for: use a smaller output stride"
            )
    return blocks


def _size(network: str) -> ResNet:
    resnet = NETWORKS[network]
    assert isinstance(resnet, ResNet), network
    return resnet


def _shortcut(xs: TowerList, unit: Unit, convention: StrideConvention) -> TowerList:
    stride = unit.stride
    if not unit.has_projection:
        return pooling.subsample(xs, stride)
    if unit.averaged_shortcut and stride > 1:
        xs, stride = pooling.average_pool(xs, stride), 1
    elif unit.averaged_shortcut and unit.next_rate > unit.rate and convention.average_without_stride:
        xs = pooling.dilated_average(xs, unit.next_rate // unit.rate, unit.rate)
    return layers.conv2d_batch_norm(xs, unit.depth, 1, stride, has_activation=False, scope="shortcut")


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
        shortcut = _shortcut(xs, unit, convention)
        residual = layers.conv2d_batch_norm(xs, unit.width, 1, first, scope="conv1")
        residual = layers.conv2d_batch_norm(residual, unit.width, 3, second, rate, groups=unit.groups, scope="conv2")
        return layers.conv2d_batch_norm(residual, unit.depth, 1, added=shortcut, scope="conv3")


def basic_unit(xs: TowerList, unit: Unit, convention: StrideConvention) -> TowerList:
    """Builds a basic unit: two 3x3 layers, of which the first has the stride, and a shortcut.

    Arguments and result are those of `bottleneck_unit`.
    """
    second_rate = unit.next_rate if convention.dilate_second_basic_layer else 1
    with tf.variable_scope(f"{unit.scope}/basic_v1"):
        shortcut = _shortcut(xs, unit, convention)
        residual = layers.conv2d_batch_norm(xs, unit.depth, 3, unit.stride, unit.rate, scope="conv1")
        return layers.conv2d_batch_norm(residual, unit.depth, 3, 1, second_rate, added=shortcut, scope="conv2")


def resnet_v1(
    images: TowerList,
    network: str,
    *,
    convention: str,
    output_stride: int,
    stem: str = "conv7",
    pool_padding: str = "same",
    encoder_blocks: int = ALL_BLOCKS,
    frozen: Collection[str] = (),
    recomputation: Recomputation | None = None,
    halved_after: tuple[str, str] | None = None,
) -> dict[str, TowerList]:
    """Builds an encoder in the current variable scope.

    Args:
        images: tower list [N, H, W, channels] of the dtype of the activations, usually RGB 0..255 minus the mean;
            N, H and W may be unknown.
        network: key of `choices.NETWORKS`, a ResNet.
        convention: key of `choices.STRIDE_CONVENTIONS`.
        output_stride: 8, 16 or 32.
        stem: key of `choices.STEMS`.
        pool_padding: key of `choices.POOL_PADDINGS`, for the pooling after the stem.
        encoder_blocks: one of `encoder_end.ENCODER_BLOCKS`, the blocks that are built.
        frozen, recomputation, halved_after: see `encoder_blocks.build_blocks`.

    Returns:
        Tower lists by name: `conv1` (stride 2), `pool1` (stride 4) and those of `encoder_blocks.build_blocks`. The last
        block is [N, ceil(H / output_stride), ceil(W / output_stride), channels]; with `halved_after`, all endpoints
        after that unit have half the height and width.
    """
    stem_output = build_stem(images, stem, frozen)
    pooled = pooling.max_pool(stem_output, 3, 2, pool_padding)
    unit = bottleneck_unit if _size(network).bottleneck else basic_unit
    blocks = build_blocks(
        pooled,
        plan_blocks(network, convention, output_stride, stem)[:encoder_blocks],
        functools.partial(unit, convention=STRIDE_CONVENTIONS[convention]),
        frozen=frozen,
        recomputation=recomputation,
        halved_after=halved_after,
    )
    return {"conv1": stem_output, "pool1": pooled, **blocks}
