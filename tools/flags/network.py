"""Flags of train.py for the network and the weights that it starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model.choices import (
    ACTIVATIONS,
    ALL_FROZEN,
    BN_FROZEN,
    CASCADES,
    DECODERS,
    ENCODER_PARTS,
    FILTER_SCALES,
    INITIALIZERS,
    OUTPUT_STRIDES,
    POOL_PADDINGS,
)
from model.encoder_end import ALL_BLOCKS, ENCODER_BLOCKS
from tools.flags.channels import NEEDS_RGB
from tools.flags.choices import NETWORKS, RESIZE_GRIDS, STRIDE_CONVENTIONS
from tools.flags.definition import Need, flag
from tools.flags.limits import MOST_CHANNELS_OF_LAYER
from tools.flags.values import file_path, switch, switch_or_all

_NEEDS_MOMENTS = Need(
    lambda config: config.bn_frozen != ALL_FROZEN, f"with --bn_frozen {ALL_FROZEN}, which keeps all statistics: drop it"
)
_NEEDS_PYRAMID = Need(
    lambda config: config.decoder != "c1", "with --decoder c1, which pools nothing: give another --decoder"
)
_NEEDS_AUXILIARY_LAYER = (
    Need(lambda config: config.has_aux_loss, "without auxiliary heads: drop --has_aux_loss 0"),
    Need(
        lambda config: config.decoder not in CASCADES,
        lambda config: f"with --decoder {config.decoder}, whose auxiliary heads are one layer: give another --decoder",
    ),
)


def _recorded_or(default: str | int) -> str:
    """Describes the default of a flag whose value may come from the record of the starting checkpoint."""
    return f"as recorded beside --fine_tune_filename, otherwise {default}"


def _option_of_network(name: str, text: str, default: str, choices: Sequence[str]) -> Any:
    """Makes the flag of an option of `architecture.Architecture` that the starting checkpoint may record."""
    return flag(
        None,
        text,
        str,
        group="network",
        unset=_recorded_or(default),
        choices=choices,
        identity=False,
        recorded=f"architecture.{name}",
    )


def _width(recorded: str, text: str, default: str, needs: Need | Sequence[Need] = ()) -> Any:
    """Makes the flag of the channels of a layer in the head, recorded as this field of `architecture.Architecture`."""
    return flag(
        None,
        text,
        int,
        group="network",
        metavar="CHANNELS",
        unset=_recorded_or(default),
        minimum=1,
        maximum=MOST_CHANNELS_OF_LAYER,
        identity=False,
        recorded=f"architecture.{recorded}",
        needs=needs,
    )


@dataclass(frozen=True, kw_only=True)
class NetworkFlags:
    """Network, and the checkpoint that it starts from."""

    network: str = flag("resnet_v1_50", "encoder", group="network", choices=NETWORKS, recorded="architecture.network")
    decoder: str | None = _option_of_network("decoder", "decoder, the head of the network", "ppm", DECODERS)
    fine_tune_filename: str | None = flag(
        None,
        "checkpoint of a ResNet or PSPNet to start from, or weights that tools.convert reads; none: random weights",
        file_path,
        group="network",
        unset="./z_pretrained_weights/<network>.ckpt",
        resume="free",
        shown=True,
        scoring="finds",
    )
    output_stride: int | None = flag(
        None,
        "input size over feature size",
        int,
        group="network",
        unset=_recorded_or("8, or 32 with --decoder upernet"),
        choices=OUTPUT_STRIDES,
        identity=False,
        recorded="architecture.output_stride",
    )
    three_convs_beginning: bool | None = flag(
        None,
        "three 3x3 convolutions at the beginning instead of one 7x7",
        switch,
        group="network",
        unset=_recorded_or(0),
        aliases=["structure_in_paper"],
        identity=False,
        recorded="three_convs_beginning",
    )
    stride_convention: str | None = _option_of_network(
        "stride_convention", "layers that have stride and dilation", "reference", STRIDE_CONVENTIONS
    )
    pool_padding: str | None = _option_of_network("pool_padding", "padding of the first pooling", "same", POOL_PADDINGS)
    activation: str | None = _option_of_network(
        "activation",
        "activation after batch normalization: relu, or leaky_relu with slope 0.01 below zero",
        "relu",
        tuple(ACTIVATIONS),
    )
    encoder_blocks: int | None = flag(
        None,
        "block with which the encoder ends; the blocks after it are not built",
        int,
        group="network",
        unset=_recorded_or(ALL_BLOCKS),
        choices=ENCODER_BLOCKS,
        identity=False,
        recorded="architecture.encoder_blocks",
    )
    filter_scale: float | None = flag(
        None,
        "channels of the encoder and of icnet_wide's branches over the usual ones, the head likewise",
        float,
        group="network",
        metavar="FRACTION",
        unset=_recorded_or(1),
        choices=FILTER_SCALES,
        identity=False,
        recorded="architecture.filter_scale",
    )
    resize_grid: str | None = _option_of_network(
        "resize_grid", "grid of bilinear upsampling", "half_pixel", RESIZE_GRIDS
    )
    color_switch: bool | None = flag(
        None,
        "feed BGR, for weights from Caffe",
        switch,
        group="network",
        unset=_recorded_or(0),
        identity=False,
        recorded="color_switch",
        needs=NEEDS_RGB,
    )
    pyramid_depth: int | None = _width(
        "pooled_depth",
        "channels of each pooled level",
        "a quarter of the channels of the encoder's last block, or --head_depth with --decoder upernet",
        _NEEDS_PYRAMID,
    )
    head_depth: int | None = _width(
        "head_depth",
        "channels of the layer before the classifier; with --decoder upernet, of all layers but the pooled levels",
        "512",
    )
    auxiliary_depth: int | None = _width(
        "auxiliary_depth", "channels of the 3x3 layer of the auxiliary head", "256", _NEEDS_AUXILIARY_LAYER
    )
    initializer: str = flag("he", "initializer of new weights", group="network", choices=INITIALIZERS)
    bn_decay: float = flag(
        0.9,
        "decay of the running statistics of batch normalization",
        group="network",
        metavar="FRACTION",
        needs=_NEEDS_MOMENTS,
    )
    bn_frozen: bool | str = flag(
        False,
        f"keep the pre-trained statistics of batch normalization instead of updating them: 1: of the encoder, "
        f"{ALL_FROZEN}: of the decoder too",
        switch_or_all,
        group="network",
        choices=BN_FROZEN,
        needs=Need(
            lambda config: config.bn_frozen == ALL_FROZEN or config.freeze != ENCODER_PARTS,
            "with --freeze encoder, which keeps these statistics: drop --freeze encoder",
        ),
    )
    sync_bn: bool = flag(
        True,
        "0: normalize each tower with its own moments instead of those of all towers, for comparison; the running "
        "statistics are then those of the first tower",
        group="network",
        needs=(
            _NEEDS_MOMENTS,
            Need(
                lambda config: config.gpu_num > 1 or config.eval_only,
                "with --gpu_num 1, whose tower has all images: give --gpu_num 2 or more",
            ),
        ),
    )
