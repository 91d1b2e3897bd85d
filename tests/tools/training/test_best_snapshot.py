"""The snapshot that is kept apart."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil

import pytest

from tests.tools.snapshot_folders import ENDINGS, outcomes, visible, write
from tests.tools.toy_runs import tiny_config, toy_record
from tools.checkpoints.find import resolve_checkpoint
from tools.checkpoints.reading import checkpoint_checksum
from tools.errors import FlagError, OutputError
from tools.prediction.metrics import ConfusionMatrix
from tools.runs.folder import RunFolder
from tools.runs.record import ModelRecord
from tools.training.best_snapshot import keep_if_best, read_best, require_same_scoring


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


def best_mean_iou(folder) -> float | None:
    best = read_best(folder)
    return None if best is None else best.mean_iou


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
        note = json.load(file)
    assert (note["step"], note["checkpoint_sha256"]) == (3, checkpoint_checksum(folder.snapshot(3)))


def test_what_is_kept_is_a_checkpoint_with_its_record(folder):
    keep_if_best(folder, 2, scores_with(0.5))
    assert resolve_checkpoint(folder.best) == os.path.join(folder.best, "model.ckpt-2")
    assert ModelRecord.read(folder.best) == ModelRecord.read(folder.snapshots)
    with open(os.path.join(folder.best, "model.ckpt-2.index")) as file:
        assert file.read() == "index 2"
    assert os.path.exists(folder.snapshot(2) + ".index")


def test_a_line_logs_whether_it_is_the_best(folder, caplog):
    caplog.set_level("INFO")
    for step, mean_iou in ((1, math.nan), (2, 0.5), (3, 0.25)):
        keep_if_best(folder, step, scores_with(mean_iou))
    none, best, lower = caplog.messages
    assert none == "step 1: mIoU % n/a"
    assert best.startswith("step 2: mIoU % 50.00, the best")
    assert folder.best in best
    assert lower.startswith("step 3: mIoU % 25.00; the best")
    assert lower.endswith("50.00, of step 2")


def test_what_a_kill_left_undone_is_done_when_the_best_is_scored_again(folder):
    keep_if_best(folder, 2, scores_with(0.5))
    for ending in ("index", "data-00000-of-00001"):
        shutil.copy(f"{folder.snapshot(1)}.{ending}", folder.best)  # the best before, which was not removed any more
    assert keep_if_best(folder, 2, scores_with(0.5))
    assert kept(folder) == files_of(2)


def test_a_note_whose_snapshot_is_gone_counts_as_none(folder):
    keep_if_best(folder, 2, scores_with(0.9))
    os.unlink(os.path.join(folder.best, "model.ckpt-2.index"))
    assert keep_if_best(folder, 3, scores_with(0.1))


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


@pytest.mark.parametrize("killed", [True, False])
def test_wherever_copying_stops_a_whole_one_is_kept(tmp_path, killed):
    """With its manifest, by which it is sound as well."""

    def start(path):
        folder = RunFolder(path)
        os.makedirs(folder.snapshots)
        with open(os.path.join(folder.snapshots, "config.json"), "w") as file:
            file.write("{}")
        for step in (1, 2):
            write(folder.snapshot(step), str(step))
        keep_if_best(folder, 1, scores_with(0.25))

    def act(path):
        try:
            keep_if_best(RunFolder(path), 2, scores_with(0.5))
        except OutputError as error:
            raise error.__cause__ from None

    found = outcomes(start, act, lambda path: sorted(visible(RunFolder(path).best)), tmp_path, killed=killed)
    order = [["model.ckpt-1"], ["model.ckpt-1", "model.ckpt-2"], ["model.ckpt-2"]]
    assert all(names in order for names in found)
    assert found[-1] == order[-1]
    assert not killed or (found[0] == order[0] and found == sorted(found, key=order.index))


def test_the_manifest_is_kept_with_the_snapshot(folder):
    write(folder.snapshot(2), "2")
    keep_if_best(folder, 2, scores_with(0.5))
    assert kept(folder) == ["best.json", "config.json", *sorted(f"model.ckpt-2{ending}" for ending in ENDINGS)]
    assert visible(folder.best) == {"model.ckpt-2": "2"}


def test_best_is_compared_only_with_scores_of_the_same_settings(folder):
    settings = {"mirror": 1, "window": 480}
    require_same_scoring(folder, settings)  # nothing is kept yet
    keep_if_best(folder, 1, scores_with(0.5), settings)
    require_same_scoring(folder, dict(settings))
    with pytest.raises(FlagError, match=rf"{folder.best} was scored .*--test_image_size \(320 here, 480 there\)"):
        require_same_scoring(folder, {**settings, "window": 320})
    keep_if_best(folder, 2, scores_with(0.75))  # as an earlier version wrote it
    require_same_scoring(folder, {"mirror": 0})


def test_line_about_a_best_that_was_scored_otherwise(folder):
    """It names flags, what of the images differs, without checksums, and both ways to go on."""
    settings = {"mirror": 1, "window": 480, "data_sha256": ["n", None, "c"]}
    keep_if_best(folder, 1, scores_with(0.5), settings)
    with pytest.raises(FlagError) as caught:
        require_same_scoring(folder, {**settings, "window": 320, "data_sha256": ["n", "s", "d"]})
    line = str(caught.value)
    assert "mIoU % 50.00: the validation images or labels (sizes, contents), --test_image_size (320 here, 480" in line
    assert f"those flags and validation images, or rename {folder.best}" in line
    os.rename(folder.best, f"{folder.best}-480")
    require_same_scoring(folder, {**settings, "window": 320})
