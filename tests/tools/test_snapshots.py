"""The snapshots of a run: which there are, and which is meant."""

from __future__ import annotations

import dataclasses
import os

import pytest

from tests.tools.runs import tiny_config, train_with
from tools.checkpoint import CheckpointError
from tools.run_folder import run_folder
from tools.snapshots import check_resume_step, snapshot_steps, snapshot_to_score


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
    [(3, 4, r"no snapshot of --resume_step 3 \(there are snapshots of steps 2, 4 in its folder\)"),
     (4, 4, "--resume_step 4 is not before --train_max_iter 4: nothing is left"),
     (4, 3, "--resume_step 4 is not before --train_max_iter 3")],
)  # fmt: skip
def test_resume_from_another_step(tiny_run, step, max_steps, words):
    with pytest.raises(CheckpointError, match=words):
        check_resume_step(tiny_run.folder, step, max_steps)


def test_resume_of_a_run_that_does_not_exist(toy_dir, log_dir):
    config = tiny_config(toy_dir, log_dir, resume_step=5)
    with pytest.raises(CheckpointError, match=r"no snapshot of --resume_step 5 \(there is none in its folder\)"):
        train_with(config)
    assert not os.path.exists(log_dir)
    os.makedirs(run_folder(dataclasses.replace(config, resume_step=0)).snapshots)
    with pytest.raises(CheckpointError, match=r"no snapshot of --resume_step 0 \(there is none in its folder\)"):
        train_with(dataclasses.replace(config, resume_step=0))
