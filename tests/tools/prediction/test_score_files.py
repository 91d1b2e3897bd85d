"""Files of scores say which snapshot they are of."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.tools.toy_runs import write_checkpoint
from tools.errors import CheckpointError
from tools.prediction.score_files import is_scored, read_score, scores_path, snapshot_header


@pytest.fixture
def prefix(tmp_path) -> str:
    return write_checkpoint(str(tmp_path / "run" / "model.ckpt-7"), {"w": np.ones(3, np.float32)})


def test_header_names_the_snapshot_and_its_weights(prefix):
    expected = hashlib.sha256(Path(prefix + ".index").read_bytes()).hexdigest()
    assert snapshot_header(prefix) == {"checkpoint": prefix, "step": 7, "checkpoint_sha256": expected}


def test_scores_are_of_the_snapshot_with_the_same_weights_wherever_it_lies(prefix, tmp_path):
    scores = tmp_path / "scores-7.json"
    scores.write_text(json.dumps({"run": snapshot_header(prefix)}))
    moved = write_checkpoint(str(tmp_path / "copy" / "model.ckpt-9"), {"w": np.ones(3, np.float32)})
    assert is_scored(str(scores), prefix)
    assert is_scored(str(scores), moved)


def test_scores_are_not_of_a_later_snapshot_of_the_same_path(prefix, tmp_path):
    scores = tmp_path / "scores-7.json"
    scores.write_text(json.dumps({"run": snapshot_header(prefix)}))
    write_checkpoint(prefix, {"w": np.zeros(3, np.float32)})
    assert not is_scored(str(scores), prefix)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"run": 3}', '{"run": {"checkpoint": "x"}}'])
def test_file_without_a_checksum_is_of_no_snapshot(prefix, tmp_path, text):
    scores = tmp_path / "scores-7.json"
    if text is not None:
        scores.write_text(text)
    assert not is_scored(str(scores), prefix)


@pytest.mark.parametrize("text", [None, "[]", "{}", '{"mean_iou": "x", "pixel_accuracy": 1}'])
def test_damaged_scores_say_nothing(tmp_path, text):
    if text is not None:
        (tmp_path / "scores-7.json").write_text(text)
    assert read_score(str(tmp_path / "scores-7.json")) is None


def test_scores_are_read(tmp_path):
    path = scores_path(str(tmp_path), 7, 3)
    assert path == str(tmp_path / "scores-7-test_max_iter3.json")
    Path(path).write_text(json.dumps({"mean_iou": None, "pixel_accuracy": 0.5}))
    score = read_score(path)
    assert math.isnan(score.mean_iou)
    assert score.pixel_accuracy == 0.5


def test_missing_snapshot_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="model.ckpt-8"):
        snapshot_header(str(tmp_path / "model.ckpt-8"))
