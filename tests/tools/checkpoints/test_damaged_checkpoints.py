"""Which checkpoint is taken where some are damaged, by folder and by name."""

from __future__ import annotations

import os

import pytest

from tests.tools.snapshot_folders import flip, run_with, write
from tools.checkpoints.find import newest_snapshot, resolve_checkpoint
from tools.errors import CheckpointError


def test_newest_sound_snapshot_of_the_newest_run(tmp_path, caplog):
    """Not of another run, whose snapshot may be newer than the run's one before."""
    older = write(str(tmp_path / "log" / "ADE" / "b" / "snapshot" / "model.ckpt-90"), age=30)
    run = run_with(tmp_path / "log" / "ADE" / "a", 5, 7)  # a minute apart
    os.utime(run.snapshot(7) + ".index")
    assert newest_snapshot(str(tmp_path / "log")) == run.snapshot(7)
    assert caplog.messages == []
    flip(run.snapshot(7) + ".index")
    assert newest_snapshot(str(tmp_path / "log")) == run.snapshot(5)
    assert [line.partition(":")[0] for line in caplog.messages] == [f"{run.snapshot(7)} is damaged and skipped"]
    flip(run.snapshot(5) + ".index")
    with pytest.raises(CheckpointError, match=f"{run.snapshots}: every snapshot of the newest run is damaged"):
        newest_snapshot(str(tmp_path / "log"))
    assert os.path.exists(older + ".index")


def test_damaged_checkpoints_by_folder_and_by_name(tmp_path, caplog):
    run = run_with(tmp_path / "run", 5, 7)
    flip(run.snapshot(7) + ".data-00000-of-00001")
    assert resolve_checkpoint(run.path) == resolve_checkpoint(run.snapshots) == run.snapshot(5)
    assert len(caplog.messages) == 2
    with pytest.raises(CheckpointError, match=rf"ckpt-7: the checkpoint is damaged \(.*\): use {run.snapshot(5)}, the"):
        resolve_checkpoint(run.snapshot(7) + ".index")
    flip(run.snapshot(5) + ".data-00000-of-00001")
    for path in (run.path, run.snapshots):
        with pytest.raises(CheckpointError, match=f"^{path}: every checkpoint in this folder is damaged: "):
            resolve_checkpoint(path)
