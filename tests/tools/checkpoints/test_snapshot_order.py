"""Which snapshot is the newest: by serial numbers, whatever the clock said and whatever a copy did to the times."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.snapshot_folders import run_with, save_as, visible, write
from tests.tools.toy_runs import smallest_config, toy_record
from tools.checkpoints.files import fault_of
from tools.checkpoints.find import newest_first, newest_snapshot, resolve_checkpoint
from tools.errors import CheckpointError, DivergedError
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder
from tools.runs.following import appearing_snapshots
from tools.runs.snapshots import snapshot_steps, snapshot_to_score, step_to_resume, write_snapshot
from tools.training.rollback import roll_back

LATEST = TrainConfig(batch_size=2, resume_step="latest")


def write_step(folder: RunFolder, step: int, keep: int = 99) -> None:
    write_snapshot(folder, step, keep, save_as(f"step {step}"))


def set_times(folder: RunFolder, times: dict[int, float]) -> None:
    for step, seconds in times.items():
        os.utime(folder.snapshot(step) + ".index", (seconds, seconds))


def changed_manifest(prefix: str, **changes: object) -> None:
    path = Path(prefix + ".manifest.json")
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in content.items() if value != "absent"}))


@pytest.mark.parametrize("times", [{2: 3e9, 4: 2e9, 6: 1e9}, {2: 5, 4: 5, 6: 5}, {2: 9, 4: 1, 6: 5}], ids=str)
def test_serial_numbers_decide_against_any_times(tmp_path, times):
    folder = run_with(tmp_path)
    for step in times:
        write_step(folder, step)
    set_times(folder, times)
    assert newest_first(folder.snapshots) == [folder.snapshot(step) for step in (6, 4, 2)]
    assert resolve_checkpoint(folder.path) == folder.snapshot(6)
    assert step_to_resume(LATEST, folder) == 6
    assert snapshot_to_score(LATEST, folder) == folder.snapshot(6)
    write_step(folder, 8, keep=2)
    assert snapshot_steps(folder) == [6, 8]
    assert 'model_checkpoint_path: "' + folder.snapshot(8) in Path(folder.snapshots, "checkpoint").read_text()


@settings(deadline=None, max_examples=30)
@given(
    steps=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    times=st.lists(st.floats(0, 4e9), min_size=6, max_size=6),
)
def test_the_snapshot_written_last_is_the_newest(tmp_path_factory, steps, times):
    """Also where the run went back to earlier steps and wrote some again."""
    folder = run_with(tmp_path_factory.mktemp("run"))
    for step in steps:
        write_step(folder, step)
        set_times(folder, {other: times[other] for other in snapshot_steps(folder)})
    written = list(dict.fromkeys(reversed(steps)))  # each step when it was last written
    assert newest_first(folder.snapshots) == [folder.snapshot(step) for step in written]
    assert visible(folder.snapshots) == {f"model.ckpt-{step}": f"step {step}" for step in written}


def test_snapshots_of_earlier_versions_are_read_and_are_older(tmp_path):
    folder = run_with(tmp_path, 40, 20)  # without numbers; 20 was written last
    assert newest_first(folder.snapshots) == [folder.snapshot(20), folder.snapshot(40)]
    write_step(folder, 22)
    set_times(folder, {20: 4e9, 40: 3e9, 22: 1e9})
    assert newest_first(folder.snapshots) == [folder.snapshot(step) for step in (22, 20, 40)]
    write_step(folder, 24, keep=2)
    assert snapshot_steps(folder) == [22, 24]


def test_a_copy_keeps_the_order(tmp_path):
    folder = run_with(tmp_path / "run")
    for step in (9, 3):
        write_step(folder, step)
    copied = RunFolder(str(tmp_path / "copy"))
    os.makedirs(copied.snapshots)
    for name in sorted(os.listdir(folder.snapshots)):  # as cp -r does: new times, in the order of names
        shutil.copyfile(os.path.join(folder.snapshots, name), os.path.join(copied.snapshots, name))
    assert step_to_resume(LATEST, copied) == 3


def test_rolling_back_goes_by_numbers(tmp_path):
    folder = run_with(tmp_path)
    for step in (2, 4, 6):
        write_step(folder, step)
    set_times(folder, {2: 9, 4: 5, 6: 1})
    assert roll_back(folder, DivergedError("x", "the loss is not finite", step=5, saved_step=4), 0) == 4


def test_the_snapshot_that_training_ended_with_is_scored(tmp_path):
    folder = run_with(tmp_path, 2, 4)
    assert snapshot_to_score(LATEST, folder, folder.snapshot(2)) == folder.snapshot(2)
    os.truncate(folder.snapshot(2) + ".index", 1)
    with pytest.raises(CheckpointError, match="ckpt-2: the checkpoint is damaged .*: use .*ckpt-4"):
        snapshot_to_score(LATEST, folder, folder.snapshot(2))


@pytest.mark.parametrize(
    "changes",
    [{"serial": 0}, {"serial": -1}, {"serial": True}, {"serial": 1.5}, {"serial": "7"}, {"serial": None},
     {"serial": 1 << 63}, {"written": None}, {"written": "now"}, {"written": float("nan")}, {"written": float("inf")},
     {"written": 10**400}, {"written": "absent"}],
    ids=str,
)  # fmt: skip
def test_damaged_numbers(tmp_path, changes):
    """Are a damaged manifest, and never hide the others."""
    folder = run_with(tmp_path)
    for step in (2, 4):
        write_step(folder, step)
    changed_manifest(folder.snapshot(4), **changes)
    assert "model.ckpt-4.manifest.json is not a manifest" in str(fault_of(folder.snapshot(4)))
    assert newest_first(folder.snapshots) == [folder.snapshot(2), folder.snapshot(4)]
    write_step(folder, 6)
    assert step_to_resume(LATEST, folder) == 6


def write_run(path: Path, step: int, written: float | None) -> str:
    """A run with one snapshot, of a time by its manifest or, for None, of an earlier version."""
    folder = run_with(path)
    if written is None:
        return write(folder.snapshot(step))
    write_step(folder, step)
    changed_manifest(folder.snapshot(step), written=written)
    return folder.snapshot(step)


def test_times_noted_by_the_runs_decide_between_them(tmp_path):
    now = time.time()
    written_last = write_run(tmp_path / "log" / "ADE" / "a", 5, now - 10)
    os.utime(written_last + ".index", (1, 1))
    write_run(tmp_path / "log" / "ADE" / "b", 90, now - 20)  # by its file the newest
    assert newest_snapshot(str(tmp_path / "log")) == written_last
    old = write_run(tmp_path / "log" / "ADE" / "c", 1, None)
    os.utime(old + ".index", (now - 15, now - 15))
    assert newest_snapshot(str(tmp_path / "log")) == written_last
    os.utime(old + ".index", (now - 5, now - 5))
    assert newest_snapshot(str(tmp_path / "log")) == old


def test_a_run_of_the_future_is_no_guess(tmp_path):
    ahead = write_run(tmp_path / "log" / "ADE" / "a", 5, time.time() + 3600)
    assert newest_snapshot(str(tmp_path / "log")) == ahead  # the only one
    other = write_run(tmp_path / "log" / "ADE" / "b", 7, time.time() - 5)
    with pytest.raises(CheckpointError) as caught:
        newest_snapshot(str(tmp_path / "log"))
    assert str(caught.value).startswith(f"{ahead}: ")
    for word in ("in the future", other, "--weights_ckpt"):
        assert word in str(caught.value)
    changed_manifest(ahead, written=time.time() + 20)  # machines that share a folder
    assert newest_snapshot(str(tmp_path / "log")) == ahead


def test_runs_of_equal_times_are_no_guess(tmp_path):
    prefixes = [write_run(tmp_path / "log" / "ADE" / name, 5, None) for name in "ab"]
    for prefix in prefixes:
        os.utime(prefix + ".index", (1000, 1000))
    with pytest.raises(CheckpointError, match=r"the same time, .* 1970, .*--weights_ckpt") as caught:
        newest_snapshot(str(tmp_path / "log"))
    assert all(prefix in str(caught.value) for prefix in prefixes)


def test_a_step_that_is_written_again_is_followed_again(tmp_path):
    folder = run_with(tmp_path)
    toy_record(smallest_config("toy", "log", train_max_iter=9)).write(folder.snapshots)
    write_step(folder, 2)
    write_step(folder, 4)
    found = []

    def wait(seconds: float) -> None:
        write_step(folder, 4)  # after it went back to step 2

    for step, _ in appearing_snapshots(folder, wait):
        found.append(step)
        if len(found) == 3:
            break
    assert found == [2, 4, 4]


def test_a_run_that_was_set_aside_is_older_than_the_one_in_its_place(tmp_path):
    now = time.time()
    for number, name in enumerate(("a.earlier-1", "a.earlier-2")):
        aside = write_run(tmp_path / "log" / "ADE" / name, 9, now - 10 + number)
    assert newest_snapshot(str(tmp_path / "log")) == aside
    begun_again = write_run(tmp_path / "log" / "ADE" / "a", 1, now - 1000)
    assert newest_snapshot(str(tmp_path / "log")) == begun_again
    other = write_run(tmp_path / "log" / "ADE" / "b.earlier-1", 1, now - 500)
    assert newest_snapshot(str(tmp_path / "log")) == other
