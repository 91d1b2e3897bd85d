"""Snapshots of a run while it trains."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.tools.snapshot_folders import DATA_ENDING, flip, run_with
from tests.tools.toy_runs import smallest_config, toy_record
from tools.errors import CheckpointError
from tools.runs import following
from tools.runs.folder import RunFolder


def _snapshot(folder: RunFolder, step: int) -> None:
    os.makedirs(folder.snapshots, exist_ok=True)
    for ending in (DATA_ENDING, ".index"):
        with open(folder.snapshot(step) + ending, "w"):
            pass


def test_snapshots_are_given_as_they_appear(tmp_path):
    folder = RunFolder(str(tmp_path))
    later = [lambda: None, lambda: _snapshot(folder, 20), lambda: None, lambda: (_snapshot(folder, 40), end())]

    def end() -> None:
        toy_record(smallest_config("toy", "log", train_max_iter=40)).write(folder.snapshots)

    def wait(seconds: float) -> None:
        assert seconds == 10
        later.pop(0)()

    _snapshot(folder, 10)
    _snapshot(folder, 5)
    found = [(step, os.path.basename(prefix)) for step, prefix in following.appearing_snapshots(folder, wait)]
    assert found == [(step, f"model.ckpt-{step}") for step in (5, 10, 20, 40)]
    assert later == []


def test_a_finished_run_is_not_waited_for(tmp_path):
    folder = RunFolder(str(tmp_path))
    toy_record(smallest_config("toy", "log", train_max_iter=7)).write(folder.snapshots)
    _snapshot(folder, 7)
    assert [step for step, _ in following.appearing_snapshots(folder, pytest.fail)] == [7]


def test_a_damaged_snapshot_is_logged_and_skipped(tmp_path, caplog):
    folder = run_with(tmp_path, 3, 5, 7)
    toy_record(smallest_config("toy", "log", train_max_iter=7)).write(folder.snapshots)
    for step in (3, 7):
        flip(folder.snapshot(step) + ".index")
    assert [step for step, _ in following.appearing_snapshots(folder, pytest.fail)] == [5]
    assert [line.partition(":")[0] for line in caplog.messages] == [
        f"{folder.snapshot(step)} is damaged and skipped" for step in (3, 7)
    ]


def test_an_index_without_manifest_and_data_is_damaged(tmp_path, caplog):
    folder = run_with(tmp_path, 3)
    toy_record(smallest_config("toy", "log", train_max_iter=7)).write(folder.snapshots)
    _snapshot(folder, 7)
    os.unlink(folder.snapshot(7) + DATA_ENDING)
    assert [step for step, _ in following.appearing_snapshots(folder, pytest.fail)] == [3]
    assert caplog.messages == [f"{folder.snapshot(7)} is damaged and skipped: it has no .data file"]


def test_a_snapshot_that_is_removed_while_it_is_looked_at_is_not_called_damaged(tmp_path, caplog, monkeypatch):
    folder = run_with(tmp_path, 7)
    toy_record(smallest_config("toy", "log", train_max_iter=7)).write(folder.snapshots)

    def removed(prefix):
        os.unlink(prefix + ".index")
        return "model.ckpt-7.index is missing"

    monkeypatch.setattr(following.snapshot_files, "fault_of", removed)
    assert [step for step, _ in following.appearing_snapshots(folder, pytest.fail)] == [7]
    assert caplog.messages == []


def test_the_folder_of_the_run_or_of_its_snapshots(tmp_path, monkeypatch):
    (tmp_path / "run" / "snapshot").mkdir(parents=True)
    for path in ("run", "run/", "run/snapshot", "run/snapshot/"):
        monkeypatch.chdir(tmp_path)
        assert following.followed_run(path).path == str(tmp_path / "run")
    with pytest.raises(CheckpointError, match="--follow none: no such folder"):
        following.followed_run("none")


def test_a_snapshot_that_is_replaced_while_it_is_looked_at_is_not_called_damaged(tmp_path, caplog, monkeypatch):
    folder = run_with(tmp_path, 7)
    toy_record(smallest_config("toy", "log", train_max_iter=7)).write(folder.snapshots)
    index = folder.snapshot(7) + ".index"

    def replaced(prefix):
        shutil.copyfile(index, f"{index}.new")
        os.replace(f"{index}.new", index)
        return "model.ckpt-7.index differs"

    monkeypatch.setattr(following.snapshot_files, "fault_of", replaced)
    assert 7 in [step for step, _ in following.appearing_snapshots(folder, pytest.fail)]
    assert caplog.messages == []


def test_earlier_steps_are_skipped(tmp_path):
    folder = run_with(tmp_path, 3, 5, 7)
    toy_record(smallest_config("toy", "log", train_max_iter=7)).write(folder.snapshots)
    assert [step for step, _ in following.appearing_snapshots(folder, pytest.fail, first_step=5)] == [5, 7]
    with pytest.raises(CheckpointError, match=r"--from_step 8 is after the last step of .*, which is 7"):
        list(following.appearing_snapshots(folder, pytest.fail, first_step=8))
