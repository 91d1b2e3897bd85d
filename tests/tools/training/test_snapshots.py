"""When the loop writes snapshots, and runs that are started again."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import tensorflow.compat.v1 as tf

from database.datasets import find_samples, get_dataset
from tests.tools.snapshot_folders import DATA_ENDING, ENDINGS, flip, save_as, visible
from tests.tools.toy_runs import csv_rows, smallest_config, toy_record, train_run, train_with
from tests.tools.training.trainers import run_steps, trainer_of
from tools.errors import FlagError, OutputError
from tools.flags.choices import LATEST
from tools.runs.folder import RunFolder, run_folder
from tools.runs.snapshots import snapshot_steps
from tools.training.samples import RunData
from tools.training.validation import validate

STEPS_WITHOUT_A_REASON = {"show_period": 100, "snapshot": 100, "train_max_iter": 12}


class TimedTrainer:
    """A trainer whose steps take no computing and 60 seconds by its own clock, and whose snapshots take 6."""

    def __init__(self, path: Path, **flags) -> None:
        self.seconds, self.written, self.scored = 1000.0, [], []
        config = smallest_config("toy", "log", **{**STEPS_WITHOUT_A_REASON, **flags})
        self.folder = RunFolder(str(path))

        def save(session, prefix, **options) -> None:
            assert options == {"write_meta_graph": False, "write_state": False}
            self.seconds += 6
            self.written.append(int(prefix.rpartition("-")[2]))
            save_as(f"step {self.written[-1]}")(prefix)

        def step(number):
            self.seconds += 60
            return {"result": None}

        weights = {}
        self.trainer = trainer_of(
            SimpleNamespace(graph=tf.get_default_graph(), run=lambda fetches: weights),
            SimpleNamespace(weights=weights), None, [], get_dataset("Toy"), config, self.folder,
            SimpleNamespace(save=save), toy_record(config), self.scored.append, clock=lambda: self.seconds,
        )  # fmt: skip
        self.trainer._step = step
        self.trainer._step_with_summary = step


def snapshots_of(path: Path, **flags) -> list[int]:
    with tf.Graph().as_default():
        timed = TimedTrainer(path, **flags)
        run_steps(timed.trainer, 0)
    return timed.written


@pytest.mark.parametrize(
    ("flags", "steps"),
    [({"snapshot_minutes": 0}, [12]),
     ({"snapshot_minutes": 0, "snapshot": 5}, [5, 10, 12]),
     ({"snapshot_minutes": 3}, [3, 6, 9, 12]),
     ({"snapshot_minutes": 2.5}, [3, 6, 9, 12]),
     ({"snapshot_minutes": 5, "snapshot": 4}, [4, 8, 12]),
     ({"snapshot_minutes": 3, "snapshot": 4}, [3, 4, 7, 8, 11, 12]),
     ({"snapshot_minutes": 12}, [12]),
     ({"snapshot_minutes": 4, "save_first_iteration": True}, [0, 4, 8, 12])],
)  # fmt: skip
def test_a_snapshot_some_minutes_after_the_last(tmp_path, flags, steps):
    assert snapshots_of(tmp_path, **flags) == steps


def test_ten_minutes_by_default(tmp_path):
    assert snapshots_of(tmp_path, train_max_iter=25) == [10, 20, 25]


def test_minutes_are_counted_from_the_start_of_the_run(tmp_path):
    with tf.Graph().as_default():
        timed = TimedTrainer(tmp_path, snapshot_minutes=5)
        timed.seconds += 10000  # until the first step
        run_steps(timed.trainer, 4)
    assert timed.written == [9, 12]


def test_snapshots_by_time_count_towards_those_kept_and_are_not_scored(tmp_path):
    with tf.Graph().as_default():
        timed = TimedTrainer(tmp_path, snapshot_minutes=3, val_every=4, keep=2)
        run_steps(timed.trainer, 0)
    assert timed.written == [3, 4, 7, 8, 11, 12]
    assert timed.scored == [4, 8]
    assert visible(timed.folder.snapshots) == {"model.ckpt-11": "step 11", "model.ckpt-12": "step 12"}
    assert sorted(os.listdir(timed.folder.snapshots)) == [
        "checkpoint", "config.json", *sorted(f"model.ckpt-{step}{ending}" for step in (11, 12) for ending in ENDINGS)
    ]  # fmt: skip


def test_a_snapshot_is_not_written_twice(tmp_path):
    with tf.Graph().as_default():
        timed = TimedTrainer(tmp_path)
        for step in (3, 3, 4, 4, 3):
            timed.trainer.save(step)
    assert timed.written == [3, 4, 3]


def test_a_saver_that_writes_nothing(tmp_path):
    with tf.Graph().as_default():
        timed = TimedTrainer(tmp_path)
        timed.trainer._snapshots._saver = SimpleNamespace(save=lambda *arguments, **options: None)
        with pytest.raises(OutputError, match=r"cannot write \(no model.ckpt-3.index was written\)"):
            timed.trainer.save(3)


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_resnet")
def test_the_same_command_begins_a_run_goes_on_and_ends(toy_dir, log_dir, caplog):
    caplog.set_level(logging.INFO)
    config = smallest_config(toy_dir, log_dir, auto_resume=True)
    folder = run_folder(config)
    os.makedirs(folder.snapshots)  # of a start that was killed before its first snapshot
    Path(folder.snapshots, f"model.ckpt-1{DATA_ENDING}").write_text("half")
    Path(folder.csv).write_text("step,loss\n1,9\n")
    train_with(config)
    assert snapshot_steps(folder) == [1, 2]
    losses = [row["loss"] for row in csv_rows(folder)]
    assert not os.path.exists(f"{folder.path}.earlier-1")
    assert f"{folder.path}: no snapshot to resume from, so the run begins" in caplog.messages

    flip(folder.snapshot(2) + DATA_ENDING, byte=1000)
    train_with(config)  # step 2 again
    assert [row["step"] for row in csv_rows(folder)] == [1, 2]
    assert [row["loss"] for row in csv_rows(folder)] == pytest.approx(losses, rel=1e-5)
    assert any(line.endswith(f" resumed from {folder.snapshot(1)}") for line in caplog.messages)
    assert [line for line in caplog.messages if "damaged" in line] == [
        f"{folder.snapshot(2)} is damaged and skipped: "
        f"model.ckpt-2{DATA_ENDING} differs from what was written, by its SHA-256"
    ]

    written = os.stat(folder.snapshot(2) + ".index").st_mtime_ns
    for changes in ({}, {"auto_resume": False, "resume_step": LATEST}):
        caplog.clear()
        train_with(dataclasses.replace(config, **changes))
        assert caplog.messages[-1].startswith(f"{folder.path}: the run is finished")
        assert caplog.messages[-1].endswith("step 2")
    assert os.stat(folder.snapshot(2) + ".index").st_mtime_ns == written
    assert os.listdir(os.path.dirname(folder.path)) == [os.path.basename(folder.path)]


@pytest.mark.usefixtures("narrow_resnet")
def test_a_finished_run_is_not_continued_with_other_flags_or_files(toy_dir, log_dir):
    """Its last snapshot would be scored as if it had been trained on them."""
    config = smallest_config(toy_dir, log_dir, run_name="finished")
    folder = train_with(config)
    dataset = get_dataset("Toy")
    train, val = (find_samples(dataset, toy_dir, [split]) for split in ("train", "val"))
    before = sorted(os.listdir(folder.path))
    for changes in ({"auto_resume": True}, {"resume_step": LATEST}):
        asking = dataclasses.replace(config, **changes)
        with pytest.raises(FlagError, match="training images and labels .* are not those"):
            train_run(asking, RunData.of(dataset, toy_dir, train[1:], val), folder)
        with pytest.raises(FlagError, match="--lrn_rate is 0.5"):
            train_run(dataclasses.replace(asking, lrn_rate=0.5), RunData.of(dataset, toy_dir, train, val), folder)
        assert train_run(asking, RunData.of(dataset, toy_dir, train, val), folder) == folder.snapshot(2)
    assert sorted(os.listdir(folder.path)) == before


@pytest.mark.usefixtures("narrow_resnet")
def test_the_best_of_a_finished_run_keeps_its_validation_images(toy_dir, log_dir):
    config = smallest_config(toy_dir, log_dir, run_name="best", val_every=2, auto_resume=True)
    dataset, folder = get_dataset("Toy"), run_folder(config)
    train, val = (find_samples(dataset, toy_dir, [split]) for split in ("train", "val"))
    data = RunData.of(dataset, toy_dir, train, val[:1])
    validate(config, data, folder, str(train_run(config, data, folder)))
    with pytest.raises(FlagError, match="scored with other settings.*validation images"):
        train_run(config, RunData.of(dataset, toy_dir, train, val[1:2]), folder)


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_resnet")
def test_a_run_that_was_set_aside_is_continued_as_its_message_says(toy_dir, log_dir, caplog):
    caplog.set_level(logging.INFO)
    config = smallest_config(toy_dir, log_dir, run_name="first", train_max_iter=1)
    for _ in range(2):
        train_with(config)
    [line] = [line for line in caplog.messages if "was moved to" in line]
    earlier, renamed, flags = re.search(r"moved to (\S+); .* this folder to (\S+) and add (--.*) to its", line).groups()
    with pytest.raises(FlagError, match="rename its folder, .*first-1, and give --run_name first-1"):
        smallest_config(toy_dir, log_dir, run_name=os.path.basename(earlier))
    os.rename(earlier, renamed)
    assert flags == f"--run_name {os.path.basename(renamed)} --resume_step latest"
    more = dataclasses.replace(config, run_name=os.path.basename(renamed), resume_step=LATEST, train_max_iter=2)
    assert snapshot_steps(train_with(more)) == [1, 2]
    assert f"weights       resumed from {renamed}/snapshot/model.ckpt-1" in caplog.messages
