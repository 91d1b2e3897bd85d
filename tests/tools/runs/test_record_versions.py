"""config.json of each version is read; a newer one is rejected."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tools.errors import RecordError
from tools.runs.record import BackboneRecord, ModelRecord
from tools.runs.record_file import FORMAT_VERSION
from tools.runs.run_origin import RunOrigin

# Version 1: without a number, and with the origin of the run among its flags.
FIRST_VERSION = """
{"architecture": {"network": "resnet_v1_18", "num_classes": 2, "output_stride": 8, "stride_convention": "reference",
"resize_grid": "half_pixel", "stem": "conv7", "pool_padding": "same", "pyramid_depth": null, "head_depth": 512,
"auxiliary_depth": 256, "decoder": "ppm", "pyramid_order": "reduce_first"}, "database": "custom", "class_names":
["class_0", "class_1"], "palette": [[128, 0, 0], [0, 128, 0]], "image_mean": [123.68, 116.779, 103.939],
"label_map": {"0": 0, "1": 1, "255": 255}, "color_switch": false, "test_image_size": 480, "upsample_input": 1,
"input_range": null, "ignored_colors": [], "flags": {"database": "custom", "num_classes": 2, "palette": null,
"label_map": null, "image_mean": null, "input_range": null, "max_pixels": 178000000, "data_dir": "photos",
"train_list": null, "val_list": null, "test_list": null, "ignore_label": null, "holdout": null, "network":
"resnet_v1_18", "decoder": null, "fine_tune_filename": null, "output_stride": null, "three_convs_beginning": null,
"stride_convention": null, "pool_padding": null, "resize_grid": null, "color_switch": null, "initializer": "he",
"bn_decay": 0.9, "bn_frozen": false, "train_max_iter": 30000, "batch_size": 4, "gpu_num": 1, "lrn_rate": 0.02,
"poly_lr": true, "lr_step": null, "step_size": 0.1, "optimizer": "mom", "momentum": 0.9, "train_like_in_caffe":
false, "seed": 0, "train_image_size": 480, "random_scale": true, "scale_min": 0.5, "scale_max": 2.0,
"random_mirror": true, "random_rotate": true, "random_blur": true, "gaussian_blur": false, "upsample_input": 1,
"dynamic_size": false, "dynamic_short_sides": [300, 375, 450, 525, 600], "dynamic_max_size": 1000,
"weight_decay_mode": 1, "weight_decay_rate": 0.0001, "weight_decay_rate2": 0.0001, "consider_dilated": false,
"new_layer_names": null, "loss_type": "normal", "ohem_threshold": 0.7, "ohem_min_kept": 100000, "class_weights":
null, "has_aux_loss": true, "upsample_logits": null, "snapshot": 15000, "snapshot_minutes": 10.0,
"save_first_iteration": false, "keep": 5, "val_every": null, "resume_step": null, "auto_resume": false, "on_nan":
"stop", "float_type": "32", "device": "auto", "deterministic": false, "save_memory": false, "checkpoint_units": 2,
"log_memory": false, "eval_only": false, "test_image_size": 480, "mirror": true, "log_dir": "./log", "run_name":
null, "show_period": 20, "data_format": "files", "subsets_for_training": ["train"], "check_data": "sample",
"allow_missing_classes": false, "max_bad_files": 0, "test_max_iter": null, "pretrained_prefix":
"weights/resnet_v1_18.ckpt", "pretrained_sha256": "aaaaaaaa", "training_samples_sha256": "bbbbbbbb",
"training_sizes_sha256": "cccccccc", "training_contents_sha256": null, "class_weight_values": [1.0, 2.5],
"run_uuid": "dddddddddddddddddddddddddddddddd", "run_folder_name": "first"}}
"""
# Version 1 of the record of a converted ResNet, as tools.convert wrote it.
FIRST_BACKBONE = """
{
  "backbone": {
    "network": "resnet_v1_50",
    "stem": "deep_128",
    "pool_padding": "symmetric",
    "stride_convention": "caffe",
    "image_mean": [
      123.68,
      116.779,
      103.939
    ],
    "color_switch": true,
    "output_stride": 8,
    "resize_grid": "half_pixel",
    "pyramid_depth": null,
    "head_depth": 512,
    "auxiliary_depth": 256,
    "decoder": "ppm",
    "pyramid_order": "reduce_first",
    "class_names": null,
    "checkpoint": "resnet_v1_50.ckpt"
  }
}
"""
# The same record in version 2.
SECOND_BACKBONE = FIRST_BACKBONE.replace("{", '{\n  "version": 2,', 1)
BACKBONE = BackboneRecord(
    network="resnet_v1_50",
    stem="deep_128",
    pool_padding="symmetric",
    stride_convention="caffe",
    image_mean=(123.68, 116.779, 103.939),
    color_switch=True,
    checkpoint="resnet_v1_50.ckpt",
)
ORIGIN = RunOrigin(
    pretrained_prefix="weights/resnet_v1_18.ckpt",
    pretrained_sha256="aaaaaaaa",
    training_samples_sha256="bbbbbbbb",
    training_sizes_sha256="cccccccc",
    class_weight_values=(1.0, 2.5),
    run_uuid="d" * 32,
    run_folder_name="first",
)


@pytest.fixture
def first(tmp_path) -> ModelRecord:
    (tmp_path / "config.json").write_text(FIRST_VERSION)
    record = ModelRecord.read(str(tmp_path))
    assert record is not None
    return record


def rewritten(record: ModelRecord | BackboneRecord, folder, **changes) -> None:
    """Writes a record with other values in its file."""
    record.write(str(folder))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_first_version_is_read(first):
    assert first.origin == ORIGIN
    assert (first.architecture.network, first.architecture.num_classes) == ("resnet_v1_18", 2)
    assert (first.database, first.class_names) == ("custom", ("class_0", "class_1"))
    assert (first.flags["lrn_rate"], first.flags["data_dir"]) == (0.02, "photos")
    assert not {"run_uuid", "class_weight_values", "pretrained_prefix"} & first.flags.keys()


@pytest.mark.parametrize(
    ("window", "crop", "version"),
    [(480, 480, 2), (0, 480, 2), ("360x480", 480, 3), (480, "360x480", 3), ("48x8", "8x16384", 3)],
)  # fmt: skip
def test_the_present_version_comes_back(first, tmp_path, window, crop, version):
    """Rectangles are unknown to the programs that read version 2; files without them remain of that version."""
    flags = {**first.flags, "test_image_size": window, "train_image_size": crop}
    record = dataclasses.replace(first, test_image_size=window, flags=flags)
    record.write(str(tmp_path / "new"))
    values = json.loads((tmp_path / "new" / "config.json").read_text())
    assert next(iter(values.items())) == ("version", version)
    assert (values["test_image_size"], values["flags"]["train_image_size"]) == (window, crop)
    assert values["origin"]["class_weight_values"] == [1.0, 2.5]
    assert ModelRecord.read(str(tmp_path / "new")) == record


@pytest.mark.parametrize("size", [480, "360x480"])
def test_a_field_that_came_later_is_of_the_newest_version(first, tmp_path, size):
    """Other networks are written without the field, so that the programs that read version 2 read their files."""
    assert "activation" not in json.loads(FIRST_VERSION)["architecture"]
    assert first.architecture.activation == "relu"
    architecture = dataclasses.replace(first.architecture, activation="leaky_relu")
    record = dataclasses.replace(first, architecture=architecture, test_image_size=size)
    record.write(str(tmp_path / "new"))
    values = json.loads((tmp_path / "new" / "config.json").read_text())
    assert (values["version"], values["architecture"]["activation"]) == (4, "leaky_relu")
    assert ModelRecord.read(str(tmp_path / "new")) == record
    backbone = dataclasses.replace(BACKBONE, activation="leaky_relu")
    backbone.write(str(tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["version"] == 4
    assert BackboneRecord.read(str(tmp_path)) == backbone


@pytest.mark.parametrize("text", [FIRST_BACKBONE, SECOND_BACKBONE])
def test_both_versions_of_a_converted_backbone_are_read(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert BackboneRecord.read(str(tmp_path)) == BACKBONE
    assert BackboneRecord.of_checkpoint(str(tmp_path / "resnet_v1_50.ckpt")) == BACKBONE


def test_a_converted_backbone_is_written_in_the_present_version(tmp_path):
    BACKBONE.write(str(tmp_path))
    assert (tmp_path / "config.json").read_text() == SECOND_BACKBONE.strip()


@pytest.mark.parametrize("version", [0, FORMAT_VERSION + 1, "2", True, None, 1.0])
@pytest.mark.parametrize("read", [BackboneRecord.read, ModelRecord.read])
def test_another_version_of_a_converted_backbone_is_rejected(tmp_path, version, read):
    rewritten(BACKBONE, tmp_path, version=version)
    with pytest.raises(RecordError, match=f"config.json: 'version' is {version}, expected 1 to {FORMAT_VERSION}"):
        read(str(tmp_path))


@pytest.mark.parametrize("version", [0, FORMAT_VERSION + 1, "2", True, None, 1.0])
def test_another_version_is_rejected(first, tmp_path, version):
    rewritten(first, tmp_path, version=version)
    with pytest.raises(RecordError, match=f"config.json: 'version' is {version}, expected 1 to {FORMAT_VERSION}"):
        ModelRecord.read(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "value"),
    [("run_uuid", 5), ("pretrained_sha256", []), ("class_weight_values", "1,2"), ("class_weight_values", [True])],
)
def test_a_wrong_origin_is_rejected(first, tmp_path, name, value):
    rewritten(first, tmp_path, origin={name: value})
    with pytest.raises(RecordError, match=rf"'origin\.{name}' is .*, expected"):
        ModelRecord.read(str(tmp_path))


def test_an_unknown_entry_of_an_origin_is_rejected(first, tmp_path):
    rewritten(first, tmp_path, origin={"mother": "x"})
    with pytest.raises(RecordError, match=r"'origin\.mother' is unknown"):
        ModelRecord.read(str(tmp_path))
