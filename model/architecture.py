"""The options of a network that must be equal in the graph that writes a checkpoint and in the graph that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from model import choices, decoders
from model.encoder_end import ALL_BLOCKS


@dataclass(frozen=True)
class Architecture:
    """The options that must be equal in the graph that writes a checkpoint and in the graph that reads it.

    Attributes:
        network: key of `choices.NETWORKS`.
        num_classes: channels of the logits.
        output_stride: 8, 16 or 32.
        stride_convention: key of `choices.STRIDE_CONVENTIONS`.
        resize_grid: key of `choices.RESIZE_GRIDS`, for all upsampling.
        stem: key of `choices.STEMS`; if it is empty, that of the network is filled in.
        pool_padding: key of `choices.POOL_PADDINGS`, for the pooling after the stem.
        pyramid_depth: channels of each pooled level. None is a quarter of the encoder's channels, and `head_depth` with
            the decoder `upernet`.
        head_depth: channels of the 3x3 layer before the classifier; with `upernet`, of all layers except the pooled
            levels.
        auxiliary_depth: channels of the auxiliary head's 3x3 layer.
        decoder: key of `pspnet_mg.DECODERS`.
        pyramid_order: key of `decoders.PYRAMID_ORDERS`.
        activation: key of `choices.ACTIVATIONS`, of all layers but the classifiers.
        bounded_head: whether the ReLUs outside the encoder are ReLU6, except those of ICNet's fusion units.
        input_channels: of the images.
        filter_scale: one of `choices.FILTER_SCALES`, the factor of the channels of the encoder and of the branches of
            ICNet that `icnet.Cascade.is_scaled` names. The other fields have actual channels.
        encoder_blocks: one of `encoder_end.ENCODER_BLOCKS`: the block with which the encoder ends.
        filters: number of filters of the layers that pruning left with fewer, by scope below that of the network.
    """

    network: str
    num_classes: int
    output_stride: int = 8
    stride_convention: str = "reference"
    resize_grid: str = "half_pixel"
    stem: str = ""
    pool_padding: str = "same"
    pyramid_depth: int | None = None
    head_depth: int = decoders.HEAD_DEPTH
    auxiliary_depth: int = decoders.AUXILIARY_DEPTH
    decoder: str = "ppm"
    pyramid_order: str = "reduce_first"
    activation: str = "relu"
    bounded_head: bool = False
    input_channels: int = 3
    filter_scale: float = 1.0
    encoder_blocks: int = ALL_BLOCKS
    filters: Mapping[str, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not self.stem:
            object.__setattr__(self, "stem", choices.NETWORKS[self.network].stem)

    @property
    def pooled_depth(self) -> int:
        """Returns the channels of each pooled level, whether or not `pyramid_depth` says them."""
        last = int(choices.NETWORKS[self.network].depths[self.encoder_blocks - 1] * self.filter_scale)
        return self.pyramid_depth or (self.head_depth if self.decoder == "upernet" else last // 4)

    @property
    def last_block(self) -> str:
        """Returns the endpoint with the last features of the encoder."""
        return f"block{self.encoder_blocks}"

    @property
    def smallest_stride(self) -> int:
        """Returns the size of the image divided by that of the smallest features; image sizes should be multiples."""
        return self.output_stride * (4 if self.decoder in choices.CASCADES else 1)
