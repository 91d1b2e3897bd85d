"""Finding the checkpoint that a path or a folder means."""

from __future__ import annotations

import os
import re

import pytest
import tensorflow.compat.v1 as tf

from tests.tools.checkpoints.checkpoint_files import VALUES, copy_as
from tests.tools.toy_runs import write_checkpoint
from tools.checkpoints.find import newest_snapshot, resolve_checkpoint
from tools.checkpoints.reading import variable_shapes
from tools.checkpoints.snapshot_names import checkpoint_step
from tools.errors import CheckpointError


@pytest.mark.parametrize("ending", ["", ".index", ".data-00000-of-00001", ".meta"])
def test_resolve_by_any_of_its_files(own, ending):
    assert resolve_checkpoint(own + ending) == own


def test_resolve_by_folder(own):
    folder = os.path.dirname(own)
    assert resolve_checkpoint(folder) == own
    assert resolve_checkpoint(os.path.dirname(folder)) == own  # the run's


def test_folder_means_its_newest(own):
    folder = os.path.dirname(own)
    copy_as(own, os.path.join(folder, "model.ckpt-900"), age=60)
    assert resolve_checkpoint(folder) == own
    later = copy_as(own, os.path.join(folder, "model.ckpt-12"), age=0)  # of the same second: the later step
    assert resolve_checkpoint(folder) == later


def test_folder_with_pattern_characters(own, tmp_path):
    target = copy_as(own, str(tmp_path / "run[1]*" / "model.ckpt-7"), age=0)
    assert resolve_checkpoint(os.path.dirname(target)) == target
    assert resolve_checkpoint(target) == target
    assert newest_snapshot(str(tmp_path / "run[1]*" / "..")).endswith("run/snapshot/model.ckpt-7")


def test_missing_checkpoint_and_the_hint(own, tmp_path):
    with pytest.raises(CheckpointError, match=r"model.ckpt-8: there is no such checkpoint; the newest .*ckpt-7$"):
        resolve_checkpoint(own[:-1] + "8")
    runs = [
        copy_as(own, str(tmp_path / "log" / f"run{number}" / "snapshot" / "model.ckpt-7"), age=0) for number in range(7)
    ]
    named = ", ".join(run.removesuffix("/snapshot/model.ckpt-7") for run in runs[:5])
    for typed in ("run", "ran/snapshot/model.ckpt-7"):
        with pytest.raises(
            CheckpointError, match=f"{typed}: there is no such checkpoint; there are the runs {named}, ...$"
        ):
            resolve_checkpoint(str(tmp_path / "log" / typed))


def test_a_missing_folder_is_named_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    missing = re.escape(str(tmp_path / "nowhere"))
    with pytest.raises(
        CheckpointError, match=f"^nowhere/x: there is no such checkpoint; there is no folder {missing}$"
    ):
        resolve_checkpoint("nowhere/x")
    with pytest.raises(CheckpointError, match=f"^nowhere/x/y: .*; there is no folder {missing}$"):
        resolve_checkpoint("nowhere/x/y")
    with pytest.raises(CheckpointError, match="^x: there is no such checkpoint$"):
        resolve_checkpoint("x")


def test_a_checkpoint_without_its_data_is_not_taken_for_the_newest(own, caplog):
    folder, earlier = os.path.split(own)
    lacking = copy_as(own, os.path.join(folder, "model.ckpt-9"), age=0)
    os.remove(lacking + ".data-00000-of-00001")
    with pytest.raises(CheckpointError, match=rf"model.ckpt-8: there is no such checkpoint; the newest .*{earlier}$"):
        resolve_checkpoint(os.path.join(folder, "model.ckpt-8"))
    assert resolve_checkpoint(folder) == own
    assert caplog.messages == [f"{lacking} is damaged and skipped: it has no .data file"]
    os.remove(own + ".data-00000-of-00001")
    with pytest.raises(CheckpointError, match=r"model.ckpt-8: there is no such checkpoint$"):
        resolve_checkpoint(os.path.join(folder, "model.ckpt-8"))
    with pytest.raises(CheckpointError, match="every checkpoint in this folder is damaged"):
        resolve_checkpoint(folder)


def test_empty_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint \(model.ckpt-<step>.index\)"):
        resolve_checkpoint(str(tmp_path))


def test_index_without_data(own):
    os.remove(own + ".data-00000-of-00001")
    with pytest.raises(CheckpointError, match="has an .index but no .data file"):
        resolve_checkpoint(own)


def test_newest_snapshot_of_all_runs(own, tmp_path):
    newest = copy_as(own, str(tmp_path / "log" / "ADE" / "a" / "snapshot" / "model.ckpt-5"), age=10)
    copy_as(own, str(tmp_path / "log" / "ADE" / "b" / "snapshot" / "model.ckpt-90"), age=20)
    copy_as(own, str(tmp_path / "log" / "ADE" / "b" / "other" / "model.ckpt-90"), age=0)
    assert newest_snapshot(str(tmp_path / "log")) == newest


def test_no_snapshot_below_the_log_folder(tmp_path):
    with pytest.raises(CheckpointError, match="no snapshot was found below this folder: train first, or give"):
        newest_snapshot(str(tmp_path))


@pytest.mark.parametrize(("prefix", "step"), [("a/model.ckpt-30000", 30000), ("model.ckpt-0", 0), ("a-1/x", None)])
def test_step_of_a_name(prefix, step):
    assert checkpoint_step(prefix) == step


def test_format_before_index_files(tmp_path):
    """The format of the ResNet checkpoints that slim's authors published."""
    prefix = write_checkpoint(str(tmp_path / "old" / "resnet.ckpt"), VALUES, tf.train.SaverDef.V1)
    assert not os.path.exists(prefix + ".index")
    assert resolve_checkpoint(prefix) == prefix
    assert resolve_checkpoint(str(tmp_path / "old")) == prefix
    assert variable_shapes(prefix) == {"resnet_v1_50/a": [2, 3], "resnet_v1_50/b": [4]}


def test_folder_of_several_in_the_old_format(tmp_path):
    for name in ("a.ckpt", "b.ckpt"):
        write_checkpoint(str(tmp_path / name), VALUES, tf.train.SaverDef.V1)
    with pytest.raises(CheckpointError, match=r"no checkpoint \(model.ckpt-<step>.index\)"):
        resolve_checkpoint(str(tmp_path))
