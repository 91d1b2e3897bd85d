"""Flags of train.py for the network and the weights that it starts from."""

from __future__ import annotations

from dataclasses import dataclass

from model.choices import ACTIVATIONS, DECODERS, INITIALIZERS, OUTPUT_STRIDES, POOL_PADDINGS
from tools.flags.channels import NEEDS_RGB
from tools.flags.choices import NETWORKS, RESIZE_GRIDS, STRIDE_CONVENTIONS
from tools.flags.definition import flag, needs_trained_encoder
from tools.flags.values import file_path, switch


def _recorded_or(default: str | int) -> str:
    """Describes the default of a flag whose value may come from the record of the starting checkpoint."""
    return f"as recorded beside --fine_tune_filename, otherwise {default}"


@dataclass(frozen=True, kw_only=True)
class NetworkFlags:
    """Network, and the checkpoint that it starts from."""

    network: str = flag("resnet_v1_50", "encoder", group="network", choices=NETWORKS, recorded="architecture.network")
    decoder: str | None = flag(
        None,
        "decoder, the head of the network",
        str,
        group="network",
        unset=_recorded_or("ppm"),
        choices=DECODERS,
        identity=False,
        recorded="architecture.decoder",
    )
    fine_tune_filename: str | None = flag(
        None,
        "ResNet or PSPNet checkpoint to start from; none: random weights",
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
    stride_convention: str | None = flag(
        None,
        "layers that have stride and dilation",
        str,
        group="network",
        unset=_recorded_or("reference"),
        choices=STRIDE_CONVENTIONS,
        identity=False,
        recorded="architecture.stride_convention",
    )
    pool_padding: str | None = flag(
        None,
        "padding of the first pooling",
        str,
        group="network",
        unset=_recorded_or("same"),
        choices=POOL_PADDINGS,
        identity=False,
        recorded="architecture.pool_padding",
    )
    activation: str | None = flag(
        None,
        "activation after batch normalization: relu, or leaky_relu with slope 0.01 below zero",
        str,
        group="network",
        unset=_recorded_or("relu"),
        choices=tuple(ACTIVATIONS),
        identity=False,
        recorded="architecture.activation",
    )
    resize_grid: str | None = flag(
        None,
        "grid of bilinear upsampling",
        str,
        group="network",
        unset=_recorded_or("half_pixel"),
        choices=RESIZE_GRIDS,
        identity=False,
        recorded="architecture.resize_grid",
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
    initializer: str = flag("he", "initializer of new weights", group="network", choices=INITIALIZERS)
    bn_decay: float = flag(
        0.9, "decay of the running statistics of batch normalization", group="network", metavar="FRACTION"
    )
    bn_frozen: bool = flag(
        False,
        "keep the pre-trained statistics of batch normalization instead of updating them",
        group="network",
        needs=needs_trained_encoder("keeps these statistics: drop --freeze encoder"),
    )
