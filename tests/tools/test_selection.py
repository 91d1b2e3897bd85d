"""Which dataset and which model the flags and the record beside a checkpoint mean."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest

from database.datasets import custom_dataset, get_dataset
from model.pspnet_mg import Architecture
from tests.tools.runs import tiny_config, toy_record, write_checkpoint
from tools import selection
from tools.checkpoint import CheckpointError
from tools.flags import FlagError, InferenceConfig, PredictConfig, TrainConfig
from tools.run_folder import ModelRecord

REFERENCE_WINDOW = 864


def write_foreign(folder, network="resnet_v1_50", num_classes=19, three_convs=False):
    """A checkpoint with the names by which a PSPNet is recognized; the shapes do not matter, but for the classes."""
    names = [f"{network}/psp/pool1/weights", f"{network}/{'conv1_1' if three_convs else 'conv1'}/weights"]
    values = {name: np.zeros(1, np.float32) for name in names}
    values[f"{network}/logits/weights"] = np.zeros([1, 1, 2, num_classes], np.float32)
    return write_checkpoint(os.path.join(str(folder), "model.ckpt-30000"), values)


def record_with(folder, **changes):
    """The record of a run on the generated scenes, written to a folder; returns a prefix there."""
    record = dataclasses.replace(toy_record(tiny_config("toy", "log")), **changes)
    record.write(str(folder))
    return os.path.join(str(folder), "model.ckpt-3")


def test_record_beside_the_checkpoint(tmp_path):
    prefix = record_with(tmp_path, color_switch=True, test_image_size=57)
    record = selection.record_of_checkpoint(prefix, PredictConfig())
    assert record.architecture == Architecture("resnet_v1_18", 19)
    assert (record.database, record.color_switch, record.test_image_size) == ("Toy", True, 57)


def test_flags_change_the_record(tmp_path):
    config = InferenceConfig(
        network="resnet_v1_34", resize_grid="align_corners", stride_convention="caffe", three_convs_beginning=True,
        color_switch=False, test_image_size=64,
    )  # fmt: skip
    record = selection.record_of_checkpoint(record_with(tmp_path, color_switch=True), config)
    assert record.architecture == Architecture(
        "resnet_v1_34", 19, resize_grid="align_corners", stride_convention="caffe", three_convs_beginning=True
    )
    assert (record.color_switch, record.test_image_size) == (False, 64)


def test_switch_off_by_flag(tmp_path):
    architecture = Architecture("resnet_v1_18", 19, three_convs_beginning=True)
    prefix = record_with(tmp_path, architecture=architecture)
    config = PredictConfig(three_convs_beginning=False)
    assert selection.record_of_checkpoint(prefix, config).architecture.three_convs_beginning is False


def test_other_dataset_of_the_same_classes_keeps_the_mean(tmp_path):
    mean = (1.0, 2.0, 3.0)
    prefix = record_with(tmp_path, image_mean=mean)
    record = selection.record_of_checkpoint(prefix, PredictConfig(database="KITTI"))
    assert record.database == "KITTI"
    assert record.class_names == get_dataset("KITTI").class_names
    assert record.image_mean == mean


def test_other_dataset_of_other_classes_is_refused(tmp_path):
    with pytest.raises(FlagError, match=r"--database ADE has 150 classes and the checkpoint .* has 19 \(Toy\)"):
        selection.record_of_checkpoint(record_with(tmp_path), PredictConfig(database="ADE"))


@pytest.mark.parametrize("three_convs", [False, True])
@pytest.mark.parametrize(
    ("network", "database", "num_classes"),
    [("resnet_v1_50", None, 19), ("resnet_v1_101", "ADE", 150), ("resnet_v1_101", "Cityscapes", 19)],
)
def test_reference_checkpoint_is_recognized(tmp_path, network, database, num_classes, three_convs):
    prefix = write_foreign(tmp_path, network, num_classes, three_convs)
    record = selection.record_of_checkpoint(prefix, PredictConfig(database=database))
    assert record.architecture == Architecture(
        network, num_classes, resize_grid="legacy", three_convs_beginning=three_convs
    )
    dataset = get_dataset(database or "Cityscapes")
    assert (record.database, record.class_names) == (dataset.name, dataset.class_names)
    assert (record.image_mean, record.label_map) == (dataset.image_mean, dataset.label_map)
    assert (record.color_switch, record.test_image_size) == (False, REFERENCE_WINDOW)
    assert record.flags == {}


def test_flags_change_what_a_reference_checkpoint_is_taken_for(tmp_path):
    config = PredictConfig(resize_grid="align_corners", test_image_size=713, color_switch=True)
    record = selection.record_of_checkpoint(write_foreign(tmp_path), config)
    assert record.architecture.resize_grid == "align_corners"
    assert (record.test_image_size, record.color_switch) == (713, True)


def test_reference_checkpoint_of_own_data(tmp_path):
    prefix = write_foreign(tmp_path, num_classes=5)
    config = PredictConfig(database="custom", num_classes=5)
    record = selection.record_of_checkpoint(prefix, config)
    assert (record.database, record.architecture.num_classes) == ("custom", 5)
    assert selection.prediction_dataset(config, record)[0].num_classes == 5


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            PredictConfig(),
            "--database Cityscapes has 19 classes and the checkpoint .* has 21: say with --database",
        ),
        (PredictConfig(database="custom", num_classes=5), "--database custom has 5 classes .* has 21"),
        (PredictConfig(database="custom"), "--database custom needs --num_classes"),
    ],
)
def test_reference_checkpoint_with_other_classes(tmp_path, config, words):
    with pytest.raises(FlagError, match=words):
        selection.record_of_checkpoint(write_foreign(tmp_path, num_classes=21), config)


@pytest.mark.parametrize("config", [PredictConfig(), PredictConfig(network="resnet_v1_50")])
def test_checkpoint_without_record_that_is_no_pspnet(tmp_path, config):
    values = {"resnet_v1_50/logits/weights": np.zeros([1, 1, 2, 1000], np.float32)}
    prefix = write_checkpoint(str(tmp_path / "resnet_v1_50.ckpt"), values)
    with pytest.raises(CheckpointError, match="this checkpoint holds no PSPNet") as caught:
        selection.record_of_checkpoint(prefix, config)
    assert "\n" not in str(caught.value)


def test_checkpoint_by_flag_or_the_newest(tmp_path):
    snapshots = tmp_path / "log" / "Toy" / "run" / "snapshot"
    newest = write_foreign(snapshots)
    other = write_foreign(tmp_path / "other")
    assert selection.choose_checkpoint(PredictConfig(log_dir=str(tmp_path / "log"))) == newest
    assert selection.choose_checkpoint(PredictConfig(weights_ckpt=other + ".index")) == other
    with pytest.raises(CheckpointError, match="no snapshot was found"):
        selection.choose_checkpoint(InferenceConfig(log_dir=str(tmp_path / "none")))


def test_training_dataset_and_its_folder():
    config = TrainConfig(batch_size=2, database="ADE")
    assert selection.training_dataset(config) == (get_dataset("ADE"), "./database/ADEChallengeData2016")
    config = TrainConfig(batch_size=2, database="ADE", data_dir="elsewhere")
    assert selection.training_dataset(config)[1] == "elsewhere"


def test_training_on_own_data(tmp_path):
    config = TrainConfig(
        batch_size=2, database="custom", num_classes=3, ignore_label=9, image_mean=(1.0, 2.0, 3.0),
        data_dir=str(tmp_path),
    )  # fmt: skip
    dataset, folder = selection.training_dataset(config)
    assert (dataset.num_classes, dataset.image_mean, folder) == (3, (1.0, 2.0, 3.0), str(tmp_path))
    assert dataset.label_map == {0: 0, 1: 1, 2: 2, 9: 255}


def test_generated_scenes_are_written_once_and_to_their_own_place_only(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(selection, "write_dataset", written.append)
    monkeypatch.chdir(tmp_path)
    toy = get_dataset("Toy")
    assert selection.existing_folder(toy, "mistyped") == "mistyped"
    assert written == []
    assert selection.existing_folder(toy, None) == "./database/toy"
    (tmp_path / "database" / "toy").mkdir(parents=True)
    assert selection.existing_folder(toy, None) == "./database/toy"
    assert written == ["./database/toy"]
    assert selection.existing_folder(get_dataset("KITTI"), str(tmp_path / "absent")) == str(tmp_path / "absent")
    assert selection.existing_folder(get_dataset("KITTI"), None) == "./database/kitti_semantics"
    assert written == ["./database/toy"]


def test_prediction_on_what_was_trained_on(toy_dir):
    record = toy_record(tiny_config(toy_dir, "log"))
    assert selection.prediction_dataset(PredictConfig(), record) == (get_dataset("Toy"), toy_dir)
    assert selection.prediction_dataset(PredictConfig(data_dir="b"), dataclasses.replace(record, database="KITTI")) == (
        get_dataset("KITTI"),
        "b",
    )


def test_prediction_on_another_dataset_uses_its_own_folder(toy_dir):
    record = toy_record(tiny_config(toy_dir, "log"))
    dataset, folder = selection.prediction_dataset(PredictConfig(database="KITTI"), record)
    assert (dataset.name, folder) == ("KITTI", "./database/kitti_semantics")


def own_record(**changes):
    """The record of a run on a user's own data."""
    values = {"num_classes": 3, "ignore_label": 9, "val_list": "val.txt", "data_dir": "own", **changes}
    config = TrainConfig(batch_size=2, database="custom", **values)
    dataset = custom_dataset(config.num_classes, ignore_label=config.ignore_label, val_list=config.val_list)
    return ModelRecord.of_run(config, dataset)


def test_prediction_on_own_data_as_in_training(tmp_path):
    own_record().write(str(tmp_path))
    record = selection.record_of_checkpoint(str(tmp_path / "model.ckpt-1"), PredictConfig())
    dataset, folder = selection.prediction_dataset(PredictConfig(), record)
    assert (dataset.name, dataset.num_classes, folder) == ("custom", 3, "own")
    assert dataset.label_map == {0: 0, 1: 1, 2: 2, 9: 255}


def test_prediction_on_own_data_by_other_flags(tmp_path):
    config = PredictConfig(ignore_label=255, data_dir="new")
    dataset, folder = selection.prediction_dataset(config, own_record())
    assert (dataset.label_map, folder) == ({0: 0, 1: 1, 2: 2, 255: 255}, "new")


def test_own_data_for_a_network_of_a_known_dataset():
    record = toy_record(tiny_config("toy", "log"))
    dataset, _ = selection.prediction_dataset(PredictConfig(database="custom", num_classes=19), record)
    assert dataset.label_map[255] == 255
    with pytest.raises(FlagError, match="--database custom needs --num_classes"):
        selection.prediction_dataset(PredictConfig(database="custom"), record)
    with pytest.raises(FlagError, match="--num_classes is 5 and the checkpoint has 19 classes"):
        selection.prediction_dataset(PredictConfig(database="custom", num_classes=5), record)
