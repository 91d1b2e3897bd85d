"""What the folder of a run says about it, and what happens where something is missing or damaged."""

from __future__ import annotations

import json
import os
import shlex
import socket

import pytest

from tests.tools.report.written_run import NAMES, PALETTE, scores_file, write_run
from tools.errors import FlagError
from tools.flags.parsing import parse_flags
from tools.flags.train import TrainConfig
from tools.report import reported_run
from tools.report.reported_run import read_reported_runs, training_command, unknown_flags
from tools.report.run_facts import facts, figures, missing, state
from tools.runs.commands import add_command
from tools.runs.record import CONFIG_NAME


def read(*folders):
    return read_reported_runs([str(folder) for folder in folders], "none")


def test_run(tmp_path):
    [run] = read(write_run(tmp_path, "a", scores={40: 0.5, 20: 0.25}, train_max_iter=40))
    assert (run.name, run.class_names, run.palette) == (os.path.join("CamVid", "a"), NAMES, PALETTE)
    assert [scores.score.step for scores in run.class_scores()] == [40, 20]
    assert run.class_scores()[0].iou == [("sky", 0.5), ("road", pytest.approx(1 / 3)), ("car", None)]
    assert run.curves.last_step == 40
    assert not run.is_training
    assert state(run) == "trained to step 40 of 40"
    assert ("50.00 %", "mean IoU, scores-40") in figures(run)
    assert list(missing(run)) == []


def test_a_part_of_a_run_means_the_run(tmp_path):
    folder = write_run(tmp_path, "a")
    (folder / "snapshot").mkdir()
    assert [run.path for run in read(folder / "snapshot")] == [str(folder)]


def test_run_that_trains(tmp_path):
    folder = write_run(tmp_path, "a", train_max_iter=100)
    lock = folder / "lock"
    for host, pid, expected in ((socket.gethostname(), os.getpid(), True), ("elsewhere", 1, True),
                                (socket.gethostname(), 2**22 + 1, False)):  # fmt: skip
        lock.write_text(json.dumps({"pid": pid, "host": host, "started": "", "command": ""}))
        [run] = read(folder)
        assert run.is_training is expected
        assert ("still training, at step 40 of 100" in state(run)) is expected
    lock.write_text("{")
    assert not read(folder)[0].is_training
    assert state(read(folder)[0]) == "is not training; its curves end at step 40 of 100"


def test_damaged_record(tmp_path):
    folder = write_run(tmp_path, "a", scores={40: 0.5})
    (folder / "config.json").write_text("{")
    [run] = read(folder)
    assert (run.record, run.class_names) == ({}, ())
    assert run.curves.last_step == 40
    assert any("config.json is missing or damaged" in line for line in missing(run))
    assert facts(run)[-2:] == [("folder", str(folder)), ("id", "none: an earlier version wrote this run")]


def test_everything_that_is_missing_is_named(tmp_path):
    folder = write_run(tmp_path, "a")
    (folder / "training.csv").unlink()
    words = " ".join(missing(read(folder)[0]))
    assert "no curves" in words
    assert "--val_every" in words
    assert f"python predict.py --weights_ckpt {folder}" in words


@pytest.mark.parametrize(
    "classes", [None, [], [1], [{"name": 1, "iou": 0}], [{"name": "a", "iou": 7}], [{"name": "a"}]]
)
def test_damaged_scores(tmp_path, classes):
    folder = write_run(tmp_path, "a")
    (folder / "scores-7.json").write_text(json.dumps({**scores_file(7, 0.5, [0, 0, 0]), "classes": classes}))
    assert read(folder)[0].class_scores() == []


@pytest.mark.parametrize("palette", [None, [[1, 2, 3]], [[1, 2, 3], [4, 5, 6], [7, 8, 900]], "abc"])
def test_damaged_palette(tmp_path, palette):
    folder = write_run(tmp_path, "a")
    record = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**record, "palette": palette}))
    colors = read(folder)[0].palette
    assert len({*colors}) == 3


def test_paths_that_are_no_run(tmp_path):
    write_run(tmp_path, "a")
    for path in (tmp_path / "none", tmp_path, tmp_path / "CamVid" / "a" / "config.json"):
        with pytest.raises(FlagError, match="not"):
            read(path)
    with pytest.raises(FlagError, match="twice"):
        read(tmp_path / "CamVid" / "a", tmp_path / "CamVid" / "b" / ".." / "a")


def test_runs_of_the_same_name(tmp_path):
    folders = [write_run(tmp_path / log, "a") for log in ("x", "y")]
    assert [run.name for run in read(*folders)] == [str(folder) for folder in folders]


def test_long_names_have_short_labels(tmp_path):
    names = [
        f"resnet_v1_50-816-train-L2-SP-wd_alpha0.0001-wd_beta0.001-{ending}" for ending in ("0fa81bf9", "1bfe5b27")
    ]
    runs = read(*(write_run(tmp_path, name) for name in names), write_run(tmp_path, "mine"))
    assert [run.label for run in runs] == ["0fa81bf9", "1bfe5b27", os.path.join("CamVid", "mine")]
    assert runs[0].name == os.path.join("CamVid", names[0])


def test_command_trains_with_the_recorded_flags(tmp_path):
    config = TrainConfig(
        database="CamVid", data_dir="a b", poly_lr=False,
        lr_step=(3, 7), random_mirror=False, clip_norm=0.5, run_name="it's",
        network="resnet_v1_18", train_image_size="360x480",
    )  # fmt: skip
    flags = json.loads(json.dumps(config.__dict__))
    words = shlex.split(training_command(flags))
    assert words[:2] == ["python", "train.py"]
    assert parse_flags(TrainConfig, words[2:], "") == config
    assert len(words) == 2 + 2 * 9


def test_commands_are_those_that_were_given(tmp_path):
    folder = write_run(tmp_path, "a")
    assert read(folder)[0].commands == []
    add_command(str(folder), ["train.py", "--old_name", "1"])
    assert read(folder)[0].commands == ["python train.py --old_name 1"]


def test_flags_that_train_no_longer_has_are_named():
    flags = {**json.loads(json.dumps(TrainConfig().__dict__)), "old_name": 3}
    assert unknown_flags(flags) == ["old_name"]
    assert "old_name" not in training_command(flags)


def test_curves_are_read_once(tmp_path, monkeypatch):
    folder = write_run(tmp_path, "a")
    first = read(folder)
    monkeypatch.setattr(reported_run, "read_curves", None)
    again = reported_run.read_reported_runs([str(folder)], "val_set", first)
    assert again[0].curves is first[0].curves


def test_names_are_those_of_the_record():
    assert reported_run._RECORD == CONFIG_NAME
