"""Converted ResNets give the features of their sources, the modules of `torch_resnets` with random weights."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.differences import relative_difference
from tests.parity.feature_differences import SIZES, features_difference
from tests.parity.memory_order import from_torch, to_torch
from tests.parity.torch_resnets import (
    DeepResNet,
    TorchvisionResNet,
    semseg,
    torchvision_dilated,
    with_squeeze_excitation,
)
from tests.parity.torch_weights import drawn_at_random
from tests.tools.converted_networks import converted_features, random_images, run_convert
from tools.errors import ConversionError
from tools.runs.record import BackboneRecord

TOLERANCE = 1e-4  # of the largest feature


def drawn(network: nn.Module) -> nn.Module:
    return drawn_at_random(network, to_torch(random_images((64, 64), seed=99)), seed=0)


@pytest.mark.parametrize("depth", [18, 34, *(pytest.param(depth, marks=pytest.mark.slow) for depth in (50, 101, 152))])
def test_torchvision(record_property, tmp_path, depth):
    network = drawn(TorchvisionResNet(depth))
    torch.save(network.state_dict(), tmp_path / f"resnet{depth}.pth")
    run_convert(tmp_path / f"resnet{depth}.pth", "--out", tmp_path / "converted")
    difference = features_difference(network, tmp_path / "converted")
    record_property("block 4", difference)
    assert difference < TOLERANCE


def test_semseg(record_property, tmp_path):
    network = drawn(DeepResNet(18))
    save_file(network.state_dict(), tmp_path / "resnet18_v2.safetensors")
    run_convert(tmp_path / "resnet18_v2.safetensors", "--out", tmp_path / "converted")
    difference = features_difference(network, tmp_path / "converted")
    record_property("block 4", difference)
    assert difference < TOLERANCE


def test_semseg_dilated_as_in_its_pspnet(record_property, tmp_path):
    """At output stride 8, with the dilation of the recorded convention."""
    network = drawn(DeepResNet(50, semseg))
    torch.save(network.state_dict(), tmp_path / "resnet50_v2.pth")
    run_convert(tmp_path / "resnet50_v2.pth", "--out", tmp_path / "converted")
    difference = features_difference(network, tmp_path / "converted", output_stride=8)
    record_property("block 4", difference)
    assert difference < TOLERANCE


@pytest.mark.slow
def test_torchvision_with_its_own_dilation(record_property, tmp_path):
    """The recorded convention gives torchvision's features at output stride 8, and the reference's does not."""
    network = drawn(TorchvisionResNet(50, torchvision_dilated))
    torch.save(network.state_dict(), tmp_path / "resnet50.pth")
    run_convert(tmp_path / "resnet50.pth", "--out", tmp_path / "converted")
    recorded = features_difference(network, tmp_path / "converted", output_stride=8)
    reference = features_difference(network, tmp_path / "converted", output_stride=8, convention="reference")
    record_property("block 4", recorded)
    assert recorded < TOLERANCE
    assert reference > 0.1


@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilation_keeps_the_features(record_property, tmp_path, output_stride):
    """Dense features at the positions of those with stride are the same; torchvision dilates no basic units itself."""
    network = drawn(TorchvisionResNet(18))
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    run_convert(tmp_path / "resnet18.pth", "--out", tmp_path / "converted")
    images = [random_images(SIZES[0], seed=5)]
    with torch.no_grad():
        expected = from_torch(network(to_torch(images[0])))
    step = 32 // output_stride
    differences = {}
    for convention in ("contracted", "reference"):
        (dense,) = converted_features(tmp_path / "converted", images, output_stride, convention)
        differences[convention] = relative_difference([dense[:, ::step, ::step]], [expected])
    record_property("block 4", differences["contracted"])
    assert differences["contracted"] < TOLERANCE
    assert differences["reference"] > 0.1
    record = BackboneRecord.read(str(tmp_path / "converted"))
    assert record is not None
    assert record.stride_convention == "contracted"


def test_squeeze_and_excitation(tmp_path):
    """Read as a plain ResNet before, as its other tensors are one's."""
    network = with_squeeze_excitation(TorchvisionResNet(18))
    torch.save(network.state_dict(), tmp_path / "seresnet18.pth")
    with pytest.raises(ConversionError, match=r"seresnet18.pth: 'layer1.0.se.fc1.weight' shows a ResNet with squeeze"):
        run_convert(tmp_path / "seresnet18.pth", "--out", tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema"])
def test_averaged_weights_of_moco(tmp_path, caplog, key):
    """Both encoders and the queue, under a key of averaged weights."""
    caplog.set_level("INFO")
    state = TorchvisionResNet(18).state_dict()
    content = {f"module.{part}.{name}": tensor for part in ("encoder_q", "encoder_k") for name, tensor in state.items()}
    torch.save({key: {**content, "module.queue": torch.ones(2, 3)}, "epoch": 3}, tmp_path / "moco.pth")
    run_convert(tmp_path / "moco.pth", "--out", tmp_path / "converted")
    assert BackboneRecord.read(str(tmp_path / "converted")) is not None
    messages = "\n".join(caplog.messages)
    assert f"moco.pth: reading '{key}' of {key}" in messages
    assert "removed the prefix 'encoder_q.'" in messages
    assert "MoCo's momentum encoder" in messages
