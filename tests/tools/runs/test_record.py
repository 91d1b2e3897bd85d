"""The record beside a checkpoint: written, read back, and rejected if it is damaged."""

from __future__ import annotations

import dataclasses
import json
import os

import pytest

from database.datasets import custom_dataset, get_dataset
from model.architecture import Architecture
from tools.errors import RecordError
from tools.flags.train import TrainConfig
from tools.runs import record_rules
from tools.runs.record import BackboneRecord, ModelRecord


@pytest.mark.parametrize("name", ["Cityscapes", "ADE"])
def test_record_comes_back_as_written(tmp_path, name):
    config = TrainConfig(
        batch_size=2, database=name, network="resnet_v1_34", resize_grid="align_corners", stride_convention="caffe",
        output_stride=16, three_convs_beginning=True, color_switch=True, test_image_size=713,
    )  # fmt: skip
    record = ModelRecord.of_run(config, get_dataset(name))
    record.write(str(tmp_path / "new" / "folder"))
    assert os.listdir(tmp_path / "new" / "folder") == ["config.json"]
    read = ModelRecord.read(str(tmp_path / "new" / "folder"))
    assert read is not None
    assert read.architecture == record.architecture
    assert (read.architecture.network, read.architecture.resize_grid) == ("resnet_v1_34", "align_corners")
    assert (read.architecture.stride_convention, read.architecture.output_stride) == ("caffe", 16)
    assert read.architecture.stem == "deep_128"
    for attribute in ("database", "class_names", "palette", "image_mean", "color_switch", "test_image_size"):
        assert getattr(read, attribute) == getattr(record, attribute)
    assert read.label_map == dict(record.label_map)
    assert read.flags["batch_size"] == 2


def test_record_of_own_data_comes_back(tmp_path):
    dataset = custom_dataset(3, image_mean=(1.5, 2.5, 3.5), ignore_label=9)
    config = TrainConfig(batch_size=2, database="custom", num_classes=3, ignore_label=9, image_mean=(1.5, 2.5, 3.5))
    ModelRecord.of_run(config, dataset).write(str(tmp_path))
    read = ModelRecord.read(str(tmp_path))
    assert read is not None
    assert read.class_names == ("class_0", "class_1", "class_2")
    assert read.image_mean == (1.5, 2.5, 3.5)
    assert read.label_map == {0: 0, 1: 1, 2: 2, 9: 255}


def test_no_record(tmp_path):
    assert ModelRecord.read(str(tmp_path)) is None


def test_record_for_another_dataset_keeps_network_and_mean():
    record = ModelRecord.of_run(TrainConfig(batch_size=2), get_dataset("Cityscapes"))
    own = custom_dataset(19, ignore_label=77, image_mean=(1.0, 2.0, 3.0))
    changed = record.for_dataset(own)
    assert (changed.database, changed.class_names, changed.palette) == ("custom", own.class_names, own.palette)
    assert changed.label_map == {**{i: i for i in range(19)}, 77: 255}
    assert changed.image_mean == get_dataset("Cityscapes").image_mean
    assert (changed.architecture, changed.flags) == (record.architecture, record.flags)


@pytest.fixture
def config_path(tmp_path):
    """An undamaged record of three classes."""
    ModelRecord.of_run(TrainConfig(batch_size=2), custom_dataset(3)).write(str(tmp_path))
    return tmp_path / "config.json"


def refusal(path) -> str:
    """The error about a record, without the path that it begins with."""
    with pytest.raises(RecordError) as caught:
        ModelRecord.read(str(path.parent))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("text", ['{"architecture": ', "", "\0", "[]", "3", '"text"'])
def test_file_that_is_no_record(config_path, text):
    config_path.write_text(text)
    assert refusal(config_path).startswith("not the configuration of a checkpoint (")


def test_file_that_is_no_text(config_path):
    config_path.write_bytes(b"\xff\xfe\x00")
    assert refusal(config_path).startswith("not the configuration of a checkpoint (")


def test_record_that_is_a_folder(tmp_path):
    (tmp_path / "config.json").mkdir()
    assert refusal(tmp_path / "config.json").startswith("not the configuration of a checkpoint (")


def change(path, key, value) -> None:
    """Changes a value of a record; keys of the architecture begin with `architecture.`."""
    values = json.loads(path.read_text())
    inside, _, name = key.rpartition(".")
    (values[inside] if inside else values)[name] = value
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("architecture", [], "an object"),
        ("architecture.network", "resnet_v1_51", "one of resnet_v1_18, resnet_v1_34, resnet_v1_50, resnet_v1_101"),
        ("architecture.network", None, "one of resnet_v1_18"),
        ("architecture.network", ["resnet_v1_18"], "one of resnet_v1_18"),
        ("architecture.num_classes", -3, "a whole number from 2 to 254"),
        ("architecture.num_classes", 255, "a whole number from 2 to 254"),
        ("architecture.num_classes", 3.0, "a whole number from 2 to 254"),
        ("architecture.num_classes", "3", "a whole number from 2 to 254"),
        ("architecture.output_stride", 4, "one of 8, 16, 32"),
        ("architecture.output_stride", 8.0, "one of 8, 16, 32"),
        ("architecture.stride_convention", "mine", "one of reference, slim, caffe, contracted, mmseg"),
        ("architecture.resize_grid", "bilinear", "one of half_pixel, align_corners, legacy"),
        ("architecture.stem", "conv5", "one of conv7, deep_128, deep_64"),
        ("architecture.pool_padding", 1, "one of same, symmetric"),
        ("architecture.auxiliary_depth", 0, "a whole number of 1 or more"),
        ("architecture.head_depth", None, "a whole number of 1 or more"),
        ("architecture.pyramid_depth", 0, "a whole number of 1 or more, or null"),
        ("architecture.pyramid_order", "first", "one of reduce_first, upsample_first"),
        ("architecture.filter_scale", 0.3, "one of 0.5, 0.75, 1.0"),
        ("architecture.encoder_blocks", 5, "one of 2, 3, 4"),
        ("architecture.encoder_blocks", True, "one of 2, 3, 4"),
        ("architecture.filters", {"conv1": 0}, "whole numbers of 1 or more by layer"),
        ("architecture.filters", {"conv1": 2.5}, "whole numbers of 1 or more by layer"),
        ("architecture.filters", ["conv1"], "whole numbers of 1 or more by layer"),
        ("database", "CIFAR", "one of Cityscapes, ADE, SBD, KITTI, CamVid, Toy, custom"),
        ("class_names", ["a", "b"], "3 names, one per class"),
        ("class_names", ["a", "b", 3], "3 names, one per class"),
        ("class_names", "abc", "3 names, one per class"),
        ("palette", [[0, 0, 0]] * 4, r"3 colours [R, G, B] in 0..255"),
        ("palette", [[0, 0, 0], [0, 0, 256], [0, 0, 0]], r"3 colours [R, G, B] in 0..255"),
        ("palette", [[0, 0, 0], [0, 0], [0, 0, 0]], r"3 colours [R, G, B] in 0..255"),
        ("image_mean", [1, 2], "three numbers in 0..255"),
        ("image_mean", [1, 2, -0.5], "three numbers in 0..255"),
        ("image_mean", [1, 2, float("nan")], "three numbers in 0..255"),
        ("label_map", {"0": 3}, "ids 0..65535 to training ids 0..2 or 255"),
        ("label_map", {"65536": 0}, "ids 0..65535 to training ids 0..2 or 255"),
        ("label_map", {"road": 0}, "ids 0..65535 to training ids 0..2 or 255"),
        ("label_map", [0, 1], "ids 0..65535 to training ids 0..2 or 255"),
        ("color_switch", "no", "true or false"),
        ("test_image_size", 7, "0, or a whole number from 8 to 16384"),
        ("test_image_size", False, "0, or a whole number from 8 to 16384"),
        ("test_image_size", "480x480", "0, or a whole number from 8 to 16384, or two different ones"),
        ("test_image_size", "480", "0, or a whole number from 8 to 16384"),
        ("test_image_size", "360X480", "0, or a whole number from 8 to 16384, or two different ones"),
        ("test_image_size", "0x480", "0, or a whole number from 8 to 16384, or two different ones"),
        ("test_image_size", "360x16385", "0, or a whole number from 8 to 16384, or two different ones"),
        ("test_image_size", [360, 480], "0, or a whole number from 8 to 16384, or two different ones"),
        ("upsample_input", 2.0, "one of 1, 2, 3, 4"),
        ("upsample_input", 0, "one of 1, 2, 3, 4"),
        ("input_range", 0, "a number above 0 or null"),
        ("input_range", True, "a number above 0 or null"),
        ("ignored_colors", [[0, 0, 256]], "colours [R, G, B] in 0..255"),
        ("ignored_colors", None, "colours [R, G, B] in 0..255"),
        ("flags", None, "an object"),
        ("origin", None, "an object"),
    ],
)
def test_wrong_value_is_named_with_what_was_expected(config_path, key, value, expected):
    change(config_path, key, value)
    found = json.dumps(value)
    found = found if len(found) <= 60 else found[:57] + "..."
    message = refusal(config_path)
    assert message.startswith(f"'{key}' is {found}, expected {expected}")
    assert ": restore the file" in message


@pytest.mark.parametrize(
    ("filters", "fault"),
    [
        ({"conv9": 8}, "has 'conv9', which is no layer of resnet_v1_50 with ppm"),
        ({"block1/unit_1/bottleneck_v1/conv3": 8}, "has different numbers for block1/unit_1/bottleneck_v1/shortcut"),
    ],
)
def test_filters_of_no_network(config_path, filters, fault):
    change(config_path, "architecture.filters", filters)
    assert refusal(config_path).startswith(f"'architecture.filters' {fault}")


def test_filters_come_back(config_path):
    record = ModelRecord.read(str(config_path.parent))
    assert (record.architecture.filter_scale, record.architecture.filters) == (1.0, {})
    assert not {"filter_scale", "filters"} & json.loads(config_path.read_text())["architecture"].keys()
    filters = {"conv1": 32, "block1/unit_1/bottleneck_v1/conv2": 7}
    architecture = dataclasses.replace(record.architecture, filter_scale=0.5, filters=filters)
    dataclasses.replace(record, architecture=architecture).write(str(config_path.parent))
    assert ModelRecord.read(str(config_path.parent)).architecture == architecture


def test_end_of_the_encoder_comes_back(config_path):
    record = ModelRecord.read(str(config_path.parent))
    assert record.architecture.encoder_blocks == 4
    assert "encoder_blocks" not in json.loads(config_path.read_text())["architecture"]
    architecture = dataclasses.replace(record.architecture, encoder_blocks=2, decoder="ppm_1x1")
    dataclasses.replace(record, architecture=architecture).write(str(config_path.parent))
    assert json.loads(config_path.read_text())["architecture"]["encoder_blocks"] == 2
    assert ModelRecord.read(str(config_path.parent)).architecture == architecture


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("decoder", "upernet", "ppm or ppm_1x1 or c1"), ("output_stride", 16, "8")],
)
def test_options_that_need_blocks_that_the_encoder_lacks(config_path, name, value, expected):
    change(config_path, "architecture.encoder_blocks", 2)
    assert ModelRecord.read(str(config_path.parent)).architecture.encoder_blocks == 2
    change(config_path, f"architecture.{name}", value)
    words = f"'architecture.{name}' is {value}, expected {expected} with 'architecture.encoder_blocks' 2: restore"
    assert refusal(config_path).startswith(words)
    values = json.loads(config_path.read_text())["architecture"]
    del values["num_classes"]
    config_path.write_text(json.dumps({"backbone": values}))
    with pytest.raises(RecordError, match=f"'backbone.{name}' is {value}, expected {expected} with"):
        BackboneRecord.read(str(config_path.parent))


def test_long_value_is_cut(config_path):
    change(config_path, "class_names", ["a name"] * 1000)
    assert len(refusal(config_path)) < 200


@pytest.mark.parametrize("key", ["architecture", "architecture.num_classes", "palette", "database", "color_switch"])
def test_missing_key_is_named(config_path, key):
    values = json.loads(config_path.read_text())
    inside, _, name = key.rpartition(".")
    del (values[inside] if inside else values)[name]
    config_path.write_text(json.dumps(values))
    assert refusal(config_path).startswith(f"'{key}' is missing: restore the file")


@pytest.mark.parametrize("key", ["colour", "architecture.depth"])
def test_unknown_key_is_named(config_path, key):
    change(config_path, key, 50)
    assert refusal(config_path).startswith(f"'{key}' is unknown, expected ")


def test_keys_with_defaults_may_be_missing(config_path):
    values = json.loads(config_path.read_text())
    values["architecture"] = {"network": "resnet_v1_34", "num_classes": 3}
    del values["flags"], values["upsample_input"]
    config_path.write_text(json.dumps(values))
    read = ModelRecord.read(str(config_path.parent))
    assert read is not None
    assert (read.architecture, read.flags) == (Architecture("resnet_v1_34", 3), {})
    assert read.upsample_input == 1


def test_every_value_is_checked():
    names = {kind: {field.name for field in dataclasses.fields(kind)}
             for kind in (Architecture, ModelRecord, BackboneRecord)}  # fmt: skip
    assert set(record_rules.ARCHITECTURE_RULES) == names[Architecture]
    assert set(record_rules.model_rules(3)) == names[ModelRecord] - {"architecture"}
    assert set(record_rules.BACKBONE_RULES) == names[BackboneRecord]
