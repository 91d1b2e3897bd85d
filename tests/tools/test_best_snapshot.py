"""The snapshot that is kept apart."""

from __future__ import annotations

import dataclasses
import json
import math
import os

import pytest

from tests.tools.runs import tiny_config, toy_record
from tools.best_snapshot import best_mean_iou, keep_if_best
from tools.checkpoint import resolve_checkpoint
from tools.metrics import ConfusionMatrix
from tools.model_record import ModelRecord
from tools.run_folder import RunFolder
from tools.training import OutputError


@pytest.fixture
def folder(tmp_path):
    """A run with snapshots of steps 1 to 3."""
    folder = RunFolder(str(tmp_path / "run"))
    toy_record(tiny_config("toy", "log")).write(folder.snapshots)
    for step in (1, 2, 3):
        for ending in ("index", "data-00000-of-00001"):
            with open(f"{folder.snapshot(step)}.{ending}", "w") as file:
                file.write(f"{ending} {step}")
    return folder


def scores_with(mean_iou: float):
    return dataclasses.replace(ConfusionMatrix(2).evaluate(), mean_iou=mean_iou)


def kept(folder: RunFolder) -> list[str]:
    return sorted(os.listdir(folder.best)) if os.path.isdir(folder.best) else []


def files_of(step: int) -> list[str]:
    return ["best.json", "config.json", f"model.ckpt-{step}.data-00000-of-00001", f"model.ckpt-{step}.index"]


def test_only_a_higher_score_is_kept(folder):
    assert best_mean_iou(folder) is None
    assert not keep_if_best(folder, 1, scores_with(math.nan))
    assert kept(folder) == []
    assert keep_if_best(folder, 1, scores_with(0.25))
    assert kept(folder) == files_of(1)
    assert not keep_if_best(folder, 2, scores_with(0.25))
    assert kept(folder) == files_of(1)
    assert keep_if_best(folder, 3, scores_with(0.5))
    assert kept(folder) == files_of(3)
    assert best_mean_iou(folder) == 0.5
    with open(os.path.join(folder.best, "best.json")) as file:
        assert json.load(file)["step"] == 3


def test_what_is_kept_is_a_checkpoint_with_its_record(folder):
    keep_if_best(folder, 2, scores_with(0.5))
    assert resolve_checkpoint(folder.best) == os.path.join(folder.best, "model.ckpt-2")
    assert ModelRecord.read(folder.best) == ModelRecord.read(folder.snapshots)
    with open(os.path.join(folder.best, "model.ckpt-2.index")) as file:
        assert file.read() == "index 2"
    assert os.path.exists(folder.snapshot(2) + ".index")


@pytest.mark.parametrize("content", ["", "[]", '{"mean_iou": null}'])
def test_a_damaged_note_counts_as_none(folder, content):
    keep_if_best(folder, 1, scores_with(0.9))
    with open(os.path.join(folder.best, "best.json"), "w") as file:
        file.write(content)
    assert best_mean_iou(folder) is None
    assert keep_if_best(folder, 2, scores_with(0.1))


def test_a_folder_that_cannot_be_written(folder):
    with open(folder.best, "w"):
        pass
    with pytest.raises(OutputError, match="cannot write"):
        keep_if_best(folder, 1, scores_with(0.5))
