"""A training whose scores no longer improve ends, at the same step if it is resumed."""

from __future__ import annotations

import json
import os

import pytest

from database.datasets import get_dataset
from tests.tools.toy_runs import smallest_config, train_run
from tools.prediction.score_files import scores_path, snapshot_header
from tools.runs.folder import RunFolder, run_folder
from tools.runs.snapshots import snapshot_steps
from tools.training import attempt as attempts
from tools.training.early_stopping import EarlyStopping
from tools.training.samples import RunData, training_samples

pytestmark = pytest.mark.usefixtures("narrow_resnet")

NAN = float("nan")


SETTINGS = {"mirror": 1, "test_max_iter": None, "use_ema": 1}


def _write(folder: RunFolder, step: int, mean_iou: float, header: dict | None = None, path: str | None = None) -> None:
    values = {"run": header or {}, "mean_iou": None if mean_iou != mean_iou else mean_iou, "pixel_accuracy": 0.5}
    with open(path or scores_path(folder.path, step, None), "w", encoding="utf-8") as file:
        json.dump(values, file)


@pytest.mark.parametrize(
    ("scores", "patience", "over"),
    [
        ([0.1, 0.2, 0.3], 1, [False, False, False]),
        ([0.1, 0.2, 0.2, 0.2, 0.3], 2, [False, False, False, True, False]),  # an equal score is no new best
        ([0.3, 0.2, 0.25, 0.1], 3, [False, False, False, True]),
        ([0.3, 0.2, 0.25, 0.1], 4, [False, False, False, False]),
        ([NAN, NAN, 0.0], 2, [False, False, False]),
        ([0.0, NAN, NAN], 2, [False, False, True]),
    ],
)
def test_patience_counts_scores_since_the_best(tmp_path, scores, patience, over):
    folder = RunFolder(str(tmp_path))
    early = EarlyStopping(folder, patience, 10, SETTINGS)
    for index, score in enumerate(scores):
        _write(folder, 10 * (index + 1), score)
    assert [early.is_over(10 * (index + 1)) for index in range(len(scores))] == over


def test_only_scores_of_the_plan_count(tmp_path, caplog):
    """Others are of `--eval_only`, which scores any step."""
    folder = RunFolder(str(tmp_path))
    for step, score in ((10, 0.3), (15, 0.1), (20, 0.2), (25, 0.1), (30, 0.25)):
        _write(folder, step, score)
    assert not EarlyStopping(folder, 3, 10, SETTINGS).is_over(30)
    caplog.set_level("INFO")
    assert EarlyStopping(folder, 2, 10, SETTINGS).is_over(30)
    for figure in ("after step 30", "30.0", "of step 10", "--patience 2"):
        assert figure in caplog.text
    assert not EarlyStopping(folder, 2, 10, SETTINGS | {"test_max_iter": 5}).is_over(
        30
    )  # scores of five images are in other files
    assert not EarlyStopping(folder, None, 10, SETTINGS).is_over(30)
    assert not EarlyStopping(folder, 2, None, SETTINGS).is_over(30)
    assert not EarlyStopping(folder, 2, 10, SETTINGS).is_over(20)


def test_scores_before_the_run_was_resumed_with_another_period_count(tmp_path):
    """The best, and the scores since, are those of the whole run."""
    folder, of_training = RunFolder(str(tmp_path)), {**SETTINGS, "val_every": 2}
    for step, score in ((2, 0.6), (4, 0.5)):
        _write(folder, step, score, of_training)
    _write(folder, 5, 0.9, SETTINGS)  # of --eval_only
    for step, score in ((6, 0.1), (9, 0.2)):
        _write(folder, step, score, {**SETTINGS, "val_every": 3})
    for patience, over in ((3, [False, True]), (4, [False, False])):
        assert [EarlyStopping(folder, patience, 3, SETTINGS).is_over(step) for step in (6, 9)] == over


def test_scores_of_other_settings_do_not_count(tmp_path):
    """They have other file names, unless they were the first of their snapshot."""
    folder = RunFolder(str(tmp_path))
    _write(folder, 10, 0.9, SETTINGS | {"mirror": 0})
    for step, score in ((20, 0.3), (30, 0.2)):
        _write(folder, step, score, SETTINGS)
    _write(folder, 40, 0.8, SETTINGS | {"mirror": 0})
    _write(folder, 40, 0.1, SETTINGS, str(tmp_path / "scores-40-mirror1.json"))
    _write(folder, 50, 0.1, {"use_ema": 1}, str(tmp_path / "scores-50-mirror1.json"))  # of unknown settings
    assert not EarlyStopping(folder, 2, 10, SETTINGS).is_over(30)
    assert EarlyStopping(folder, 2, 10, SETTINGS).is_over(40)
    assert not EarlyStopping(folder, 3, 10, SETTINGS).is_over(50)


def _train(toy_dir, log_dir, monkeypatch, scores, **flags):
    """Trains with the given scores instead of those of a network; returns the steps that were scored."""
    config = smallest_config(
        str(toy_dir), str(log_dir), train_max_iter=8, snapshot=1, snapshot_minutes=0, keep=20, val_every=1, **flags
    )
    folder, scored = run_folder(config), []

    def score(config, data, folder, prefix):
        step = int(prefix.rpartition("-")[2])
        scored.append(step)
        _write(folder, step, scores[step], snapshot_header(prefix))

    monkeypatch.setattr(attempts, "validate", score)
    dataset = get_dataset("Toy")
    samples = training_samples(config, dataset, str(config.data_dir))
    data = RunData.of(dataset, str(config.data_dir), samples, samples[:1])
    last = train_run(config, data, folder)
    return folder, scored, last


SCORES = {1: 0.1, 2: 0.3, 3: 0.2, 4: 0.3, 5: 0.4, 6: 0.5, 7: 0.6}


@pytest.mark.slow
def test_a_run_ends_after_the_scores_without_a_new_best(tmp_path, toy_dir, monkeypatch):
    folder, scored, last = _train(toy_dir, tmp_path, monkeypatch, SCORES, patience=2)
    assert scored == [1, 2, 3, 4]
    assert last == folder.snapshot(4)
    assert sorted(snapshot_steps(folder)) == [1, 2, 3, 4]
    # Started again, it is finished; with more patience it goes on.
    _, scored, last = _train(toy_dir, tmp_path, monkeypatch, SCORES, patience=2, auto_resume=True)
    assert (scored, last) == ([], folder.snapshot(4))
    _, scored, last = _train(toy_dir, tmp_path, monkeypatch, SCORES, patience=3, auto_resume=True)
    assert (scored, last) == ([5, 6, 7], folder.snapshot(8))


@pytest.mark.slow
def test_a_killed_run_ends_at_the_same_step(tmp_path, toy_dir, monkeypatch):
    """Once killed before the score of the step that ends it, and once after that score."""
    whole, _, _ = _train(toy_dir, tmp_path, monkeypatch, SCORES, patience=3)
    assert sorted(snapshot_steps(whole)) == [1, 2, 3, 4, 5, 6, 7, 8]
    folder, _, _ = _train(toy_dir, tmp_path / "killed", monkeypatch, SCORES, patience=2)
    os.unlink(scores_path(folder.path, 4, None))
    _, scored, last = _train(toy_dir, tmp_path / "killed", monkeypatch, SCORES, patience=2, resume_step=4)
    assert (scored, last) == ([4], folder.snapshot(4))
    _, scored, last = _train(toy_dir, tmp_path / "killed", monkeypatch, SCORES, patience=2, resume_step=4)
    assert (scored, last) == ([], folder.snapshot(4))
