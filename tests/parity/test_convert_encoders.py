"""Converted ResNets-D, ResNeXts, wide ResNets and MobileNetsV2 give the features of their sources.

The sources are the modules of `torch_resnets` and `torch_mobilenets`, with random weights.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.differences import relative_difference
from tests.parity.feature_differences import SIZES, features_difference
from tests.parity.memory_order import from_torch, to_torch
from tests.parity.source_networks import CLASSES, Source, compare
from tests.parity.torch_csail import OneConvolution, PyramidPooling
from tests.parity.torch_mobilenets import CsailMobileNet, MobileNetV2, dilate, timm_names
from tests.parity.torch_resnets import (
    RESNEXT_32X4D,
    RESNEXT_32X8D,
    WIDE,
    TimmResNetD,
    TorchvisionResNet,
    mmseg,
    strided,
    torchvision_dilated,
)
from tests.parity.torch_weights import drawn_at_random
from tests.tools.converted_networks import converted_features, random_images, run_convert
from tools.errors import ConversionError
from tools.runs.record import BackboneRecord

TOLERANCE = 1e-4  # of the largest feature
MOBILENET_CHANNELS = (24, 32, 160, 320)


def drawn(network: nn.Module) -> nn.Module:
    return drawn_at_random(network, to_torch(random_images((64, 64), seed=99)), seed=0)


def converted(weights: dict[str, torch.Tensor], folder: Path) -> BackboneRecord:
    """Saves and converts weights; the checkpoint is in the folder `converted`."""
    torch.save(weights, folder / "weights.pth")
    run_convert(folder / "weights.pth", "--out", folder / "converted")
    record = BackboneRecord.read(str(folder / "converted"))
    assert record is not None
    return record


def with_weights(network: nn.Module, source: nn.Module) -> nn.Module:
    network.load_state_dict(source.state_dict())
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "kind", "name", "output_strides"),
    [
        (50, RESNEXT_32X4D, "resnext_50_32x4d", (32, 8)),
        (101, RESNEXT_32X8D, "resnext_101_32x8d", (8,)),
        (50, WIDE, "wide_resnet_50_2", (8,)),
        (101, WIDE, "wide_resnet_101_2", (32,)),
    ],
)
def test_torchvision(record_property, folder, depth, kind, name, output_strides):
    """At output stride 32, and at 8 with torchvision's own dilation."""
    network = drawn(TorchvisionResNet(depth, kind=kind))
    record = converted(network.state_dict(), folder)
    assert (record.network, record.stem, record.stride_convention) == (name, "conv7", "contracted")
    patterns = {32: strided, 8: torchvision_dilated}
    for output_stride in output_strides:
        source = with_weights(TorchvisionResNet(depth, patterns[output_stride], kind=kind), network)
        difference = features_difference(source, folder / "converted", output_stride)
        record_property(f"block 4 at {output_stride}", difference)
        assert difference < TOLERANCE


@pytest.mark.slow
def test_averaged_shortcuts(record_property, folder):
    """At 32; at 8 without averages as in mmsegmentation; and with dilated averages the features stay as they are."""
    network = drawn(TimmResNetD(50))
    record = converted(network.state_dict(), folder)
    assert (record.network, record.stem, record.stride_convention) == ("resnet_v1d_50", "deep_64", "contracted")
    difference = features_difference(network, folder / "converted")
    record_property("block 4 at 32", difference)
    assert difference < TOLERANCE
    dilated = with_weights(TimmResNetD(50, mmseg), network)
    difference = features_difference(dilated, folder / "converted", 8, "mmseg")
    record_property("block 4 at 8", difference)
    assert difference < TOLERANCE
    images = [random_images(SIZES[0], seed=5)]
    with torch.no_grad():
        expected = from_torch(network(to_torch(images[0])))
    (dense,) = converted_features(folder / "converted", images, 8)
    assert relative_difference([dense[:, ::4, ::4]], [expected]) < TOLERANCE


@pytest.mark.parametrize(
    ("layout", "output_stride"),
    [
        ("torchvision", 32),
        pytest.param("csail", 8, marks=pytest.mark.slow),
        pytest.param("timm", 16, marks=pytest.mark.slow),
    ],
)
def test_mobilenet(record_property, folder, layout, output_stride):
    network = drawn(MobileNetV2(is_flat=layout == "csail"))
    weights = timm_names(network) if layout == "timm" else network.state_dict()
    record = converted(weights, folder)
    assert (record.network, record.stem, record.stride_convention) == ("mobilenet_v2", "conv3", "contracted")
    source = with_weights(MobileNetV2(layout == "csail", output_stride), network)
    difference = features_difference(source, folder / "converted", output_stride)
    record_property(f"block 4 at {output_stride}", difference)
    assert difference < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("decoder", [OneConvolution, PyramidPooling])
def test_mobilenet_of_csail(record_property, folder, decoder):
    """The logits of both heads, from the files of encoder and decoder."""
    source = Source(CsailMobileNet(decoder(MOBILENET_CHANNELS, CLASSES, True)), ((49, 65),))
    paths = [folder / "encoder_epoch_20.pth", folder / "decoder_epoch_20.pth"]
    for path, part in zip(paths, (source.network.encoder, source.network.decoder), strict=True):
        torch.save(part.state_dict(), path)
    run_convert(paths[0], "--decoder", paths[1], "--out", folder / "converted")
    changes = ({"stride_convention": "reference"}, {"resize_grid": "align_corners"})
    record_property("logits", compare(source, folder / "converted", *changes))


def test_mobilenet_of_another_width(folder):
    network = MobileNetV2()
    weights = network.state_dict()
    weights["features.0.0.weight"] = torch.zeros(16, 3, 3, 3)
    with pytest.raises(ConversionError, match=r"'features.0.0.weight' shows a MobileNetV2 of another width: 16 chann"):
        converted(weights, folder)


def test_dilation_of_the_source():
    """The layer that had the stride keeps half the dilation of the others."""
    network = MobileNetV2()
    dilate(network, 8)
    rates = [
        module.dilation[0]
        for number in (6, 7, 8, 13, 14, 15, 17)
        for module in network.features[number].modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    ]
    assert rates == [1, 1, 2, 2, 2, 4, 4]
