"""The record of a checkpoint: the one beside it, with changes by flags, or the reference implementation's."""

from __future__ import annotations

import numpy as np
import pytest

from database.datasets import get_dataset
from model.architecture import Architecture
from tests.tools.prediction.selected import record_with, write_foreign
from tests.tools.toy_runs import tiny_config, toy_record, write_checkpoint
from tools.errors import CheckpointError, FlagError
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.prediction import selection

pytestmark = pytest.mark.usefixtures("unchecked_data_folders")


REFERENCE_WINDOW = 864


def test_record_beside_the_checkpoint(tmp_path):
    prefix = record_with(tmp_path, color_switch=True, test_image_size=57)
    record = selection.record_of_checkpoint(prefix, PredictConfig())
    assert record.architecture == Architecture("resnet_v1_18", 19)
    assert (record.database, record.color_switch, record.test_image_size) == ("Toy", True, 57)


def test_flags_change_the_record(tmp_path):
    config = InferenceConfig(
        network="resnet_v1_18", resize_grid="align_corners", stride_convention="caffe", three_convs_beginning=False,
        color_switch=False, test_image_size=65,
    )  # fmt: skip
    record = selection.record_of_checkpoint(record_with(tmp_path, color_switch=True), config)
    assert record.architecture == Architecture(
        "resnet_v1_18", 19, resize_grid="align_corners", stride_convention="caffe"
    )
    assert (record.color_switch, record.test_image_size) == (False, 65)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (PredictConfig(network="resnet_v1_34"), "--network is resnet_v1_34 and .* was trained with resnet_v1_18: give"),
        (InferenceConfig(three_convs_beginning=True), "--three_convs_beginning is 1 and .* was trained with 0: give"),
    ],
)
@pytest.mark.parametrize("write", [record_with, lambda folder: write_foreign(folder, "resnet_v1_18")])
def test_flags_on_another_network_than_the_checkpoint_holds(tmp_path, config, words, write):
    with pytest.raises(FlagError, match=words):
        selection.record_of_checkpoint(write(tmp_path), config)


@pytest.mark.parametrize(
    ("grid", "flags", "lines"),
    [
        ("align_corners", {}, ["--test_image_size 480 does not suit --resize_grid align_corners, "]),
        ("align_corners", {"test_image_size": 473}, []),
        ("half_pixel", {}, []),
        ("half_pixel", {"resize_grid": "align_corners", "test_image_size": 57}, []),
        ("half_pixel", {"resize_grid": "align_corners", "test_image_size": 64}, ["--test_image_size 64 does not suit"]),
    ],
)
def test_a_warning_is_logged_for_windows_that_do_not_suit_the_grid(tmp_path, caplog, grid, flags, lines):
    architecture = Architecture("resnet_v1_18", 19, resize_grid=grid)
    prefix = record_with(tmp_path, architecture=architecture, test_image_size=480)
    selection.record_of_checkpoint(prefix, PredictConfig(**flags))
    assert len(caplog.messages) == len(lines)
    for line, start in zip(caplog.messages, lines, strict=True):
        assert line.startswith(start)


def test_mean_by_flag(tmp_path):
    config = InferenceConfig(image_mean=(1.0, 2.0, 3.0))
    assert selection.record_of_checkpoint(record_with(tmp_path), config).image_mean == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("three_convs", [False, True])
@pytest.mark.parametrize(
    ("network", "database", "num_classes"),
    [("resnet_v1_50", None, 19), ("resnet_v1_101", "ADE", 150), ("resnet_v1_101", "Cityscapes", 19)],
)
def test_reference_checkpoint_is_recognized(tmp_path, network, database, num_classes, three_convs):
    prefix = write_foreign(tmp_path, network, num_classes, three_convs)
    record = selection.record_of_checkpoint(prefix, PredictConfig(database=database))
    stem = "deep_128" if three_convs else "conv7"
    assert record.architecture == Architecture(network, num_classes, resize_grid="legacy", stem=stem)
    dataset = get_dataset(database or "Cityscapes")
    assert (record.database, record.class_names) == (dataset.name, dataset.class_names)
    assert (record.image_mean, record.label_map) == (dataset.image_mean, dataset.label_map)
    assert (record.color_switch, record.test_image_size) == (False, REFERENCE_WINDOW)
    assert record.flags == {}


def test_flags_change_what_is_assumed_of_a_reference_checkpoint(tmp_path):
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
            "--database Cityscapes has 19 classes and the checkpoint .* has 21: give .* --database",
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
    with pytest.raises(CheckpointError, match="this checkpoint contains no PSPNet") as caught:
        selection.record_of_checkpoint(prefix, config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("given", "factor"), [(None, 3), (1, 1), (2, 2)])
def test_enlargement_is_that_of_the_training_by_default(tmp_path, given, factor):
    prefix = record_with(tmp_path, upsample_input=3)
    for config in (PredictConfig(upsample_input=given), InferenceConfig(upsample_input=given)):
        assert selection.record_of_checkpoint(prefix, config).upsample_input == factor
    assert toy_record(tiny_config("toy", "log", upsample_input=2)).upsample_input == 2
