"""Converted UPerNets of transformers and mmsegmentation give the logits of their sources; see `source_networks`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification, UperNetConfig, UperNetForSemanticSegmentation

from model import choices, resnet
from tests.parity.source_networks import CLASSES, Source, compare
from tests.parity.test_convert_backbones import TOLERANCE, drawn, features_difference
from tests.parity.torch_pspnets import MmsegUPerNet
from tests.parity.torch_resnets import normalized
from tests.tools.converted_networks import run_convert
from tools.errors import ConversionError, FlagError
from tools.runs.record import BackboneRecord, ModelRecord

SIZES = ((64, 64), (75, 109))
BASIC = {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]}
STAGES = ["stage1", "stage2", "stage3", "stage4"]
PREPROCESSOR = {
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "do_normalize": True, "do_rescale": True,
    "rescale_factor": 1 / 255, "size": {"height": 512, "width": 512},
}  # fmt: skip
# Of a bottleneck network an eighth as wide as ResNet-50.
NARROW = {"depths": [3, 4, 6, 3], "hidden_sizes": [32, 64, 128, 256]}


class HeadsOfUPerNet(nn.Module):
    """The logits of both heads of a network of transformers, at the size of the images."""

    def __init__(self, network: UperNetForSemanticSegmentation) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        pixels = normalized(images)
        features = self.network.backbone(pixels).feature_maps
        auxiliary = self.network.auxiliary_head(features)
        auxiliary = nn.functional.interpolate(auxiliary, images.shape[2:], mode="bilinear", align_corners=False)
        return [self.network(pixels).logits, auxiliary]


def upernet(backbone: dict, **changes) -> Source:
    config = UperNetConfig(
        backbone_config=ResNetConfig(**backbone, out_features=STAGES),
        hidden_size=48,
        auxiliary_channels=24,
        auxiliary_in_channels=backbone["hidden_sizes"][2],
        num_labels=CLASSES,
        **changes,
    )
    return Source(HeadsOfUPerNet(UperNetForSemanticSegmentation(config)), SIZES)


def write_preprocessor(folder: Path, **changes) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({**PREPROCESSOR, **changes}))


def test_upernet_of_transformers(record_property, folder):
    source = upernet(BASIC)
    source.network.network.save_pretrained(folder / "upernet")
    write_preprocessor(folder / "upernet")
    run_convert(folder / "upernet", "--out", folder / "converted")
    record_property("logits", compare(source, folder / "converted", {"resize_grid": "align_corners"}))
    record = ModelRecord.read(str(folder / "converted"))
    assert (record.architecture.decoder, record.architecture.output_stride) == ("upernet", 32)
    assert record.image_mean == pytest.approx((123.675, 116.28, 103.53))


@pytest.mark.slow
def test_upernet_of_transformers_as_a_pickle(record_property, folder, monkeypatch):
    """With its strides on the first layer of a unit, which only the configuration shows."""
    monkeypatch.setitem(
        resnet.NETWORKS, "resnet_v1_50", choices.ResNet((3, 4, 6, 3), (32, 64, 128, 256), bottleneck=True)
    )
    source = upernet({**NARROW, "downsample_in_bottleneck": True})
    network = source.network.network
    network.config.save_pretrained(folder)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ConversionError, match=r"configuration .* beside it: give --image_mean .*--image_std .*--color"):
        run_convert(folder / "pytorch_model.bin", "--out", folder / "converted")
    write_preprocessor(folder)
    with pytest.raises(FlagError, match="--stride_convention is contracted, but the configuration .* says caffe"):
        run_convert(folder, "--out", folder / "converted", "--stride_convention", "contracted")
    run_convert(folder / "pytorch_model.bin", "--out", folder / "converted")
    record_property("logits", compare(source, folder / "converted", {"stride_convention": "reference"}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pool_scales": [1, 2, 4, 8]}, r"pool_scales is \[1, 2, 4, 8\], expected \(1, 2, 3, 6\)"),
        ({"backbone_config": {"model_type": "swin"}}, "backbone_config.out_features is None, expected"),
        (
            {"backbone_config": {"model_type": "swin", "out_features": STAGES}},
            "model_type is 'swin', expected 'resnet'",
        ),
        (
            {"backbone_config": {**BASIC, "model_type": "resnet", "out_features": STAGES, "hidden_act": "gelu"}},
            "backbone_config.hidden_act is 'gelu', expected 'relu'",
        ),
        (
            {"backbone_config": {**BASIC, "out_features": STAGES, "downsample_in_first_stage": True}},
            "downsample_in_first_stage is True, expected False",
        ),
    ],
)
def test_networks_of_transformers_that_this_package_has_not(folder, changes, words):
    network = UperNetForSemanticSegmentation(
        UperNetConfig(
            backbone_config=ResNetConfig(**BASIC, out_features=STAGES), hidden_size=8, auxiliary_in_channels=256
        )
    )
    network.save_pretrained(folder / "upernet")
    path = folder / "upernet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ConversionError, match=rf"config.json's .*{words}"):
        run_convert(folder / "upernet", "--out", folder / "converted")
    assert not (folder / "converted").exists()


def test_resnet_of_transformers(record_property, tmp_path):
    network = ResNetForImageClassification(ResNetConfig(**BASIC))
    network.save_pretrained(tmp_path / "resnet-18")

    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.network.resnet(normalized(images)).last_hidden_state

    source = drawn(Features())
    network.save_pretrained(tmp_path / "resnet-18")
    run_convert(tmp_path / "resnet-18", "--out", tmp_path / "converted")
    difference = features_difference(source, tmp_path / "converted")
    record_property("block 4", difference)
    assert difference < TOLERANCE
    assert BackboneRecord.read(str(tmp_path / "converted")).stride_convention == "contracted"


CONFIG = """norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    backbone=dict(
        type='ResNetV1c', depth=18, num_stages=4, out_indices=(0, 1, 2, 3), dilations=(1, 1, 1, 1),
        strides=(1, 2, 2, 2), norm_cfg=norm_cfg, norm_eval=False, style='pytorch', contract_dilation=True),
    decode_head=dict(
        type='UPerHead', in_channels=[64, 128, 256, 512], in_index=[0, 1, 2, 3], pool_scales=(1, 2, 3, 6),
        channels=128, num_classes=7, norm_cfg=norm_cfg, align_corners=True))
data_preprocessor = dict(
    type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
crop_size = (512, 512)
"""


@pytest.mark.parametrize("deep_stem", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_upernet_of_mmsegmentation(record_property, folder, deep_stem):
    source = Source(MmsegUPerNet(18, CLASSES, deep_stem, align_corners=True), SIZES)
    text = CONFIG if deep_stem else CONFIG.replace("ResNetV1c", "ResNet")
    torch.save({"meta": {"cfg": text}, "state_dict": source.network.state_dict()}, folder / "upernet_r18.pth")
    run_convert(folder / "upernet_r18.pth", "--out", folder / "converted")
    record_property("logits", compare(source, folder / "converted", {"resize_grid": "half_pixel"}))
