"""Which checkpoint is predicted with."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.tools.snapshot_folders import flip, write
from tests.tools.toy_runs import tiny_config, toy_record
from tools.errors import CheckpointError, FlagError, RecordError
from tools.flags.predict import InferenceConfig, PredictConfig
from tools.prediction.selection import record_of_checkpoint
from tools.runs.chosen_checkpoint import choose_checkpoint


def run_in(folder: Path, best: int | None = None, age: float = 0) -> Path:
    """A run with snapshots of steps 5 and 9, and one of them as its best."""
    for step in (5, 9):
        write(str(folder / "snapshot" / f"model.ckpt-{step}"), str(step), age + 9 - step)
    if best is not None:
        write(str(folder / "best" / f"model.ckpt-{best}"), str(best), age)
    return folder


def chosen(log: Path | None = None, **flags) -> str:
    if log is not None:
        flags["log_dir"] = str(log)
    return choose_checkpoint(PredictConfig(**flags))


@pytest.fixture
def log(tmp_path) -> Path:
    """A log folder with an old run without a best snapshot, and a new one with one."""
    run_in(tmp_path / "log" / "Toy" / "old", age=100)
    run_in(tmp_path / "log" / "Toy" / "new", best=5)
    return tmp_path / "log"


def test_best_of_the_newest_run_is_used_and_logged(log, caplog):
    caplog.set_level("INFO")
    best = str(log / "Toy" / "new" / "best" / "model.ckpt-5")
    assert chosen(log) == chosen(log, weights_ckpt="best") == best
    assert choose_checkpoint(InferenceConfig(log_dir=str(log))) == best
    assert re.search(f"best snapshot .*: {best}; .*--weights_ckpt last$", caplog.messages[-1])


def test_last_of_the_newest_run(log, caplog):
    caplog.set_level("INFO")
    last = str(log / "Toy" / "new" / "snapshot" / "model.ckpt-9")
    assert chosen(log, weights_ckpt="last") == last
    assert re.search(f"last snapshot of the run .*: {last}$", caplog.messages[-1])


def test_run_by_its_folder(log, monkeypatch):
    monkeypatch.chdir(log)
    best = str(log / "Toy" / "new" / "best" / "model.ckpt-5")
    for path in ("Toy/new", "Toy/new/", "Toy/new/best", str(log / "Toy" / "new")):
        assert chosen(weights_ckpt=path) == best
    assert chosen(weights_ckpt="Toy/new/last") == str(log / "Toy" / "new" / "snapshot" / "model.ckpt-9")
    assert chosen(weights_ckpt="Toy/new/snapshot") == "Toy/new/snapshot/model.ckpt-9"
    assert chosen(weights_ckpt="Toy/old") == str(log / "Toy" / "old" / "snapshot" / "model.ckpt-9")
    assert chosen(weights_ckpt="Toy/new/snapshot/model.ckpt-5.index") == "Toy/new/snapshot/model.ckpt-5"


def test_run_without_a_best(log):
    with pytest.raises(CheckpointError, match="old/best: .* no undamaged best snapshot, .*--val_every"):
        chosen(weights_ckpt=str(log / "Toy" / "old" / "best"))
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        chosen(weights_ckpt=str(log / "Toy" / "absent" / "last"))


def test_damaged_best_is_replaced_by_the_last(log, caplog):
    best = log / "Toy" / "new" / "best" / "model.ckpt-5"
    flip(f"{best}.data-00000-of-00001")
    assert chosen(log) == str(log / "Toy" / "new" / "snapshot" / "model.ckpt-9")
    assert "best/model.ckpt-5 is damaged" in caplog.text
    with pytest.raises(CheckpointError, match="new/best: .* no undamaged best snapshot"):
        chosen(log, weights_ckpt="best")


def test_runs_on_several_datasets_are_asked_about(log):
    newer = run_in(log / "CamVid" / "run", age=-50)
    with pytest.raises(FlagError, match="has runs on CamVid, Toy: .*--database"):
        chosen(log)
    assert chosen(log, database="CamVid") == str(newer / "snapshot" / "model.ckpt-9")
    assert chosen(log, database="Toy") == str(log / "Toy" / "new" / "best" / "model.ckpt-5")
    with pytest.raises(FlagError, match="has runs on CamVid, Toy"):
        chosen(log, database="Cityscapes")
    assert chosen(log / "Toy") == str(log / "Toy" / "new" / "best" / "model.ckpt-5")


def test_no_run(tmp_path):
    with pytest.raises(CheckpointError, match="no snapshot was found"):
        chosen(tmp_path / "none")


def test_log_dir_beside_a_path_has_no_effect(tmp_path):
    assert chosen(run_in(tmp_path / "log" / "Toy" / "a").parents[1], weights_ckpt="last").endswith("model.ckpt-9")
    with pytest.raises(FlagError, match="--log_dir x has no effect with --weights_ckpt"):
        PredictConfig(log_dir="x", weights_ckpt=os.path.join("y", "last"))


def test_own_data_in_another_folder_are_another_dataset(tmp_path, monkeypatch):
    """Only runs on the requested data are considered, even if another run is newer."""
    monkeypatch.chdir(tmp_path)
    record = toy_record(tiny_config("toy", "log"))
    for name, age in (("cats", 50), ("dogs", 0)):
        os.mkdir(name)
        run = run_in(tmp_path / "log" / "custom" / name, age=age)
        flags = {**record.flags, "database": "custom", "data_dir": name}
        dataclasses.replace(record, database="custom", flags=flags).write(str(run / "snapshot"))
    cats = str(tmp_path / "log" / "custom" / "cats" / "snapshot" / "model.ckpt-9")
    for flags in ({"data_dir": "cats"}, {"data_dir": str(tmp_path / "cats"), "database": "custom"}):
        assert os.path.abspath(chosen(**flags)) == cats
    with pytest.raises(FlagError, match="own data in .*/cats, .*/dogs: .* --weights_ckpt, or give --data_dir"):
        chosen()
    with pytest.raises(FlagError, match="own data in .*/cats, .*/dogs: .* --weights_ckpt$"):
        choose_checkpoint(InferenceConfig())
    with pytest.raises(FlagError, match="--data_dir birds: no run below ./log was trained on this folder"):
        chosen(data_dir="birds")
    assert chosen(weights_ckpt="log/custom/cats") == cats


@pytest.mark.parametrize("flags", [{}, {"data_dir": "cats"}])
@pytest.mark.parametrize("is_newest", [False, True])
def test_damaged_record_of_a_run_on_own_data(tmp_path, monkeypatch, caplog, is_newest, flags):
    """The newest run is found all the same; if its own record is damaged, no other run replaces it."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("cats")
    record = toy_record(tiny_config("toy", "log"))
    runs = {name: run_in(tmp_path / "log" / "custom" / name, age=age) for name, age in (("old", 50), ("new", 0))}
    for run in runs.values():
        flags_of_run = {**record.flags, "database": "custom", "data_dir": "cats"}
        dataclasses.replace(record, database="custom", flags=flags_of_run).write(str(run / "snapshot"))
    damaged = runs["new" if is_newest else "old"]
    (damaged / "snapshot" / "config.json").write_text("{")
    prefix = chosen(**flags)
    assert os.path.abspath(prefix) == str(runs["new"] / "snapshot" / "model.ckpt-9")
    assert f"{damaged.name}/snapshot/config.json: not the configuration" in caplog.text
    if is_newest:
        with pytest.raises(RecordError, match="new/snapshot/config.json"):
            record_of_checkpoint(prefix, PredictConfig(**flags))


@pytest.mark.parametrize(
    ("wanted", "ending"),
    [
        (None, "; to use the last, add --weights_ckpt last"),
        ("", "; to use the last, give --weights_ckpt {run}/last"),
        ("/best", ""),
    ],
)
def test_how_to_use_the_last_instead(tmp_path, caplog, wanted, ending):
    run = run_in(tmp_path / "log" / "Toy" / "run", best=2)
    caplog.set_level("INFO")
    flags = {"log": tmp_path / "log"} if wanted is None else {"weights_ckpt": f"{run}{wanted}"}
    best = chosen(**flags)
    assert caplog.messages[-1].endswith(f"is used: {best}{ending.format(run=run)}")
    newest = max(run.glob("snapshot/*.index"), key=lambda path: int(path.stem.rpartition("-")[2]))
    for file in run.glob("best/*"):
        file.unlink()
    for file in newest.parent.glob(f"{newest.stem}.*"):
        shutil.copy(file, run / "best")
    chosen(**flags)
    assert caplog.messages[-1].endswith(", which is also the last")
