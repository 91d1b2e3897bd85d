"""The values that the network's options can take. It imports without TensorFlow, so that flags are parsed quickly.

To add an encoder, add a row to `NETWORKS`. For an option whose variants are functions, only the names are listed here;
the table of functions is in the module that the comment names, and `tests/model/test_choices.py` checks that the names
are the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

Blocks = tuple[int, int, int, int]


class Encoder(Protocol):
    """The properties that the rest of the package reads of an encoder, whatever its family.

    Attributes:
        units: units of each block.
        depths: output channels of each block.
        stem: key of `STEMS`, the usual one.
        auxiliary: endpoint that the auxiliary head gets: a block, or the scope of a unit.
        has_pooling: whether a pooling follows the stem.
        conventions: keys of `STRIDE_CONVENTIONS` that the encoder can be built with.
        is_grouped: whether some layers have groups, so that they need certain numbers of channels: `FILTER_SCALES` and
            pruning change these.
    """

    auxiliary: ClassVar[str]
    has_pooling: ClassVar[bool]

    @property
    def units(self) -> Blocks: ...
    @property
    def depths(self) -> Blocks: ...
    @property
    def stem(self) -> str: ...
    @property
    def conventions(self) -> tuple[str, ...]: ...
    @property
    def is_grouped(self) -> bool: ...


@dataclass(frozen=True)
class ResNet:
    """The size of a ResNet.

    Attributes:
        units, depths, stem: see `Encoder`.
        bottleneck: whether a unit has three layers (1x1, 3x3, 1x1) or two (3x3, 3x3).
        width: channels of a bottleneck's 3x3 layer as a fraction of its output channels.
        groups: groups of a bottleneck's 3x3 layer.
        averaged_shortcut: whether a strided shortcut averages 2x2 pixels before its 1x1 layer; otherwise that layer
            skips pixels.
    """

    units: Blocks
    depths: Blocks
    bottleneck: bool
    width: float = 1 / 4
    groups: int = 1
    averaged_shortcut: bool = False
    stem: str = "conv7"

    auxiliary: ClassVar[str] = "block3"
    has_pooling: ClassVar[bool] = True

    @property
    def conventions(self) -> tuple[str, ...]:
        """Returns all; a ResNet-D has the stride on the 3x3 layer of a unit whose shortcut has a 1x1 layer."""
        return ("reference", "contracted", "mmseg") if self.averaged_shortcut else tuple(STRIDE_CONVENTIONS)

    @property
    def is_grouped(self) -> bool:
        return self.groups > 1


class InvertedStage(NamedTuple):
    """A row of table 2 of the MobileNetV2 paper: t, c, n and s.

    Attributes:
        expansion: channels inside a unit as a multiple of those of its input.
        depth: output channels.
        units: inverted residual units.
        stride: of the first of them.
    """

    expansion: int
    depth: int
    units: int
    stride: int


@dataclass(frozen=True)
class MobileNetV2:
    """The size of a MobileNetV2.

    Attributes:
        blocks: the stages of each block; blocks end before a stride.
        stem: see `Encoder`.
    """

    blocks: tuple[tuple[InvertedStage, ...], ...]
    stem: str = "conv3"

    auxiliary: ClassVar[str] = "block4/unit_1"  # as in CSAILVision's mobilenetv2dilated
    has_pooling: ClassVar[bool] = False
    conventions: ClassVar[tuple[str, ...]] = ("reference", "contracted")
    is_grouped: ClassVar[bool] = True

    @property
    def units(self) -> Blocks:
        first, second, third, fourth = (sum(stage.units for stage in block) for block in self.blocks)
        return first, second, third, fourth

    @property
    def depths(self) -> Blocks:
        first, second, third, fourth = (block[-1].depth for block in self.blocks)
        return first, second, third, fourth


_BOTTLENECK_DEPTHS = (256, 512, 1024, 2048)
_BASIC_DEPTHS = (64, 128, 256, 512)

# Encoders: ResNets (He et al. 2015, "Deep Residual Learning", table 1), ResNets-D (He et al. 2018, "Bag of Tricks",
# section 4.2), ResNeXts (Xie et al. 2017, "Aggregated Residual Transformations", table 1; 32x8d is of its code), wide
# ResNets (Zagoruyko & Komodakis 2016, with the bottlenecks of its code), MobileNetV2 (Sandler et al. 2018, table 2).
NETWORKS: dict[str, ResNet | MobileNetV2] = {
    "resnet_v1_18": ResNet((2, 2, 2, 2), _BASIC_DEPTHS, bottleneck=False),
    "resnet_v1_34": ResNet((3, 4, 6, 3), _BASIC_DEPTHS, bottleneck=False),
    "resnet_v1_50": ResNet((3, 4, 6, 3), _BOTTLENECK_DEPTHS, bottleneck=True),
    "resnet_v1_101": ResNet((3, 4, 23, 3), _BOTTLENECK_DEPTHS, bottleneck=True),
    "resnet_v1_152": ResNet((3, 8, 36, 3), _BOTTLENECK_DEPTHS, bottleneck=True),
    "resnet_v1d_50": ResNet((3, 4, 6, 3), _BOTTLENECK_DEPTHS, bottleneck=True, averaged_shortcut=True, stem="deep_64"),
    "resnet_v1d_101": ResNet(
        (3, 4, 23, 3), _BOTTLENECK_DEPTHS, bottleneck=True, averaged_shortcut=True, stem="deep_64"
    ),
    "resnext_50_32x4d": ResNet((3, 4, 6, 3), _BOTTLENECK_DEPTHS, bottleneck=True, width=1 / 2, groups=32),
    "resnext_101_32x8d": ResNet((3, 4, 23, 3), _BOTTLENECK_DEPTHS, bottleneck=True, width=1, groups=32),
    "wide_resnet_50_2": ResNet((3, 4, 6, 3), _BOTTLENECK_DEPTHS, bottleneck=True, width=1 / 2),
    "wide_resnet_101_2": ResNet((3, 4, 23, 3), _BOTTLENECK_DEPTHS, bottleneck=True, width=1 / 2),
    "mobilenet_v2": MobileNetV2(
        (
            (InvertedStage(1, 16, 1, 1), InvertedStage(6, 24, 2, 2)),
            (InvertedStage(6, 32, 3, 2),),
            (InvertedStage(6, 64, 4, 2), InvertedStage(6, 96, 3, 1)),
            (InvertedStage(6, 160, 3, 2), InvertedStage(6, 320, 1, 1)),
        )
    ),
}


def has_bottlenecks(network: str) -> bool:
    """Returns whether an encoder, a key of `NETWORKS`, is a ResNet of bottleneck units."""
    size = NETWORKS[network]
    return isinstance(size, ResNet) and size.bottleneck


# Channels of the layers over the usual ones: 1, 0.75 and 0.5, as in the configurations of fast-semantic-segmentation,
# which also has 0.9.
FILTER_SCALES = (0.5, 0.75, 1.0)


@dataclass(frozen=True)
class StemLayer:
    """A convolution with batch normalization before the first block.

    Attributes:
        scope: variable scope.
        depth: output channels.
        kernel_size: height and width of the kernel.
        stride: output stride.
    """

    scope: str
    depth: int
    kernel_size: int
    stride: int


# The layers before the first block: of He et al., of the PSPNet authors, of ResNet-D and mmsegmentation's ResNetV1c,
# and of MobileNetV2.
STEMS: dict[str, tuple[StemLayer, ...]] = {
    "conv7": (StemLayer("conv1", 64, 7, 2),),
    "deep_128": (StemLayer("conv1_1", 64, 3, 2), StemLayer("conv1_2", 64, 3, 1), StemLayer("conv1_3", 128, 3, 1)),
    "deep_64": (StemLayer("conv1_1", 32, 3, 2), StemLayer("conv1_2", 32, 3, 1), StemLayer("conv1_3", 64, 3, 1)),
    "conv3": (StemLayer("conv1", 32, 3, 2),),
}

# The stem for each value of --three_convs_beginning, for encoders that exist with both.
STEM_OF_SWITCH = {False: "conv7", True: "deep_128"}


def has_three_convolutions(stem: str) -> bool:
    """Returns whether a stem, a key of `STEMS`, has three layers; see --three_convs_beginning."""
    return len(STEMS[stem]) == 3


def stem_of(network: str, three_convs: bool | None) -> str | None:
    """Returns the key of `STEMS` for an encoder and a value of --three_convs_beginning.

    Args:
        network: key of `NETWORKS`.
        three_convs: whether the encoder begins with three layers; None for its usual stem.

    Returns:
        None if the encoder has no such stem: all but the ResNets that usually begin with a 7x7 layer have one stem.
    """
    usual = NETWORKS[network].stem
    if three_convs is None or has_three_convolutions(usual) == three_convs:
        return usual
    return STEM_OF_SWITCH[three_convs] if usual in STEM_OF_SWITCH.values() else None


@dataclass(frozen=True)
class StrideConvention:
    """Which layers of a block are strided and which are dilated.

    Attributes:
        block_strides: nominal stride of each block, without dilation.
        on_last_unit: whether the last unit of a block has the stride; otherwise the first has it.
        on_conv1: whether the first 1x1 layer of a bottleneck has the stride; otherwise the 3x3 layer has it.
        dilate_strided_layer: whether a layer whose stride is replaced by dilation is dilated itself. Otherwise only
            the layers after it are dilated, and the subsampled output equals the output with the stride.
        dilate_second_basic_layer: whether a basic unit dilates both of its 3x3 layers; otherwise only the first.
        average_without_stride: whether a ResNet-D averages in a shortcut whose stride is replaced by dilation, so that
            the subsampled output equals the output with the stride there too. GluonCV and mmsegmentation do not.
        more_dilation: factors by which the layers of each block are dilated in addition.
    """

    block_strides: tuple[int, int, int, int]
    on_last_unit: bool
    on_conv1: bool
    dilate_strided_layer: bool
    dilate_second_basic_layer: bool = True
    average_without_stride: bool = False
    more_dilation: tuple[int, int, int, int] = (1, 1, 1, 1)


STRIDE_CONVENTIONS: dict[str, StrideConvention] = {
    "reference": StrideConvention((1, 2, 2, 2), on_last_unit=False, on_conv1=False, dilate_strided_layer=True),
    "slim": StrideConvention((2, 2, 2, 1), on_last_unit=True, on_conv1=False, dilate_strided_layer=False),
    "caffe": StrideConvention((1, 2, 2, 2), on_last_unit=False, on_conv1=True, dilate_strided_layer=False),
    "contracted": StrideConvention(
        (1, 2, 2, 2), on_last_unit=False, on_conv1=False, dilate_strided_layer=False, average_without_stride=True
    ),
    "mmseg": StrideConvention(
        (1, 2, 2, 2),
        on_last_unit=False,
        on_conv1=False,
        dilate_strided_layer=False,
        dilate_second_basic_layer=False,
    ),
    # Of fast-semantic-segmentation, whose dilations multiply those that slim computes.
    "fast_segmentation": StrideConvention(
        (2, 2, 2, 1), on_last_unit=True, on_conv1=False, dilate_strided_layer=False, more_dilation=(1, 1, 2, 4)
    ),
}

# The parts of an encoder from input to output; `conv1` is the stem.
ENCODER_PARTS = ("conv1", "block1", "block2", "block3", "block4")

# Those in which dilation replaces strides.
DILATED_PARTS = ("block3", "block4")

# Height and width of the image over those of the encoder's last features.
OUTPUT_STRIDES = (8, 16, 32)

# The names of `pooling.POOL_PADDINGS`.
POOL_PADDINGS = ("same", "symmetric")

# The sampling grids of bilinear resizing that published networks use: arguments of the ResizeBilinear kernel.
RESIZE_GRIDS: dict[str, dict[str, bool]] = {
    "half_pixel": {"align_corners": False, "half_pixel_centers": True},
    "align_corners": {"align_corners": True, "half_pixel_centers": False},
    "legacy": {"align_corners": False, "half_pixel_centers": False},
}

# The names of `pspnet_mg.DECODERS`.
DECODERS = ("ppm", "ppm_1x1", "c1", "upernet", "icnet", "icnet_wide")

# Those of `icnet.CASCADES`, whose training has three losses.
CASCADES = ("icnet", "icnet_wide")

# Weights of their losses at 1/4, 1/8 and 1/16 of the image, as in hellochick/ICNet-tensorflow. The configurations of
# fast-semantic-segmentation have 1, 0.4 and 0.4.
CASCADE_LOSS_WEIGHTS = (1.0, 0.4, 0.16)

# Activations, all max(x, slope x), by their slope below zero. 0.01 is that of Rota Bulo et al. 2018.
ACTIVATIONS = {"relu": 0.0, "leaky_relu": 0.01}

# ReLU6, min(max(x, 0), 6), which the layers of MobileNetV2 have in place of a ReLU.
RELU6 = "relu6"

# The names of `utils_mg.INITIALIZERS`.
INITIALIZERS = ("he", "xavier")

# The names of `schedules.SCHEDULES`.
SCHEDULES = ("poly", "step", "cosine", "exponential")

# The names of `optimizers.OPTIMIZERS`.
OPTIMIZERS = ("mom", "sgd", "adam", "adamw", "rmsp")

# Which activations are kept for the backward pass, the values of --save_memory: all; few, from which the others are
# computed again; those after batch normalization, from which those before it are recovered.
ALL_KEPT, RECOMPUTED, IN_PLACE = 0, 1, 2
SAVE_MEMORY = (ALL_KEPT, RECOMPUTED, IN_PLACE)

# Which layers keep their running averages in training, the values of --bn_frozen: none; those of the encoder; all.
ALL_FROZEN = "all"
BN_FROZEN = (0, 1, ALL_FROZEN)

# The dtype of the activations, by its name in TensorFlow.
FLOAT_TYPES = {"32": "float32", "16": "float16", "bf16": "bfloat16"}

# The names of `losses.PIXEL_LOSSES` and `losses.REGION_LOSSES`.
PIXEL_LOSSES = ("normal", "ohem")
REGION_LOSSES = ("dice", "lovasz")
LOSSES = (*PIXEL_LOSSES, *REGION_LOSSES)

# Those that label smoothing applies to.
CROSS_ENTROPIES = ("normal", "ohem")

# All losses, with the focal loss; the group `gamma` is its exponent. `loss_terms` parses sums of them.
LOSS_TYPES = re.compile("|".join(LOSSES) + r"|focal_(?P<gamma>\d+(?:\.\d+)?)")
