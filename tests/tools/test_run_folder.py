"""Names of runs, their folders and the record beside a checkpoint."""

from __future__ import annotations

import json
import os

import pytest

from database.datasets import custom_dataset, get_dataset
from tools.flags import TrainConfig, parse_flags
from tools.run_folder import ModelRecord, RecordError, RunFolder, model_id, run_folder

REFERENCE_LINE = (
    "--batch_size 4 --gpu_num 4 --consider_dilated 1 --weight_decay_rate 0.0001 --weight_decay_rate2 0.001 "
    "--random_rotate 0 --database Cityscapes --train_image_size 816 --test_image_size 816"
)
REFERENCE_ID = (
    "resnet_v1_50-816-train-L2-SP-wd_alpha0.0001-wd_beta0.001-batch_size16-lrn_rate0.01-consider_dilated1-"
    "random_rotate0-random_scale1"
)


def test_id_is_the_reference_one():
    config = parse_flags(TrainConfig, REFERENCE_LINE.split(), "test")
    assert model_id(config) == REFERENCE_ID
    assert run_folder(config).path == os.path.join("./log", "Cityscapes", REFERENCE_ID)


def test_id_of_plain_decay_and_two_subsets():
    config = TrainConfig(batch_size=2, weight_decay_mode=0, subsets_for_training=("train", "val"), lrn_rate=1e-5)
    assert model_id(config) == (
        "resnet_v1_50-480-train,val-L2-wd_alpha0.0001-wd_beta0.0001-batch_size2-lrn_rate1e-05-consider_dilated0-"
        "random_rotate1-random_scale1"
    )


def test_ids_of_the_decay_modes_differ():
    ids = {model_id(TrainConfig(batch_size=2, weight_decay_mode=mode)) for mode in range(4)}
    assert len(ids) == 4


def test_paths():
    folder = RunFolder(os.path.join("log", "Toy", "run"))
    assert folder.snapshots == os.path.join("log", "Toy", "run", "snapshot")
    assert folder.snapshot(7) == os.path.join("log", "Toy", "run", "snapshot", "model.ckpt-7")
    assert folder.csv == os.path.join("log", "Toy", "run", "training.csv")


def test_earlier_runs_are_numbered(tmp_path):
    folder = RunFolder(str(tmp_path / "run"))
    folder.set_aside_earlier_run()
    assert os.listdir(tmp_path) == []
    for number in (1, 2):
        os.makedirs(folder.snapshots)
        (tmp_path / "run" / "snapshot" / "model.ckpt-5.index").write_text(str(number))
        folder.set_aside_earlier_run()
    assert sorted(os.listdir(tmp_path)) == ["run.earlier-1", "run.earlier-2"]
    for number in (1, 2):
        kept = tmp_path / f"run.earlier-{number}" / "snapshot" / "model.ckpt-5.index"
        assert kept.read_text() == str(number)


def test_a_run_without_snapshots_is_set_aside_if_it_left_anything(tmp_path):
    folder = RunFolder(str(tmp_path / "run"))
    os.makedirs(folder.path)
    folder.set_aside_earlier_run()
    assert os.listdir(tmp_path) == ["run"]
    (tmp_path / "run" / "training.csv").write_text("step,loss")
    folder.set_aside_earlier_run()
    assert os.listdir(tmp_path) == ["run.earlier-1"]


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
    assert read.architecture.three_convs_beginning is True
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


def _not_json(text: str) -> str:
    return text[: len(text) // 2]


def _unknown_key(text: str) -> str:
    return json.dumps({**json.loads(text), "colour": 1})


def _unknown_architecture_key(text: str) -> str:
    values = json.loads(text)
    values["architecture"]["depth"] = 50
    return json.dumps(values)


def _missing_key(text: str) -> str:
    values = json.loads(text)
    del values["palette"]
    return json.dumps(values)


@pytest.mark.parametrize(
    "damage",
    [_not_json, _unknown_key, _unknown_architecture_key, _missing_key, lambda text: "[]", lambda text: "{}"],
)
def test_damaged_record_is_named_in_one_line(tmp_path, damage):
    ModelRecord.of_run(TrainConfig(batch_size=2), get_dataset("Cityscapes")).write(str(tmp_path))
    path = tmp_path / "config.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(RecordError, match="config.json: not the configuration of a checkpoint") as caught:
        ModelRecord.read(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_record_that_is_a_folder(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(RecordError, match="config.json: not the configuration"):
        ModelRecord.read(str(tmp_path))
