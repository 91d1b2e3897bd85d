"""The summary of a run in the log."""

from __future__ import annotations

import dataclasses
from functools import partial
from types import SimpleNamespace

import pytest
import tensorflow.compat.v1 as tf

from database.datasets import find_samples, get_dataset
from tests.tools.toy_runs import NETWORK, smallest_config, toy_record
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
    assert lines["snapshots"].startswith("every 1 steps and after 10 minutes, scored every 2 steps; ")
    assert lines["weight decay"].startswith("L2, rate 0.0001: ")
    assert lines[""].startswith("none: ")
    assert (lines["weights"], lines["precision"]) == ("random", "float32")
    assert lines["run folder"] == str(tmp_path / "run")


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
    report._warn_of_flags_without_effect(config)
    assert len(caplog.messages) == (named is not None)
    assert (named or "") in caplog.text
    assert ("fewer after" in report._length(config, 6, 0)) == (flags.get("patience") == 4)


@pytest.mark.parametrize("save_memory", [0, 1, 2])
def test_saving_memory_is_not_recommended_to_those_who_do(toy_dir, save_memory):
    config = smallest_config(toy_dir, "log", accumulate=2, save_memory=save_memory, activation="leaky_relu")
    assert ("--save_memory 1" in report._other_way(config)) == (not save_memory)


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


def test_losses_in_one_line():
    config = smallest_config("toy", "log", loss_type="normal+0.5*dice", label_smoothing=0.1, class_weights="w.txt")
    assert report._loss(config) == "normal+0.5*dice, label smoothing 0.1, class weights w.txt"
    assert report._loss(smallest_config("toy", "log")) == "normal"
