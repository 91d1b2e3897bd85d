"""The snapshots of a run: listed, and selected to resume from or to score."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
import tensorflow.compat.v1 as tf

from tests.tools.snapshot_folders import DATA_ENDING, ENDINGS, flip, outcomes, run_with, save_as, truncate, visible
from tests.tools.toy_runs import tiny_config, train_with
from tools.errors import CheckpointError
from tools.runs.folder import RunFolder, run_folder
from tools.runs.snapshots import (
    check_resume_step,
    has_snapshots,
    snapshot_steps,
    snapshot_to_score,
    step_to_resume,
    write_snapshot,
)


def test_steps(tiny_run, tmp_path):
    assert snapshot_steps(tiny_run.folder) == [2, 4]
    assert snapshot_steps(run_folder(tiny_config("toy", str(tmp_path)))) == []


def test_snapshot_to_score(tiny_run):
    config, folder = tiny_run.config, tiny_run.folder
    assert snapshot_to_score(config, folder) == folder.snapshot(4)
    only = dataclasses.replace(config, eval_only=True)
    assert snapshot_to_score(only, folder) == folder.snapshot(4)
    assert snapshot_to_score(dataclasses.replace(only, resume_step=2), folder) == folder.snapshot(2)
    assert snapshot_to_score(dataclasses.replace(config, resume_step=2), folder) == folder.snapshot(4)
    with pytest.raises(CheckpointError, match="there is no such checkpoint; the newest in its folder is .*ckpt-4"):
        snapshot_to_score(dataclasses.replace(only, resume_step=3), folder)


def test_resume_from_a_step_that_exists(tiny_run):
    assert check_resume_step(tiny_run.folder, 2, 4) == tiny_run.folder.snapshot(2)


@pytest.mark.parametrize(
    ("step", "max_steps", "words"),
    [(3, 4, r"no snapshot of --resume_step 3 \(its folder has steps 2, 4\)"),
     (4, 4, "--resume_step 4 is not below --train_max_iter 4, so no steps are left"),
     (4, 3, "--resume_step 4 is not below --train_max_iter 3")],
)  # fmt: skip
def test_resume_from_another_step(tiny_run, step, max_steps, words):
    with pytest.raises(CheckpointError, match=words):
        check_resume_step(tiny_run.folder, step, max_steps)


def test_resume_of_a_run_that_does_not_exist(toy_dir, log_dir):
    config = tiny_config(toy_dir, log_dir, resume_step=5)
    with pytest.raises(CheckpointError, match=r"no snapshot of --resume_step 5 \(its folder has none\)"):
        train_with(config)
    assert not os.path.exists(log_dir)
    os.makedirs(run_folder(dataclasses.replace(config, resume_step=0)).snapshots)
    with pytest.raises(CheckpointError, match=r"no snapshot of --resume_step 0 \(its folder has none\)"):
        train_with(dataclasses.replace(config, resume_step=0))


LATEST = tiny_config("toy", "log", resume_step="latest")
AUTOMATIC = tiny_config("toy", "log", auto_resume=True)


def test_step_that_is_said_is_the_one_to_resume(tmp_path):
    folder = run_with(tmp_path, 2, 4)
    assert step_to_resume(dataclasses.replace(LATEST, resume_step=2), folder) == 2
    assert step_to_resume(dataclasses.replace(LATEST, resume_step=None), folder) is None


@pytest.mark.parametrize("config", [LATEST, AUTOMATIC])
def test_newest_sound_snapshot_is_the_one_to_resume(tmp_path, caplog, config):
    caplog.set_level("WARNING")
    folder = run_with(tmp_path, 2, 9, 4)
    assert step_to_resume(config, folder) == 4  # written last
    assert caplog.messages == []
    flip(folder.snapshot(4) + DATA_ENDING)
    assert step_to_resume(config, folder) == 9
    truncate(folder.snapshot(9) + ".index")
    assert step_to_resume(config, folder) == 2
    warnings = [
        f"{folder.snapshot(4)} is damaged and skipped: "
        f"model.ckpt-4{DATA_ENDING} differs from what was written, by its SHA-256",
        f"{folder.snapshot(9)} is damaged and skipped: model.ckpt-9.index has 12 bytes instead of 13",
    ]
    assert caplog.messages == [warnings[0], *warnings]


@pytest.mark.parametrize("damaged", [(), (1, 2)])
def test_no_sound_snapshot_to_resume(tmp_path, damaged):
    folder = run_with(tmp_path, *damaged)
    for step in damaged:
        flip(folder.snapshot(step) + ".index")
    words = f"{folder.snapshots}: --resume_step latest found no undamaged snapshot: drop it to"
    with pytest.raises(CheckpointError, match=words):
        step_to_resume(LATEST, folder)
    assert step_to_resume(AUTOMATIC, folder) is None


def test_latest_and_its_number_are_the_same_start(tiny_run):
    """Both flags give the same step, so that the runs do not differ."""
    config = dataclasses.replace(tiny_run.config, resume_step="latest", train_max_iter=6)
    resolved = dataclasses.replace(config, resume_step=step_to_resume(config, tiny_run.folder))
    assert resolved == dataclasses.replace(tiny_run.config, resume_step=4, train_max_iter=6)


def test_weights_of_a_run(tmp_path):
    folder = RunFolder(str(tmp_path))
    assert not has_snapshots(folder)
    Path(folder.path, "training.csv").write_text("step")
    os.makedirs(folder.snapshots)
    assert not has_snapshots(folder)
    run_with(tmp_path, 3)
    assert has_snapshots(folder)
    os.rename(folder.snapshots, folder.best)
    assert has_snapshots(folder)


def test_damaged_snapshot_that_was_requested(tmp_path, caplog):
    folder = run_with(tmp_path, 2, 4, 6)
    flip(folder.snapshot(4) + ".index")
    scored = dataclasses.replace(LATEST, resume_step=4, eval_only=True)
    undamaged = folder.snapshot(6)
    for use in (lambda: check_resume_step(folder, 4, 9), lambda: snapshot_to_score(scored, folder)):
        with pytest.raises(CheckpointError) as caught:
            use()
        message = str(caught.value)
        assert message.startswith(f"{folder.snapshot(4)}: the checkpoint is damaged (model.ckpt-4.index ")
        assert message.endswith(f": use {undamaged}, the newest undamaged one")
        if undamaged == folder.snapshot(6):
            os.unlink(folder.snapshot(6) + DATA_ENDING)
            undamaged = folder.snapshot(2)
    flip(folder.snapshot(2) + ".index")
    with pytest.raises(CheckpointError, match="no undamaged one$"):
        check_resume_step(folder, 4, 9)
    assert caplog.messages == []


def test_last_sound_snapshot_is_scored(tmp_path, caplog):
    folder = run_with(tmp_path, 2, 4)
    flip(folder.snapshot(4) + ".index")
    for config in (LATEST, dataclasses.replace(LATEST, eval_only=True), dataclasses.replace(AUTOMATIC)):
        caplog.clear()
        assert snapshot_to_score(config, folder) == folder.snapshot(2)
        assert len(caplog.messages) == 1


def write_step(folder: str | RunFolder, step: int, keep: int) -> None:
    folder = folder if isinstance(folder, RunFolder) else RunFolder(folder)
    write_snapshot(folder, step, keep, save_as(f"step {step}"))


def state(folder: RunFolder) -> tuple[str, list[str]]:
    """Returns the latest snapshot and all snapshots according to TensorFlow's file `checkpoint`."""
    found = tf.train.get_checkpoint_state(folder.snapshots)
    return found.model_checkpoint_path, list(found.all_model_checkpoint_paths)


def test_newest_snapshots_are_kept(tmp_path):
    folder = run_with(tmp_path)
    for step, steps in ((0, [0]), (2, [0, 2]), (4, [0, 2, 4]), (6, [2, 4, 6]), (6, [2, 4, 6])):
        write_step(folder, step, 3)
        assert snapshot_steps(folder) == steps
        assert state(folder) == (folder.snapshot(step), [folder.snapshot(kept) for kept in steps])
        assert tf.train.latest_checkpoint(folder.snapshots) == folder.snapshot(step)
    write_step(folder, 8, 1)
    assert sorted(os.listdir(folder.snapshots)) == [
        "checkpoint", "config.json", *sorted(f"model.ckpt-8{ending}" for ending in ENDINGS)
    ]  # fmt: skip


def test_snapshots_of_later_steps_that_were_left_are_pruned_first(tmp_path):
    """Snapshots of a run that was resumed from an earlier step than its last count as newer."""
    folder = run_with(tmp_path, 2, 40)
    write_step(folder, 4, 2)
    assert snapshot_steps(folder) == [4, 40]
    assert state(folder)[0] == folder.snapshot(4)
    write_step(folder, 6, 2)
    assert snapshot_steps(folder) == [4, 6]


def test_the_snapshot_just_written_stays_whatever_the_clock_says(tmp_path):
    folder = run_with(tmp_path, 1, 2)
    for step in (1, 2):
        os.utime(folder.snapshot(step) + ".index", (2**32, 2**32))
    write_step(folder, 3, 1)
    assert snapshot_steps(folder) == [3]


def test_files_that_are_no_snapshots_of_the_run_are_not_pruned(tmp_path):
    folder = run_with(tmp_path)
    for name in ("other-1.index", "model.ckpt.index", "model.ckpt-01.index"):
        Path(folder.snapshots, name).write_text("")
    write_step(folder, 2, 1)
    assert {"other-1.index", "model.ckpt.index", "model.ckpt-01.index"} < set(os.listdir(folder.snapshots))


@pytest.mark.parametrize("killed", [True, False])
def test_wherever_writing_and_pruning_stop_what_is_seen_is_whole(tmp_path, killed):
    def look(path):
        folder = RunFolder(path)
        found = visible(folder.snapshots)
        latest, kept = state(folder)
        assert os.path.basename(latest) in found
        assert {os.path.basename(prefix) for prefix in kept} <= set(found)
        return tuple(sorted(found))

    def start(path):
        run_with(path)
        for step in (1, 2):
            write_step(path, step, 2)

    found = outcomes(start, lambda path: write_step(path, 3, 2), look, tmp_path, killed=killed)
    order = [(1, 2), (1, 2, 3), (2, 3)]
    steps = [tuple(int(name.rpartition("-")[2]) for name in names) for names in found]
    assert set(steps) == set(order)
    assert not killed or steps == sorted(steps, key=order.index)


def test_state_file_is_that_of_the_saver(tmp_path, monkeypatch):
    """The file equals the one that TensorFlow writes for a relative folder, whose paths are relative, too."""
    monkeypatch.chdir(tmp_path)
    folder = run_with("run")
    write_step(folder, 1, 2)
    write_step(folder, 2, 2)
    ours = Path(folder.snapshots, "checkpoint").read_text()
    prefixes = [folder.snapshot(1), folder.snapshot(2)]
    tf.train.update_checkpoint_state(folder.snapshots, prefixes[1], prefixes)
    assert Path(folder.snapshots, "checkpoint").read_text() == ours


def test_tensorflows_list_in_a_folder_whose_path_is_not_utf8(tmp_path):
    run = run_with(tmp_path / os.fsdecode(b"run \xff"))
    for step in (3, 5):
        write_snapshot(run, step, 2, save_as("x"))
    with open(os.path.join(run.snapshots, "checkpoint"), encoding="utf-8") as file:
        lines = file.read().splitlines()
    assert lines == [
        'model_checkpoint_path: "model.ckpt-5"',
        'all_model_checkpoint_paths: "model.ckpt-3"',
        'all_model_checkpoint_paths: "model.ckpt-5"',
    ]
