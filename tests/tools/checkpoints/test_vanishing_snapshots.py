"""Snapshots that a run removes or replaces while they are searched for and read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.snapshot_folders import flip, write
from tools.checkpoints import files as snapshot_files
from tools.checkpoints.find import newest_first, newest_snapshot, newest_sound, resolve_checkpoint
from tools.errors import CheckpointError
from tools.runs.chosen_checkpoint import with_unremoved


@pytest.fixture
def folder(tmp_path) -> Path:
    """A run's folder of snapshots, with one of step 1."""
    write(str(tmp_path / "run" / "snapshot" / "model.ckpt-1"), "1")
    return tmp_path / "run" / "snapshot"


def pruning(folder: Path, function: Callable, times: int) -> Callable:
    """The function, at whose first calls the next snapshot is written and the earlier one removed before it runs."""
    steps = iter(range(2, 2 + times))

    def call(*arguments):
        step = next(steps, None)
        if step is not None:
            write(str(folder / f"model.ckpt-{step}"), str(step))
            snapshot_files.remove(str(folder / f"model.ckpt-{step - 1}"))
        return function(*arguments)

    return call


@pytest.mark.parametrize("name", ["age", "fault_of"])
@pytest.mark.parametrize(
    "find", [lambda place: newest_snapshot(str(place.parent)), lambda place: resolve_checkpoint(str(place)),
             lambda place: newest_sound(str(place))],
)  # fmt: skip
def test_the_next_snapshot_is_found(folder, monkeypatch, caplog, name, find):
    monkeypatch.setattr(snapshot_files, name, pruning(folder, getattr(snapshot_files, name), 3))
    assert os.path.basename(find(folder)) == "model.ckpt-4"
    assert caplog.messages == []  # none is damaged


def test_a_replaced_snapshot_is_not_damaged(folder, monkeypatch, caplog):
    prefix, fault_of = str(folder / "model.ckpt-1"), snapshot_files.fault_of
    flip(prefix + ".index")

    def replaced(checked: str) -> str | None:
        fault = fault_of(checked)
        if fault is not None:
            write(prefix, "again")
        return fault

    monkeypatch.setattr(snapshot_files, "fault_of", replaced)
    assert newest_sound(str(folder)) == prefix
    assert caplog.messages == []


def test_an_endless_race_ends(folder, monkeypatch):
    monkeypatch.setattr(snapshot_files, "fault_of", pruning(folder, snapshot_files.fault_of, 1000))
    with pytest.raises(CheckpointError, match=r"removed or replaced .* \d+ times .* --keep") as caught:
        newest_sound(str(folder))
    assert str(folder) in str(caught.value)
    assert "damaged" not in str(caught.value)


def test_parts_without_an_index_are_no_snapshot(folder):
    os.remove(folder / "model.ckpt-1.index")
    assert newest_first(str(folder)) == []
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        resolve_checkpoint(str(folder))


def test_a_named_snapshot_that_is_removed_is_absent_and_not_damaged(folder, monkeypatch):
    write(str(folder / "model.ckpt-0"), "0")
    monkeypatch.setattr(snapshot_files, "fault_of", pruning(folder, snapshot_files.fault_of, 1))
    flip(str(folder / "model.ckpt-1.index"))
    with pytest.raises(CheckpointError, match=r"model.ckpt-1: there is no such checkpoint; the newest .*model.ckpt-2$"):
        resolve_checkpoint(str(folder / "model.ckpt-1"))


def use_of(folder: Path, removed: int) -> Callable[[str], str]:
    """Reads a snapshot, of which the first are removed before."""
    left = iter(range(removed))

    def use(prefix: str) -> str:
        if next(left, None) is not None:
            step = int(prefix.rpartition("-")[2])
            write(str(folder / f"model.ckpt-{step + 1}"))
            snapshot_files.remove(prefix)
            raise CheckpointError(f"{prefix}: there is no such checkpoint")
        return prefix

    return use


def test_another_is_chosen(folder, caplog):
    found = with_unremoved(lambda: resolve_checkpoint(str(folder)), use_of(folder, 3))
    assert os.path.basename(found) == "model.ckpt-4"
    assert len(caplog.messages) == 3
    assert "model.ckpt-3 was removed or replaced before it could be read: choosing again" in caplog.messages[-1]


def test_a_named_one_is_not_replaced_by_another(folder):
    with pytest.raises(CheckpointError, match=r"there is no such checkpoint; the newest in its folder is .*-2$"):
        with_unremoved(lambda: resolve_checkpoint(str(folder / "model.ckpt-1")), use_of(folder, 1))


@pytest.mark.parametrize("removed", [0, 1000])
def test_a_fault_is_raised(folder, removed):
    """At once if the snapshot is still there, and in the end if each is removed."""
    calls, use = [], use_of(folder, removed)

    def count(prefix: str) -> None:
        calls.append(prefix)
        use(prefix)
        raise CheckpointError("of another network")

    with pytest.raises(CheckpointError):
        with_unremoved(lambda: resolve_checkpoint(str(folder)), count)
    assert len(calls) == (1 if removed == 0 else 20)


def test_identity_changes_with_the_file(folder):
    prefix = str(folder / "model.ckpt-1")
    before = snapshot_files.identity(prefix)
    assert before is not None
    assert snapshot_files.identity(prefix) == before
    shutil.copyfile(prefix + ".index", prefix + ".copy")
    os.replace(prefix + ".copy", prefix + ".index")
    assert snapshot_files.identity(prefix) not in (None, before)
    os.remove(prefix + ".index")
    assert snapshot_files.identity(prefix) is None
