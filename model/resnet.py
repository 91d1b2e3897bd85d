"""ResNet-v1 encoders (He et al. 2015, "Deep Residual Learning") over tower lists, with dilation.

Variable names follow the slim ResNet-v1 checkpoints. The first layers, where a block's stride sits, and which
layers of a dilated block are dilated differ between the projects that publish weights; all of it is data here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow.compat.v1 as tf

from model import resizing
from model import utils_mg as layers
from model.memory import Recomputation
from model.utils_mg import TowerList


@dataclass(frozen=True)
class ResNet:
    """Units per block, output channels per block, and whether the units are bottlenecks or two 3x3 layers."""

    units: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    bottleneck: bool


_BOTTLENECK_DEPTHS = (256, 512, 1024, 2048)
_BASIC_DEPTHS = (64, 128, 256, 512)

NETWORKS: dict[str, ResNet] = {
    "resnet_v1_18": ResNet((2, 2, 2, 2), _BASIC_DEPTHS, bottleneck=False),
    "resnet_v1_34": ResNet((3, 4, 6, 3), _BASIC_DEPTHS, bottleneck=False),
    "resnet_v1_50": ResNet((3, 4, 6, 3), _BOTTLENECK_DEPTHS, bottleneck=True),
    "resnet_v1_101": ResNet((3, 4, 23, 3), _BOTTLENECK_DEPTHS, bottleneck=True),
    "resnet_v1_152": ResNet((3, 8, 36, 3), _BOTTLENECK_DEPTHS, bottleneck=True),
}


@dataclass(frozen=True)
class StemLayer:
    """One layer before the first block: 'SAME'-sized convolution with batch normalization."""

    scope: str
    depth: int
    kernel_size: int
    stride: int


# The layers before the first pooling: He et al.'s, those of the PSPNet authors, those of mmsegmentation's ResNetV1c.
STEMS: dict[str, tuple[StemLayer, ...]] = {
    "conv7": (StemLayer("conv1", 64, 7, 2),),
    "deep_128": (StemLayer("conv1_1", 64, 3, 2), StemLayer("conv1_2", 64, 3, 1), StemLayer("conv1_3", 128, 3, 1)),
    "deep_64": (StemLayer("conv1_1", 32, 3, 2), StemLayer("conv1_2", 32, 3, 1), StemLayer("conv1_3", 64, 3, 1)),
}


# What the reference's flag --three_convs_beginning means.
STEM_OF_SWITCH = {False: "conv7", True: "deep_128"}


@dataclass(frozen=True)
class StrideConvention:
    """Where strides and dilation sit.

    Attributes:
        block_strides: nominal stride of each block, without dilation.
        on_last_unit: the stride is on the last unit of a block, otherwise on the first.
        on_conv1: in a bottleneck, the stride is on the first 1x1 layer, otherwise on the 3x3 layer.
        dilate_strided_layer: a layer whose stride is replaced by dilation is dilated itself, otherwise only the
            layers after it are, which makes the output, subsampled, equal to that with the stride.
        dilate_second_basic_layer: a basic unit dilates both of its 3x3 layers, otherwise the first only.
    """

    block_strides: tuple[int, int, int, int]
    on_last_unit: bool
    on_conv1: bool
    dilate_strided_layer: bool
    dilate_second_basic_layer: bool = True


STRIDE_CONVENTIONS: dict[str, StrideConvention] = {
    "reference": StrideConvention((1, 2, 2, 2), on_last_unit=False, on_conv1=False, dilate_strided_layer=True),
    "slim": StrideConvention((2, 2, 2, 1), on_last_unit=True, on_conv1=False, dilate_strided_layer=False),
    "caffe": StrideConvention((1, 2, 2, 2), on_last_unit=False, on_conv1=True, dilate_strided_layer=False),
    "contracted": StrideConvention((1, 2, 2, 2), on_last_unit=False, on_conv1=False, dilate_strided_layer=False),
    "mmseg": StrideConvention(
        (1, 2, 2, 2),
        on_last_unit=False,
        on_conv1=False,
        dilate_strided_layer=False,
        dilate_second_basic_layer=False,
    ),
}

OUTPUT_STRIDES = (8, 16, 32)
_STEM_STRIDE = 4


@dataclass(frozen=True)
class Unit:
    """One residual unit.

    Attributes:
        scope: variable scope.
        depth: output channels.
        stride: of the unit.
        rate: dilation of the layer that has the stride, or would have it without dilation.
        next_rate: dilation of the layers after that one.
    """

    scope: str
    depth: int
    stride: int
    rate: int
    next_rate: int


def plan_blocks(network: str, convention: str, output_stride: int) -> list[list[Unit]]:
    """The residual units of every block.

    Args:
        network: key of `NETWORKS`.
        convention: key of `STRIDE_CONVENTIONS`.
        output_stride: 8, 16 or 32; strides beyond it become dilation.

    Returns:
        Four lists of units.
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
    """Scope of the layer that a PSPNet adds after a block, e.g. `block4/unit_4` after block 4 of ResNet-50."""
    return f"block{block}/unit_{NETWORKS[network].units[block - 1] + 1}"


def _shortcut(xs: TowerList, depth: int, stride: int) -> TowerList:
    if xs[0].shape.as_list()[-1] == depth:
        return layers.subsample(xs, stride)
    return layers.conv2d_batch_norm(xs, depth, 1, stride, activation=False, scope="shortcut")


def bottleneck_unit(xs: TowerList, unit: Unit, convention: StrideConvention) -> TowerList:
    """1x1, 3x3, 1x1 with a shortcut: [N, H, W, C] -> [N, H / stride, W / stride, unit.depth]."""
    first, second = (unit.stride, 1) if convention.on_conv1 else (1, unit.stride)
    rate = unit.next_rate if convention.on_conv1 else unit.rate
    with tf.variable_scope(f"{unit.scope}/bottleneck_v1"):
        shortcut = _shortcut(xs, unit.depth, unit.stride)
        residual = layers.conv2d_batch_norm(xs, unit.depth // 4, 1, first, scope="conv1")
        residual = layers.conv2d_batch_norm(residual, unit.depth // 4, 3, second, rate, scope="conv2")
        residual = layers.conv2d_batch_norm(residual, unit.depth, 1, activation=False, scope="conv3")
        return layers.relu(layers.add(shortcut, residual))


def basic_unit(xs: TowerList, unit: Unit, convention: StrideConvention) -> TowerList:
    """3x3, 3x3 with a shortcut; the stride is always on the first layer."""
    second_rate = unit.next_rate if convention.dilate_second_basic_layer else 1
    with tf.variable_scope(f"{unit.scope}/basic_v1"):
        shortcut = _shortcut(xs, unit.depth, unit.stride)
        residual = layers.conv2d_batch_norm(xs, unit.depth, 3, unit.stride, unit.rate, scope="conv1")
        residual = layers.conv2d_batch_norm(residual, unit.depth, 3, 1, second_rate, activation=False, scope="conv2")
        return layers.relu(layers.add(shortcut, residual))


def _build_units(xs: TowerList, units: Sequence[Unit], network: str, convention: StrideConvention) -> TowerList:
    build_unit = bottleneck_unit if NETWORKS[network].bottleneck else basic_unit
    for unit in units:
        xs = build_unit(xs, unit, convention)
    return xs


def _build_segments(
    xs: TowerList, units: Sequence[Unit], build: Callable[..., TowerList], recomputation: Recomputation
) -> TowerList:
    """The units of a block in segments, the last of which may be shorter."""
    length = recomputation.units_per_segment
    for first in range(0, len(units), length):
        xs = recomputation.run(functools.partial(build, units=units[first : first + length]), xs)
    return xs


def _parted_after(units: Sequence[Unit], scope: str | None) -> list[Sequence[Unit]]:
    """The units in two parts, the first of which ends with the unit of that scope; in one where there is none."""
    end = next((index for index, unit in enumerate(units, start=1) if unit.scope == scope), len(units))
    return [part for part in (units[:end], units[end:]) if part]


def resnet_v1(
    images: TowerList,
    network: str,
    *,
    convention: str,
    output_stride: int,
    stem: str = "conv7",
    pool_padding: str = "same",
    recomputation: Recomputation | None = None,
    halved_after: tuple[str, str] | None = None,
) -> dict[str, TowerList]:
    """Builds the encoder in the current variable scope.

    Args:
        images: tower list [N, H, W, 3] of the computation's dtype, RGB 0..255 less the mean; H, W may be unknown.
        network: key of `NETWORKS`.
        convention: key of `STRIDE_CONVENTIONS`.
        output_stride: 8, 16 or 32.
        stem: key of `STEMS`.
        pool_padding: key of `utils_mg.POOL_PADDINGS`, for the pooling after the stem.
        recomputation: makes segments of the residual units, whose activations it does not keep; None keeps all.
        halved_after: scope of a unit whose output is halved before the next, and the grid, a key of
            `resizing.RESIZE_GRIDS`; None for none.

    Returns:
        Tower lists by name: `conv1` at stride 2, `pool1` at stride 4, `block1` to `block4`; the last has
        [N, ceil(H / output_stride), ceil(W / output_stride), channels]. With `halved_after` also the output of that
        unit, and what follows it has half the height and width.
    """
    halved_scope, grid = halved_after or (None, "")
    xs = images
    for layer in STEMS[stem]:
        xs = layers.conv2d_batch_norm(xs, layer.depth, layer.kernel_size, layer.stride, scope=layer.scope)
    endpoints = {"conv1": xs}
    xs = layers.max_pool(xs, 3, 2, pool_padding)
    endpoints["pool1"] = xs
    for number, units in enumerate(plan_blocks(network, convention, output_stride), start=1):
        build = functools.partial(_build_units, network=network, convention=STRIDE_CONVENTIONS[convention])
        for part in _parted_after(units, halved_scope):
            xs = build(xs, part) if recomputation is None else _build_segments(xs, part, build, recomputation)
            if part[-1].scope == halved_scope:
                endpoints[halved_scope] = xs
                xs = resizing.halve(xs, grid)
        endpoints[f"block{number}"] = xs
    return endpoints
