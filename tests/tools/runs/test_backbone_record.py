"""The record of a ResNet: what a run takes from it; written, read back, and rejected if it is damaged."""

from __future__ import annotations

import dataclasses
import json
import os

import pytest

from database.datasets import custom_dataset, get_dataset
from model.architecture import Architecture
from model.choices import ENCODER_PARTS
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
        ({"filters": {"conv1": 20}}, {"head_depth": 8}, "--head_depth 8 has no effect on a pruned network"),
        ({"filters": {"conv1": 20}}, {"pyramid_depth": 8}, "--pyramid_depth 8 has no effect on a pruned network"),
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


def test_filters_are_those_of_the_checkpoint():
    pruned = BackboneRecord("resnet_v1_50", filter_scale=0.5, head_depth=256, filters={"conv1": 20, "psp/pool6": 9})
    architecture = record_of_run(backbone=pruned).architecture
    assert (architecture.filter_scale, architecture.head_depth) == (0.5, 256)
    assert architecture.filters == {"conv1": 20, "psp/pool6": 9}
    assert record_of_run(backbone=pruned, decoder="c1").architecture.filters == {"conv1": 20}
    assert record_of_run(backbone=pruned, filter_scale=0.5).architecture == architecture
    words = r"--filter_scale is 1\.0 and --fine_tune_filename is recorded with 0\.5: drop --filter_scale"
    with pytest.raises(RecordError, match=words):
        record_of_run(backbone=pruned, filter_scale=1.0)


def test_filter_scale_of_a_checkpoint_without_a_record():
    architecture = record_of_run(backbone=None, filter_scale=0.5).architecture
    assert (architecture.filter_scale, architecture.head_depth, architecture.auxiliary_depth) == (0.5, 256, 128)


ENDS_AT_BLOCK_2 = BackboneRecord("resnet_v1_50", encoder_blocks=2, decoder="ppm_1x1")


def test_end_of_the_encoder_is_that_of_the_checkpoint_unless_the_flag_says_another():
    assert record_of_run(backbone=ENDS_AT_BLOCK_2, has_aux_loss=False).architecture.encoder_blocks == 2
    assert record_of_run(backbone=ENDS_AT_BLOCK_2, encoder_blocks=3).architecture.encoder_blocks == 3
    assert record_of_run(encoder_blocks=3).architecture.encoder_blocks == 3
    frozen = {"freeze": ("conv1", "block1"), "has_aux_loss": False}
    assert record_of_run(backbone=ENDS_AT_BLOCK_2, **frozen).architecture.decoder == "ppm_1x1"
    whole = {"freeze": ENCODER_PARTS, "has_aux_loss": False}
    assert record_of_run(backbone=ENDS_AT_BLOCK_2, **whole).architecture.encoder_blocks == 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({}, "--has_aux_loss 1 needs block3 of resnet_v1_50, and --encoder_blocks 2 ends before it: give --has_aux_l"),
        (
            {"has_aux_loss": True, "aux_weight": 0.2, "auxiliary_depth": 64},
            "--has_aux_loss 1 needs block3 .* give --has_aux_loss 0 and drop --aux_weight and --auxiliary_depth$",
        ),
        (
            {"decoder": "icnet"},
            "--decoder icnet needs more blocks than --encoder_blocks 2 has: give --decoder ppm or ppm_1x1 or c1, or a",
        ),
        (
            {"output_stride": 32},
            "--output_stride 32 needs more blocks than --encoder_blocks 2 has: give --output_stride 8, or a network",
        ),
        (
            {"freeze": ("conv1", "block3")},
            "--freeze block3 has no effect with --encoder_blocks 2, which ends before",
        ),
        (
            {"freeze": ("conv1", "block1", "block2")},
            "--freeze conv1,block1,block2 is the whole encoder with --encoder_blocks 2: give --freeze encoder",
        ),
        (
            {"consider_dilated": True},
            "--consider_dilated 1 has no effect with --encoder_blocks 2, which has no",
        ),
    ],
)
@pytest.mark.parametrize("recorded", [True, False])
def test_flags_that_need_blocks_that_the_encoder_lacks(flags, words, recorded):
    """The end of the encoder is of the checkpoint, or of a flag."""
    flags = {"has_aux_loss": not flags, **flags}
    if recorded:
        backbone = ENDS_AT_BLOCK_2
    else:
        backbone, flags = BackboneRecord("resnet_v1_50"), {**flags, "encoder_blocks": 2}
    with pytest.raises(FlagError, match=f"^{words}"):
        record_of_run(backbone=backbone, **flags)


def test_mobilenet_has_its_auxiliary_head_in_the_last_block():
    words = "--has_aux_loss 1 needs block4/unit_1 of mobilenet_v2, and --encoder_blocks 3 ends before it"
    with pytest.raises(FlagError, match=words):
        record_of_run(backbone=None, network="mobilenet_v2", encoder_blocks=3)


def test_weights_of_the_losses_need_a_cascade_in_the_checkpoint():
    icnet = dataclasses.replace(PSPNET_FROM_CAFFE, decoder="icnet_wide")
    assert record_of_run(backbone=icnet, cascade_loss_weights=(1.0, 0.4, 0.4)).architecture.decoder == "icnet_wide"
    words = "--cascade_loss_weights 1.0,0.4,0.4 has no effect with --decoder ppm, which has no cascade: give --decoder"
    with pytest.raises(FlagError, match=words):
        record_of_run(backbone=PSPNET_FROM_CAFFE, cascade_loss_weights=(1.0, 0.4, 0.4))


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
