"""Builds dilated MobileNetV2 encoders over tower lists.

Source: Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", without the last 1x1 layer and
the classifier, as in CSAILVision's mobilenetv2dilated. The sizes are rows of `choices.NETWORKS`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import tensorflow.compat.v1 as tf
import tf_slim as slim

from model import utils_mg as layers
from model.choices import NETWORKS, STRIDE_CONVENTIONS, MobileNetV2
from model.encoder_blocks import build_blocks, build_stem, spacings
from model.encoder_end import ALL_BLOCKS
from model.memory import Recomputation
from model.utils_mg import TowerList

_STEM_STRIDE = 2


@dataclass(frozen=True)
class Unit:
    """The configuration of one inverted residual unit.

    Attributes:
        scope: variable scope.
        expansion: channels of the inner layers as a multiple of those of the input.
        depth: output channels.
        stride, rate: of the 3x3 layer.
    """

    scope: str
    expansion: int
    depth: int
    stride: int
    rate: int


def plan_blocks(network: str, convention: str, output_stride: int) -> list[list[Unit]]:
    """Computes stride and dilation of every unit; arguments and result are as those of `resnet.plan_blocks`."""
    size = NETWORKS[network]
    assert isinstance(size, MobileNetV2), network
    stages = [stage for block in size.blocks for stage in block for _ in range(stage.units)]
    nominal = [
        stage.stride if index == 0 else 1 for block in size.blocks for stage in block for index in range(stage.units)
    ]
    spaced = spacings(nominal, _STEM_STRIDE, output_stride, STRIDE_CONVENTIONS[convention].dilate_strided_layer)
    units = iter(zip(stages, spaced, strict=True))
    blocks: list[list[Unit]] = []
    for block, count in enumerate(size.units, start=1):
        blocks.append([])
        for index in range(1, count + 1):
            stage, (stride, rate, _) = next(units)
            blocks[-1].append(Unit(f"block{block}/unit_{index}", stage.expansion, stage.depth, stride, rate))
    return blocks


def inverted_residual_unit(xs: TowerList, unit: Unit) -> TowerList:
    """Builds a 1x1 layer to more channels, a 3x3 layer on each channel and a 1x1 layer without activation.

    The input is added if it has as many channels as the output. An expansion of 1 leaves the first layer out.

    Args:
        xs: tower list [N, H, W, C].
        unit: scope, channels, stride and dilation.

    Returns:
        Tower list [N, ceil(H / unit.stride), ceil(W / unit.stride), unit.depth].
    """
    channels = xs[0].shape.as_list()[-1]
    width = channels * unit.expansion
    with tf.variable_scope(f"{unit.scope}/inverted_v2"):
        inner = xs if unit.expansion == 1 else layers.conv2d_batch_norm(xs, width, 1, scope="expand")
        inner = layers.conv2d_batch_norm(inner, width, 3, unit.stride, unit.rate, groups=width, scope="depthwise")
        added = xs if channels == unit.depth else None
        return layers.conv2d_batch_norm(inner, unit.depth, 1, has_activation=False, added=added, scope="project")


def mobilenet_v2(
    images: TowerList,
    network: str,
    *,
    convention: str,
    output_stride: int,
    stem: str = "conv3",
    pool_padding: str = "same",
    encoder_blocks: int = ALL_BLOCKS,
    frozen: Collection[str] = (),
    recomputation: Recomputation | None = None,
    halved_after: tuple[str, str] | None = None,
) -> dict[str, TowerList]:
    """Builds an encoder in the current variable scope; its ReLUs are ReLU6.

    Args:
        images: see `resnet.resnet_v1`.
        network: key of `choices.NETWORKS`, a MobileNetV2.
        convention: key of `choices.STRIDE_CONVENTIONS`.
        output_stride: 8, 16 or 32.
        stem: key of `choices.STEMS`.
        pool_padding: ignored, because nothing is pooled.
        encoder_blocks: one of `encoder_end.ENCODER_BLOCKS`, the blocks that are built.
        frozen, recomputation, halved_after: see `encoder_blocks.build_blocks`.

    Returns:
        Tower lists by name: `conv1` (stride 2), `block1` to `block4` (nominal strides 4, 8, 16 and 32) or to the last
        one that is built, and `block4/unit_1` if block 4 is. Their sizes are as those of `resnet.resnet_v1`.
    """
    del pool_padding
    with slim.arg_scope([layers.normalize_and_activate], bounded=True):
        stem_output = build_stem(images, stem, frozen)
        blocks = build_blocks(
            stem_output,
            plan_blocks(network, convention, output_stride)[:encoder_blocks],
            inverted_residual_unit,
            frozen=frozen,
            recomputation=recomputation,
            halved_after=halved_after,
            kept=(MobileNetV2.auxiliary,),
        )
    return {"conv1": stem_output, **blocks}
