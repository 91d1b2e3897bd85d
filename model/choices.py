"""The values that the network's options can take. It imports without TensorFlow, so that flags are parsed quickly.

To add an encoder, add a row to `NETWORKS`. For an option whose variants are functions, only the names are listed here;
the table of functions is in the module that the comment names, and `tests/model/test_choices.py` checks that the names
are the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class ResNet:
    """The size of a ResNet.

    Attributes:
        units: residual units of each block.
        depths: output channels of each block.
        bottleneck: whether a unit has three layers (1x1, 3x3, 1x1) or two (3x3, 3x3).
    """

    units: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    bottleneck: bool


_BOTTLENECK_DEPTHS = (256, 512, 1024, 2048)
_BASIC_DEPTHS = (64, 128, 256, 512)

# Encoders (He et al. 2015, "Deep Residual Learning", table 1).
NETWORKS: dict[str, ResNet] = {
    "resnet_v1_18": ResNet((2, 2, 2, 2), _BASIC_DEPTHS, bottleneck=False),
    "resnet_v1_34": ResNet((3, 4, 6, 3), _BASIC_DEPTHS, bottleneck=False),
    "resnet_v1_50": ResNet((3, 4, 6, 3), _BOTTLENECK_DEPTHS, bottleneck=True),
    "resnet_v1_101": ResNet((3, 4, 23, 3), _BOTTLENECK_DEPTHS, bottleneck=True),
    "resnet_v1_152": ResNet((3, 8, 36, 3), _BOTTLENECK_DEPTHS, bottleneck=True),
}


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


# The layers before the first pooling: of He et al., of the PSPNet authors, and of mmsegmentation's ResNetV1c.
STEMS: dict[str, tuple[StemLayer, ...]] = {
    "conv7": (StemLayer("conv1", 64, 7, 2),),
    "deep_128": (StemLayer("conv1_1", 64, 3, 2), StemLayer("conv1_2", 64, 3, 1), StemLayer("conv1_3", 128, 3, 1)),
    "deep_64": (StemLayer("conv1_1", 32, 3, 2), StemLayer("conv1_2", 32, 3, 1), StemLayer("conv1_3", 64, 3, 1)),
}

# The stem for each value of --three_convs_beginning.
STEM_OF_SWITCH = {False: "conv7", True: "deep_128"}


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

# The parts of an encoder from input to output; `conv1` is the stem.
ENCODER_PARTS = ("conv1", "block1", "block2", "block3", "block4")

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
DECODERS = ("ppm", "c1", "upernet", "icnet")

# Activations, all max(x, slope x), by their slope below zero. 0.01 is that of Rota Bulo et al. 2018.
ACTIVATIONS = {"relu": 0.0, "leaky_relu": 0.01}

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
