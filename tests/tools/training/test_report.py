"""The summary of a run in the log."""

from __future__ import annotations

import dataclasses
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from database.datasets import find_samples, get_dataset
from model.architecture import Architecture
from model.choices import ENCODER_PARTS
from tests.tools.toy_runs import NETWORK, smallest_config, tiny_config, toy_record, write_checkpoint
from tools.runs.folder import RunFolder
from tools.runs.writing import room_warning
from tools.runtime import devices as runtime_devices
from tools.training import report
from tools.training.build import build_graph
from tools.training.report import log_run
from tools.training.samples import RunData
from tools.training.settings import options_of
from tools.training.start import TrainingStart


def summary_of(config, tmp_path, caplog) -> dict[str, str]:
    """The lines of the summary by their first words, of a run that begins with random weights."""
    dataset, record = get_dataset("Toy"), toy_record(config)
    data = RunData.of(dataset, config.data_dir, find_samples(dataset, config.data_dir, ["train"]))
    devices = runtime_devices.tower_devices(config.gpu_num)
    built = build_graph(config, options_of(config), record, data.training, devices, TrainingStart(0, None, None))
    caplog.set_level("INFO")
    caplog.clear()
    log_run(config, record, data, built, devices, RunFolder(str(tmp_path / "run")))
    assert 13 <= len(caplog.messages) <= 17
    return {line[:14].strip(): line[14:] for line in caplog.messages}


def test_summary_of_a_run(narrow_resnet, toy_dir, tmp_path, caplog):
    lines = summary_of(smallest_config(toy_dir, str(tmp_path), lrn_rate=0.02, val_every=2), tmp_path, caplog)
    images = len(find_samples(get_dataset("Toy"), toy_dir, ["train"]))
    assert lines["data"] == f"Toy, 19 classes; {images} training images (train), 0 validation images"
    assert lines["network"].startswith(f"{NETWORK}, decoder c1, output stride 8; ")
    assert "million parameters, " in lines["network"]
    assert lines["network"].endswith(" GFLOP per image")
    assert lines["batch"] == "2 images per step, one tower"
    assert lines["optimizer"] == "mom, learning rate 0.02, poly schedule"
    assert lines["length"] == f"2 steps, {4 / images:.1f} epochs"
    assert lines["snapshots"].startswith("every step and after 10 minutes, scored every 2 steps; ")
    assert lines["weight decay"].startswith("L2, rate 0.0001: ")
    assert lines[""].startswith("none: ")
    assert (lines["weights"], lines["precision"]) == ("random", "float32")
    assert lines["run folder"] == str(tmp_path / "run")


def test_what_a_recipe_changes_is_in_the_summary(narrow_resnet, toy_dir, tmp_path, caplog):
    flags = {
        "train_like_in_caffe": True,
        "new_bias_multiplier": 5.0,
        "resize_grid": "align_corners",
        "encoder_blocks": 3,
    }
    lines = summary_of(smallest_config(toy_dir, str(tmp_path), **flags), tmp_path, caplog)
    assert lines["optimizer"].endswith(", new layers at 10 times the rate, their biases at 5")
    words = f"{NETWORK}, decoder c1, output stride 8, resize grid align_corners, ends after block 3; "
    assert lines["network"].startswith(words)


def test_a_resumed_run_names_the_steps_that_are_left(toy_dir):
    config = smallest_config(toy_dir, "log", train_max_iter=30)
    assert report._length(config, 6, 0) == "30 steps, 10.0 epochs"
    assert report._length(config, 6, 20) == "30 steps, 10.0 epochs; 10 steps are left"


TRAINED = {"fine_tune_filename": "weights", "weight_decay_mode": 1}


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"lr_schedule": "step"}, "--lr_step"),
        ({"poly_lr": False}, "--lr_step"),
        ({"poly_lr": False, "lr_step": (5,)}, None),
        ({"val_every": 5, "patience": 5}, "--patience 5 cannot end the training, which has 5 scores"),
        ({"val_every": 5, "patience": 4}, None),
        ({"consider_dilated": True, "freeze": ("block3", "block4"), **TRAINED}, "--consider_dilated 1 has no effect"),
        ({"consider_dilated": True, "freeze": ("conv1", "block3"), **TRAINED}, None),
        ({}, None),
    ],
)
def test_flags_without_effect_are_logged(toy_dir, caplog, flags, named):
    config = smallest_config(toy_dir, "log", train_max_iter=30, **flags)
    report._warn_of_flags_without_effect(config, Architecture(NETWORK, 3))
    assert len(caplog.messages) == (named is not None)
    assert (named or "") in caplog.text
    assert ("fewer after" in report._length(config, 6, 0)) == (flags.get("patience") == 4)


def test_blocks_that_are_not_built_are_not_dilated(toy_dir, caplog):
    config = smallest_config(toy_dir, "log", consider_dilated=True, freeze=("block3",), **TRAINED)
    report._warn_of_flags_without_effect(config, Architecture(NETWORK, 3))
    assert not caplog.messages
    report._warn_of_flags_without_effect(config, Architecture(NETWORK, 3, encoder_blocks=3))
    words = "--consider_dilated 1 has no effect with --freeze, which does not train block3"
    assert [record.getMessage() for record in caplog.records] == [words]


@pytest.mark.parametrize("save_memory", [0, 1, 2])
def test_saving_memory_is_not_recommended_to_those_who_do(toy_dir, save_memory):
    config = smallest_config(toy_dir, "log", accumulate=2, save_memory=save_memory, activation="leaky_relu")
    assert ("--save_memory 1" in report._other_way(config)) == (not save_memory)


@pytest.mark.slow
def test_images_of_several_sizes_have_no_operations_per_image(narrow_resnet, toy_dir, tmp_path, caplog):
    config = smallest_config(
        toy_dir, str(tmp_path), gpu_num=2, dynamic_size=True, dynamic_short_sides=(24, 40), dynamic_max_size=80,
        train_image_size=480, poly_lr=False, lr_step=(1, 2),
    )  # fmt: skip
    lines = summary_of(config, tmp_path, caplog)
    assert lines["network"].endswith(" million parameters")
    assert lines["input"].startswith("whole images")
    assert "24, 40" in lines["input"]
    assert lines["batch"] == "4 images per step, 2 towers of 2"
    assert lines["optimizer"] == "mom, learning rate 0.01, times 0.1 at steps 1, 2"


@pytest.mark.parametrize(("resumed", "count"), [(None, 4), ("model.ckpt-4", 2)])
def test_room_for_snapshots_is_looked_at_beforehand(tiny_run, monkeypatch, caplog, resumed, count):
    """Variables of 48 and 8 bytes; up to 2 kept and 1 being written, and the best. A resumed run has 2 of them."""
    config = dataclasses.replace(tiny_run.config, keep=2, val_every=1)
    with tf.Graph().as_default():
        variables = [tf.get_variable("weights", [3, 4]), tf.get_variable("step", [], tf.int64)]
    start = TrainingStart(0, resumed, None)
    built = SimpleNamespace(variables=variables, initial=SimpleNamespace(start=start))
    for lacking in (0, 1):
        usage = SimpleNamespace(free=count * 56 - lacking)
        with_usage = partial(room_warning, disk_usage=lambda path, usage=usage: usage)
        monkeypatch.setattr(report, "room_warning", with_usage)
        report._warn_of_full_disk(config, built, tiny_run.folder)
        assert len(caplog.messages) == lacking
    assert f"up to {count} snapshots of 0.00 GB each" in caplog.messages[0]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({}, None),
        (
            {"sync_bn": False, "gpu_num": 2},
            "moments of the 2 images of each tower alone (--sync_bn 0); the running averages are those of the first "
            "tower",
        ),
        (
            {"bn_frozen": "all", "fine_tune_filename": "x"},
            "pre-trained running averages in all layers (--bn_frozen all)",
        ),
    ],
)
def test_normalization_is_described_if_it_is_unusual(flags, words):
    config = smallest_config("toy", "log", **flags)
    assert list(report._normalization(config)) == ([] if words is None else [("normalization", words)])


def test_losses_in_one_line():
    config = tiny_config("toy", "log", loss_type="dice", aux_weight=0.25)
    assert report._loss(config) == "dice; auxiliary loss times 0.25"
    config = smallest_config("toy", "log", loss_type="normal+0.5*dice", label_smoothing=0.1, class_weights="w.txt")
    assert report._loss(config) == "ce+0.5*dice, label smoothing 0.1, class weights w.txt"
    assert report._loss(smallest_config("toy", "log")) == "ce"
    assert report._loss(smallest_config("toy", "log", loss_type="ohem")) == "ohem"


def start_with(activation: str | None, resumed: str | None = None):
    """A built graph from a checkpoint whose record has an activation; from random weights for None."""
    backbone = SimpleNamespace(activation=activation)
    pretrained = None if activation is None else "resnet.ckpt"
    start = SimpleNamespace(resumed=resumed, pretrained=pretrained, backbone=lambda: backbone)
    return SimpleNamespace(initial=SimpleNamespace(start=start))


@pytest.mark.parametrize(
    ("freeze", "built", "activation", "is_warned"),
    [
        (ENCODER_PARTS, start_with("relu"), "leaky_relu", True),
        (("conv1",), start_with("relu"), "leaky_relu", True),
        (None, start_with("relu"), "leaky_relu", False),
        (ENCODER_PARTS, start_with("relu"), "relu", False),
        (ENCODER_PARTS, start_with("leaky_relu"), "leaky_relu", False),
        (None, start_with(None), "leaky_relu", False),
    ],
)
def test_a_frozen_encoder_with_another_activation_is_warned_of(caplog, freeze, built, activation, is_warned):
    config = tiny_config("toy", "log", freeze=freeze, fine_tune_filename="resnet.ckpt")
    record = SimpleNamespace(architecture=SimpleNamespace(activation=activation))
    report._warn_of_frozen_activation(config, record, built)
    assert len(caplog.messages) == is_warned
    if is_warned:
        assert f"--freeze {'encoder' if freeze == ENCODER_PARTS else 'conv1'}" in caplog.text
        assert "trained with relu" in caplog.text


def test_sizes_of_a_frozen_network():
    with tf.Graph().as_default() as graph:
        frozen = tf.get_variable("frozen", [2000, 1000])
        trained = tf.get_variable("trained", [500, 1000])
        tf.get_variable("moving_mean", [1000, 1000], trainable=False)
    built = SimpleNamespace(graph=graph, trained_variables=[trained])
    config = tiny_config("toy", "log", freeze=ENCODER_PARTS, fine_tune_filename="resnet.ckpt")
    assert report._parameters(config, built) == "2.5 million parameters, 0.5 trained; frozen: encoder"
    config = tiny_config("toy", "log", freeze=("conv1", "block1"), fine_tune_filename="resnet.ckpt")
    assert report._parameters(config, built).endswith("; frozen: conv1, block1")
    built = SimpleNamespace(graph=graph, trained_variables=[frozen, trained])
    assert report._parameters(tiny_config("toy", "log"), built) == "2.5 million parameters"


def test_l2_sp_without_pre_trained_weights_to_train_is_named():
    def lines(modes, mode: int) -> list[tuple[str, str]]:
        with tf.Graph().as_default():
            weights = [tf.get_variable(f"weights{index}", [2]) for index, _ in enumerate(modes)]
        decayed = [SimpleNamespace(variable=one, mode=name, rate=0.1) for one, name in zip(weights, modes, strict=True)]
        built = SimpleNamespace(trained_variables=weights, train=SimpleNamespace(decayed=decayed))
        config = tiny_config("toy", "log", weight_decay_mode=mode, fine_tune_filename="resnet.ckpt")
        return list(report._weight_decay(config, built))

    only_new = lines(["L2"], 1)
    assert [name for name, _ in only_new] == ["weight decay", "", ""]
    assert only_new[0][1].startswith("L2-SP: nothing, ")
    assert only_new[1][1].startswith("L2, ")
    assert lines(["L2-SP", "L2"], 1)[0][1].startswith("L2-SP, rate")
    assert lines(["L2"], 0)[0][1].startswith("L2, rate")


@pytest.mark.parametrize(("warmup", "count"), [(0, 0), (2, 0), (10, 1)])
def test_a_warm_up_that_outlasts_the_training_is_warned_of(caplog, warmup, count):
    report._warn_of_long_warmup(tiny_config("toy", "log", train_max_iter=2, warmup_steps=warmup))
    assert len(caplog.messages) == count
    assert ("--warmup_steps 10" in caplog.text) == bool(count)


def test_modes_of_memory():
    assert list(report._memory(tiny_config("toy", "log"))) == []
    for mode in (True, 2):
        config = tiny_config("toy", "log", save_memory=mode, activation="leaky_relu")
        [(name, text)] = report._memory(config)
        assert (name, text.startswith(f"--save_memory {int(mode)}: ")) == ("memory", True)


def test_the_best_snapshot_beside_the_newest_is_named(tmp_path):
    run = RunFolder(str(tmp_path / "run"))
    write_checkpoint(run.snapshot(4), {"a": np.zeros(1, np.float32)})
    config = tiny_config("toy", "log", fine_tune_filename=run.path)
    assert report._best_beside(config, run.snapshot(4)) == ""
    best = write_checkpoint(f"{run.best}/model.ckpt-2", {"a": np.zeros(1, np.float32)})
    found = report._best_beside(config, run.snapshot(4))
    assert best in found
    assert found.endswith(f"--fine_tune_filename {run.path}/best")
    for path, prefix in ((run.snapshot(4), run.snapshot(4)), (run.best, best)):  # what was asked for
        assert report._best_beside(tiny_config("toy", "log", fine_tune_filename=path), prefix) == ""
