"""Which checkpoint is taken where some are damaged, by folder and by name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.tools.snapshot_folders import flip, run_with, write
from tools.checkpoints.find import newest_snapshot, newest_sound, resolve_checkpoint
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


@pytest.mark.parametrize("has_serials", [False, True])
def test_a_snapshot_whose_manifest_is_damaged_is_named(tmp_path, caplog, has_serials):
    """Its serial number is unknown, so it comes last among those that have one."""
    run = run_with(tmp_path / "log" / "ADE" / "a", 4, 6, 8)
    for serial, step in enumerate((4, 8) if has_serials else (), start=1):
        manifest = Path(run.snapshot(step) + ".manifest.json")
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "serial": serial, "written": 1e9 + serial}))
    flip(run.snapshot(8) + ".index")
    with open(run.snapshot(6) + ".manifest.json", "w", encoding="utf-8") as file:
        file.write("{")
    assert newest_sound(run.snapshots) == run.snapshot(4)
    named = [line.partition(":")[0] for line in caplog.messages]
    assert named == [f"{run.snapshot(8)} is damaged and skipped", f"{run.snapshot(6)} is damaged and skipped"]
    caplog.clear()
    assert newest_sound(run.snapshots, last_step=5) == run.snapshot(4)
    assert caplog.messages == []
