"""Networks that resemble a known one are refused by what they are."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tools.source_weights import (
    csail_c1_weights,
    csail_upernet_weights,
    semseg_weights,
    smp_weights,
    torchvision_weights,
)
from tools.convert.other_networks import refuse_other_networks
from tools.errors import ConversionError


def kernel(*shape):
    return np.zeros(shape, np.float32)


def bottleneck(width=64, group=64, depth=256):
    """The kernels of the first unit of a ResNet-50, or of one that is wider or in groups."""
    return {
        "conv1.weight": kernel(64, 3, 7, 7),
        "layer1.0.conv1.weight": kernel(width, 64, 1, 1),
        "layer1.0.conv2.weight": kernel(width, group, 3, 3),
        "layer1.0.conv3.weight": kernel(depth, width, 1, 1),
        "layer1.0.downsample.0.weight": kernel(depth, 64, 1, 1),
        "layer1.0.downsample.1.weight": kernel(depth),
    }


def units(*counts):
    """The kernels of 3x3 layers of so many units in each block."""
    return {
        f"layer{block}.{index}.conv2.weight": kernel(1, 1, 3, 3)
        for block, count in enumerate(counts, start=1)
        for index in range(count)
    }


# timm's and mmsegmentation's names, and the widths of torchvision's resnext50_32x4d, wide_resnet50_2 and others.
OTHERS = [
    (bottleneck(128, 4), "layer1.0.conv2.weight", "a ResNeXt of 32 groups of 4 channels"),
    (bottleneck(256, 8), "layer1.0.conv2.weight", "a ResNeXt of 32 groups of 8 channels"),
    (bottleneck(128, 128), "layer1.0.conv2.weight", "a wide ResNet, 128 channels wide in block 1 where .* is 64"),
    (
        {"conv1.0.weight": kernel(32, 3, 3, 3), "layer1.0.downsample.1.weight": kernel(256, 64, 1, 1)},
        "layer1.0.downsample.1.weight",
        "a ResNet-D",
    ),
    (
        {**bottleneck(), "layer1.0.se.fc1.weight": kernel(16, 256, 1, 1)},
        "layer1.0.se.fc1.weight",
        "a ResNet with squeeze-and-excitation",
    ),
    ({**bottleneck(), "layer1.0.se.conv.weight": kernel(1, 1, 5)}, "layer1.0.se.conv.weight", ".* channel attention"),
    ({"layer1.0.convs.0.weight": kernel(26, 26, 3, 3)}, "layer1.0.convs.0.weight", "a Res2Net"),
    ({"layer1.0.conv2.fc1.weight": kernel(32, 64, 1, 1)}, "layer1.0.conv2.fc1.weight", "a ResNeSt or SKNet"),
    ({"layer1.0.bn1.IN.weight": kernel(32)}, "layer1.0.bn1.IN.weight", "a ResNet with IBN layers"),
    ({"visual.attnpool.q_proj.weight": kernel(9, 9)}, "visual.attnpool.q_proj.weight", "CLIP's ResNet"),
    (
        {"backbone.encoder.stages.0.layers.0.dwconv.weight": kernel(96, 1, 7, 7)},
        "backbone.encoder.stages.0.layers.0.dwconv.weight",
        "a ConvNeXt",
    ),
    (
        {"backbone.encoder.layers.0.blocks.0.attention.self.query.weight": kernel(9, 9)},
        "backbone.encoder.layers.0.blocks.0.attention.self.query.weight",
        "a Swin Transformer",
    ),
    (
        {"SharedFeatureExtractor/resnet_v1_50/conv1/weights": kernel(7, 7, 3, 16)},
        "SharedFeatureExtractor/resnet_v1_50/conv1/weights",
        "a network of fast-semantic-segmentation with filter_scale 0.25 instead of 0.5 or 0.75 or 1",
    ),
    (
        {"decoder.psp.blocks.0.pool.1.0.weight": kernel(128, 512, 1, 1)},
        "decoder.psp.blocks.0.pool.1.0.weight",
        "segmentation_models.pytorch's PSPNet on an encoder that is none of its ResNets; convert",
    ),
    (
        # With the encoder tu-resnet18, which is timm's.
        {
            "decoder.psp.blocks.0.pool.1.0.weight": kernel(128, 512, 1, 1),
            "encoder.model.conv1.weight": kernel(64, 3, 7, 7),
            "encoder.model.layer1.0.conv1.weight": kernel(64, 64, 3, 3),
        },
        "decoder.psp.blocks.0.pool.1.0.weight",
        "segmentation_models.pytorch's PSPNet on an encoder that is none of its ResNets",
    ),
    (
        smp_weights(has_norm=False),
        "decoder.psp.blocks.1.pool.1.0.bias",
        r"segmentation_models.pytorch's PSPNet without normalization in its decoder \(decoder_use_norm\); convert",
    ),
    ({"features.4.block.0.0.weight": kernel(1)}, "features.4.block.0.0.weight", "a MobileNetV3 or an EfficientNet"),
    ({"blocks.2.0.se.conv_reduce.weight": kernel(1)}, "blocks.2.0.se.conv_reduce.weight", "a MobileNetV3 or an Eff"),
    (
        {"conv_stem.weight": kernel(48, 3, 3, 3), "blocks.0.0.conv_dw.weight": kernel(48, 1, 3, 3)},
        "conv_stem.weight",
        "a MobileNetV2 of another width: 48 channels",
    ),
    (
        {**units(3, 4, 23, 3), **bottleneck(128, 4)},
        "layer1.0.conv2.weight",
        r"a ResNeXt of 32 groups of 4 channels with \(3, 4, 23, 3\) units",
    ),
    (
        {**units(3, 8, 36, 3), **bottleneck(128, 128)},
        "layer1.0.conv2.weight",
        r"a wide ResNet, 128 channels .* with \(3, 8, 36, 3\) units",
    ),
    ({"decode_head.aspp_modules.0.conv.weight": kernel(1)}, "decode_head.aspp_modules.0.conv.weight", ".*DeepLab"),
]


@pytest.mark.parametrize("prefix", ["", "backbone.", "model."])
@pytest.mark.parametrize(("weights", "name", "network"), OTHERS)
def test_others(weights, name, network, prefix):
    weights = {prefix + name: array for name, array in weights.items()}
    with pytest.raises(ConversionError, match=rf"^w.pth: '{prefix}{name}' shows {network}.*: this package has ResNet"):
        refuse_other_networks(weights, "w.pth")


@pytest.mark.parametrize(
    "weights",
    [
        bottleneck(),
        {},
        {"layer1.0.conv2.weight": kernel(3)},
        {**units(3, 4, 6, 3), **bottleneck(128, 4)},
        {**units(3, 4, 23, 3), **bottleneck(256, 8)},
        {**units(3, 4, 6, 3), **bottleneck(128, 128)},
        {**units(3, 4, 23, 3), **bottleneck(128, 128)},
        {"conv_stem.weight": kernel(32, 3, 3, 3), "blocks.0.0.conv_dw.weight": kernel(32, 1, 3, 3)},
        {"conv_stem.weight": kernel(48, 3, 3, 3)},
        {**bottleneck(), "layer1.0.conv1.weight": kernel(64)},
        {**bottleneck(), "layer1.0.conv2.weight": kernel(64, 0, 3, 3)},
        torchvision_weights(),
        semseg_weights(),
        csail_c1_weights(),
        csail_upernet_weights(),
        smp_weights(),
    ],
)
def test_resnets(weights):
    refuse_other_networks(weights, "w.pth")
