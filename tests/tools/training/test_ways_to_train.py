"""Runs with accumulation, averages of the weights, AdamW and frozen parts resume exactly."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

from database.datasets import find_samples, get_dataset
from tests.tools.toy_runs import csv_rows, smallest_config, tensors_in, train_with, write_checkpoint
from tools.errors import FlagError
from tools.runs.agreement import check_same_run
from tools.runs.data_checksums import DataChecksums
from tools.runs.folder import RunFolder
from tools.training.samples import RunData
from tools.training.validation import validate

pytestmark = pytest.mark.usefixtures("narrow_resnet")

# Ways that have no state in common.
WAYS = {
    "accumulated": {"accumulate": 3, "clip_norm": 0.5, "lrn_rate_decoder": 0.05, "train_beta_gamma": False},
    "averaged": {"ema_decay": 0.9, "warmup_steps": 3, "optimizer": "adamw", "lr_schedule": "cosine"},
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_resumed_run_equals_the_uninterrupted_one(tmp_path, toy_dir, way):
    flags = {"train_max_iter": 4, "snapshot": 2, "deterministic": True, "snapshot_minutes": 0, **WAYS[way]}
    whole = train_with(smallest_config(str(toy_dir), str(tmp_path / "whole"), **flags))
    config = smallest_config(str(toy_dir), str(tmp_path / "parts"), **flags)
    parts = train_with(config)
    for name in os.listdir(parts.snapshots):
        if "-4." in name:
            os.unlink(os.path.join(parts.snapshots, name))
    train_with(dataclasses.replace(config, resume_step=2))
    expected, actual = tensors_in(whole.snapshot(4)), tensors_in(parts.snapshot(4))
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)
    assert [row["loss"] for row in csv_rows(parts)] == [row["loss"] for row in csv_rows(whole)]
    assert any("/average" in name for name in expected) == (way == "averaged")


@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_not_resumed_in_another_way(tiny_run, toy_dir, tmp_path, way):
    """A run of earlier versions, whose record does not have the flag, was trained with its default."""
    folder = RunFolder(str(tmp_path / "run"))
    shutil.copytree(tiny_run.folder.snapshots, folder.snapshots)
    path = os.path.join(folder.snapshots, "config.json")
    with open(path, encoding="utf-8") as file:
        record = json.load(file)
    for name in WAYS[way]:
        record["flags"].pop(name)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(record, file)
    dataset, config = get_dataset("Toy"), tiny_run.config
    data = DataChecksums.of(find_samples(dataset, toy_dir, ["train"]), toy_dir)
    check_same_run(folder, config, dataset, data)
    for name, value in WAYS[way].items():
        changed = dataclasses.replace(config, **{name: value})
        if changed != config:
            with pytest.raises(FlagError, match=f"--{name} is .*: resume with the flags of the run") as caught:
                check_same_run(folder, changed, dataset, data)
            assert folder.path in str(caught.value)


@pytest.mark.slow
def test_averages_are_scored_and_started_from(tmp_path, toy_dir, caplog):
    """Scores are those of a checkpoint that contains the averages as its weights; fine-tuning starts from them."""
    caplog.set_level("INFO")
    config = smallest_config(str(toy_dir), str(tmp_path / "log"), ema_decay=0.5, lrn_rate=0.1, train_max_iter=4)
    folder = train_with(config)
    tensors = tensors_in(folder.snapshot(4))
    averages = {name.removesuffix("/average"): tensors[name] for name in tensors if name.endswith("/average")}
    assert any(not np.array_equal(averages[name], tensors[name]) for name in averages)
    plain = write_checkpoint(str(tmp_path / "plain" / "model.ckpt-4"), averages)
    shutil.copy(os.path.join(folder.snapshots, "config.json"), tmp_path / "plain")

    dataset = get_dataset("Toy")
    data = RunData.of(dataset, str(toy_dir), [], find_samples(dataset, str(toy_dir), ["val"]))
    scored = [
        validate(dataclasses.replace(config, **flags), data, RunFolder(str(tmp_path)), prefix)
        for prefix, flags in (
            (folder.snapshot(4), {}), (plain, {}), (folder.snapshot(4), {"use_ema": False, "eval_only": True}),
        )
    ]  # fmt: skip
    assert scored[0] == scored[1] != scored[2]
    with pytest.raises(FlagError, match="--use_ema 0 has no effect") as caught:
        validate(dataclasses.replace(config, use_ema=False, eval_only=True), data, folder, plain)
    assert plain in str(caught.value)

    tuned = smallest_config(
        str(toy_dir), str(tmp_path / "tuned"), fine_tune_filename=folder.snapshot(4), save_first_iteration=True,
        train_max_iter=1, keep=5,
    )  # fmt: skip
    start = tensors_in(train_with(tuned).snapshot(0))
    assert "the averages of the weights are used" in caplog.text
    for name, value in averages.items():
        np.testing.assert_array_equal(start[name], value, err_msg=name)
