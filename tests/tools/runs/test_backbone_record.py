"""The record of a ResNet: what a run takes from it; written, read back, and rejected if it is damaged."""

from __future__ import annotations

import dataclasses
import json
import os

import pytest

from database.datasets import custom_dataset, get_dataset
from model.pspnet_mg import Architecture
from tools.errors import FlagError, RecordError
from tools.flags import train as train_flags
from tools.flags.train import TrainConfig
from tools.runs.record import BackboneRecord, ModelRecord

IMAGENET_MEAN = (123.675, 116.28, 103.53)
FROM_CAFFE = BackboneRecord(
    network="resnet_v1_50",
    stem="deep_128",
    pool_padding="symmetric",
    stride_convention="caffe",
    image_mean=IMAGENET_MEAN,
    color_switch=True,
)
PSPNET_FROM_CAFFE = dataclasses.replace(
    FROM_CAFFE, output_stride=16, resize_grid="align_corners", pyramid_depth=40, head_depth=96, auxiliary_depth=24,
    pyramid_order="upsample_first",
)  # fmt: skip


def record_of_run(dataset=None, backbone=FROM_CAFFE, **flags) -> ModelRecord:
    config = TrainConfig(batch_size=2, **flags)
    return ModelRecord.of_run(config, dataset or get_dataset("Cityscapes"), backbone)


def test_as_the_resnet_was_made():
    record = record_of_run()
    architecture = record.architecture
    assert (architecture.stem, architecture.pool_padding) == ("deep_128", "symmetric")
    assert architecture.stride_convention == "caffe"
    assert (record.image_mean, record.color_switch) == (IMAGENET_MEAN, True)


def test_flags_win():
    record = record_of_run(
        three_convs_beginning=False, pool_padding="same", stride_convention="slim", color_switch=False
    )
    architecture = record.architecture
    assert (architecture.stem, architecture.pool_padding) == ("conv7", "same")
    assert architecture.stride_convention == "slim"
    assert record.color_switch is False
    own = custom_dataset(3, image_mean=(1.0, 2.0, 3.0))
    flags = {"database": "custom", "num_classes": 3, "image_mean": (1.0, 2.0, 3.0)}
    assert record_of_run(own, **flags).image_mean == (1.0, 2.0, 3.0)


def test_widths_of_the_head_by_flags():
    flags = {"pyramid_depth": 7, "head_depth": 9, "auxiliary_depth": 11}
    for backbone in (FROM_CAFFE, PSPNET_FROM_CAFFE):
        architecture = record_of_run(backbone=backbone, **flags).architecture
        assert {name: getattr(architecture, name) for name in flags} == flags
        assert record_of_run(backbone=backbone, head_depth=9).architecture.auxiliary_depth == backbone.auxiliary_depth


@pytest.mark.parametrize(
    ("changes", "flags", "words"),
    [
        ({"decoder": "c1"}, {"pyramid_depth": 8}, "--pyramid_depth 8 has no effect with the decoder c1"),
        ({"decoder": "icnet"}, {"auxiliary_depth": 8}, "--auxiliary_depth 8 has no effect with the decoder icnet"),
        ({"decoder": "icnet"}, {"aux_weight": 0.3}, "--aux_weight 0.3 has no effect with the decoder icnet"),
        ({"pyramid_order": "add"}, {"pyramid_depth": 8}, "--pyramid_depth 8 has no effect with the decoder ppm"),
    ],
)
def test_settings_that_the_recorded_head_lacks(changes, flags, words):
    backbone = dataclasses.replace(PSPNET_FROM_CAFFE, **changes)
    with pytest.raises(RecordError, match=words):
        record_of_run(backbone=backbone, **flags)
    assert record_of_run(backbone=backbone).architecture.head_depth == 96


def test_head_as_the_pspnet_was_made():
    architecture = record_of_run(backbone=PSPNET_FROM_CAFFE).architecture
    assert (architecture.output_stride, architecture.resize_grid) == (16, "align_corners")
    assert (architecture.pyramid_depth, architecture.head_depth, architecture.auxiliary_depth) == (40, 96, 24)
    assert architecture.pyramid_order == "upsample_first"


def test_flags_of_the_head_win():
    architecture = record_of_run(backbone=PSPNET_FROM_CAFFE, output_stride=8, resize_grid="legacy").architecture
    assert (architecture.output_stride, architecture.resize_grid) == (8, "legacy")


def test_another_network_is_refused():
    words = "--network is resnet_v1_101 and --fine_tune_filename is recorded as resnet_v1_50: give --network resnet_v1"
    with pytest.raises(RecordError, match=words):
        record_of_run(network="resnet_v1_101")


def test_activation_is_that_of_the_checkpoint_unless_the_flag_says_another():
    leaky = dataclasses.replace(PSPNET_FROM_CAFFE, activation="leaky_relu")
    assert record_of_run(backbone=leaky, save_memory=2).architecture.activation == "leaky_relu"
    assert record_of_run(backbone=leaky, activation="relu").architecture.activation == "relu"
    assert record_of_run(backbone=PSPNET_FROM_CAFFE).architecture.activation == "relu"


@pytest.mark.parametrize("flags", [{}, {"activation": "relu"}])
def test_activations_in_place_need_an_inverse(flags):
    fault = FlagError if flags else RecordError
    with pytest.raises(fault, match="--save_memory 2 .* which relu does not allow: add --activation leaky_relu"):
        record_of_run(backbone=PSPNET_FROM_CAFFE, save_memory=2, **flags)


def test_flags_know_the_activation_of_random_weights():
    assert Architecture.activation == train_flags._ACTIVATION_OF_SCRATCH


@pytest.mark.parametrize("backbone", [None, BackboneRecord("resnet_v1_50")])
def test_without_a_record(backbone):
    """The architecture of slim's checkpoints, and the mean of the dataset."""
    record = record_of_run(backbone=backbone)
    architecture = record.architecture
    assert (architecture.stem, architecture.pool_padding) == ("conv7", "same")
    assert architecture.stride_convention == "reference"
    assert architecture == Architecture("resnet_v1_50", 19)
    assert (record.image_mean, record.color_switch) == (get_dataset("Cityscapes").image_mean, False)


@pytest.mark.parametrize("image_mean", [IMAGENET_MEAN, None])
@pytest.mark.parametrize("checkpoint", ["model.ckpt", None])
def test_record_comes_back_as_written(tmp_path, image_mean, checkpoint):
    record = dataclasses.replace(PSPNET_FROM_CAFFE, image_mean=image_mean, checkpoint=checkpoint)
    record.write(str(tmp_path))
    assert os.listdir(tmp_path) == ["config.json"]
    assert BackboneRecord.read(str(tmp_path)) == record


@pytest.mark.parametrize("backbone", [FROM_CAFFE, PSPNET_FROM_CAFFE])
def test_record_of_a_whole_run(tmp_path, backbone):
    run = record_of_run(backbone=backbone)
    run.write(str(tmp_path))
    backbone = dataclasses.replace(backbone, class_names=get_dataset("Cityscapes").class_names)
    assert BackboneRecord.read(str(tmp_path)) == backbone
    assert BackboneRecord.of_checkpoint(str(tmp_path / "model.ckpt-7")) == backbone


def test_record_is_of_one_checkpoint_of_its_folder(tmp_path):
    record = dataclasses.replace(FROM_CAFFE, checkpoint="model.ckpt")
    record.write(str(tmp_path))
    assert BackboneRecord.of_checkpoint(str(tmp_path / "model.ckpt")) == record
    assert BackboneRecord.of_checkpoint(str(tmp_path / "other.ckpt")) is None
    assert BackboneRecord.of_checkpoint(str(tmp_path / "nowhere" / "model.ckpt")) is None


def test_record_without_a_name_is_of_every_checkpoint(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"backbone": {"network": "resnet_v1_50"}}))
    assert BackboneRecord.of_checkpoint(str(tmp_path / "other.ckpt")) == BackboneRecord("resnet_v1_50")


def test_no_record(tmp_path):
    assert BackboneRecord.read(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "not the configuration of a checkpoint (expected a JSON object)"),
        ('{"backbone": 3}', "not the configuration of a checkpoint (expected only 'backbone'"),
        ('{"backbone": {}, "more": 1}', "not the configuration of a checkpoint (expected only 'backbone'"),
        ('{"backbone": {}}', "'backbone.network' is missing"),
        ('{"backbone": {"network": "vgg"}}', "'backbone.network' is \"vgg\", expected one of resnet_v1_18"),
        (
            '{"backbone": {"network": "resnet_v1_18", "depth": 1}}',
            "'backbone.depth' is unknown, expected network, stem",
        ),
        (
            '{"backbone": {"network": "resnet_v1_18", "image_mean": [1, 2]}}',
            "'backbone.image_mean' is [1, 2], expected three numbers in 0..255 or null",
        ),
        (
            '{"backbone": {"network": "resnet_v1_18", "checkpoint": 3}}',
            "'backbone.checkpoint' is 3, expected a name or null",
        ),
        (
            '{"backbone": {"network": "resnet_v1_18", "class_names": ["road", 3]}}',
            "'backbone.class_names' is [\"road\", 3], expected a list of names or null",
        ),
    ],
)
def test_damaged_record(tmp_path, text, words):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RecordError) as caught:
        BackboneRecord.read(str(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: {words}")
