"""Scores of runs that are killed and resumed: the best is that of an untouched run, no score is of other weights."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database.datasets import find_samples, get_dataset
from database.layouts import Sample
from tests.tools.snapshot_folders import run_with, write
from tests.tools.toy_runs import smallest_config, train_run
from tools.checkpoints.find import newest_first
from tools.checkpoints.reading import checkpoint_checksum
from tools.checkpoints.snapshot_names import checkpoint_step
from tools.flags.choices import LATEST
from tools.prediction.metrics import ConfusionMatrix
from tools.prediction.score_files import RecordedScore, is_scored, scores_path, snapshot_header
from tools.runs.folder import RunFolder, run_folder
from tools.training import run as training_run
from tools.training import validation
from tools.training.best_snapshot import keep_if_best, read_best
from tools.training.resumed_scores import ResumedScores, set_aside_later_scores
from tools.training.samples import RunData, training_samples

LAST_STEP, VAL_EVERY = 4, 1


class KilledError(Exception):
    """In the place of SIGKILL."""


VAL_EVERY = 4


def config_with(**changes):
    return smallest_config("toy", "log", val_every=VAL_EVERY, train_max_iter=16, **changes)


def write_scores(folder: RunFolder, step: int, mean_iou: float, test_max_iter: int | None = None) -> None:
    header = snapshot_header(folder.snapshot(step))
    values = {"run": header, "mean_iou": mean_iou, "pixel_accuracy": 0.5}
    Path(scores_path(folder.path, step, test_max_iter)).write_text(json.dumps(values))


def score(folder: RunFolder, step: int, mean_iou: float) -> None:
    """What scoring a snapshot leaves."""
    keep_if_best(folder, step, RecordedScore(mean_iou, 0.5))
    write_scores(folder, step, mean_iou)


def best_step(folder: RunFolder) -> int | None:
    best = read_best(folder)
    assert best is None or os.listdir(folder.best).count(f"model.ckpt-{best.step}.index") == 1
    return None if best is None else best.step


def abandoned(folder: RunFolder, number: int = 1) -> list[str]:
    place = Path(folder.path, f"abandoned-{number}")
    return sorted(os.listdir(place)) if place.exists() else []


@pytest.mark.parametrize(("step", "is_due"), [(4, True), (8, True), (6, False), (0, False)])
def test_score_that_is_due_and_missing_is_made_up(tmp_path, caplog, step, is_due):
    caplog.set_level("INFO")
    folder, scored = run_with(tmp_path, step), []
    ResumedScores(folder, step, VAL_EVERY).make_up(scored.append)
    assert scored == ([step] if is_due else [])
    assert caplog.messages == (
        [f"step {step} (--val_every 4) has no score yet: its snapshot is scored first"] if is_due else []
    )


def test_score_that_is_there_is_not_made_again(tmp_path):
    folder, scored = run_with(tmp_path, 4, 8), []
    score(folder, 8, 0.5)
    ResumedScores(folder, 8, VAL_EVERY).make_up(scored.append)
    assert scored == []
    write(folder.snapshot(8), "other weights of the same step")
    ResumedScores(folder, 8, VAL_EVERY).make_up(scored.append)
    assert scored == [8]


def test_nothing_is_scored_without_val_every_or_images(tmp_path):
    folder, scored = run_with(tmp_path, 8), []
    ResumedScores(folder, 8, None).make_up(scored.append)
    ResumedScores(folder, 8, VAL_EVERY).make_up(None)
    assert scored == []


def test_scores_of_fewer_images_are_others(tmp_path):
    folder, scored = run_with(tmp_path, 8), []
    write_scores(folder, 8, 0.5)
    ResumedScores(folder, 8, VAL_EVERY, 3).make_up(scored.append)
    write_scores(folder, 8, 0.5, test_max_iter=3)
    ResumedScores(folder, 8, VAL_EVERY, 3).make_up(scored.append)
    assert scored == [8]


def test_best_that_was_not_copied_is_made_up(tmp_path):
    """An earlier version was killed between the score and the copy."""
    folder, scored = run_with(tmp_path, 4, 8), []
    score(folder, 4, 0.25)
    write_scores(folder, 8, 0.5)
    ResumedScores(folder, 8, VAL_EVERY).make_up(scored.append)
    assert (best_step(folder), scored) == (8, [])


@pytest.fixture
def finished(tmp_path) -> RunFolder:
    """A run whose best snapshot is that of step 8."""
    folder = run_with(tmp_path, 4, 8, 12)
    for step, mean_iou in ((4, 0.25), (8, 0.5), (12, 0.375)):
        score(folder, step, mean_iou)
    Path(folder.path, "scores-12-test_max_iter1.md").write_text("")
    Path(folder.path, "scores-notes.txt").write_text("")
    return folder


def test_best_of_steps_that_are_trained_again_is_set_aside(finished, caplog):
    caplog.set_level("INFO")
    resumed = ResumedScores(finished, 4, VAL_EVERY)
    resumed.make_up(None)
    assert (best_step(finished), abandoned(finished)) == (8, [])  # `--resume_step latest` still takes step 12
    write(finished.snapshot(6), "of the run's own")
    resumed.give_up_later()
    assert best_step(finished) == 4
    assert abandoned(finished) == ["best", "scores-12-test_max_iter1.md", "scores-12.json", "scores-8.json"]
    assert read_best(RunFolder(os.path.join(finished.path, "abandoned-1"))).step == 8
    assert {"scores-4.json", "scores-notes.txt"} <= set(os.listdir(finished.path))
    place = os.path.join(finished.path, "abandoned-1")
    assert f"scores of steps after 4, which the run trains again, were set aside: {place}" in caplog.messages
    assert set_aside_later_scores(finished, 4) is None
    Path(scores_path(finished.path, 8, None)).write_text("{}")
    assert set_aside_later_scores(finished, 4) == os.path.join(finished.path, "abandoned-2")
    assert abandoned(finished, 2) == ["scores-8.json"]


def test_best_of_another_snapshot_of_the_same_step_is_set_aside(finished):
    write(finished.snapshot(8), "trained again, and killed before its score")
    ResumedScores(finished, 8, VAL_EVERY).make_up(lambda step: score(finished, step, 0.3))
    assert abandoned(finished) == ["best", "scores-12-test_max_iter1.md", "scores-12.json"]
    assert best_step(finished) == 8
    assert read_best(finished).mean_iou == 0.3


def test_best_of_an_earlier_version_has_no_checksum(finished):
    path = Path(finished.best, "best.json")
    path.write_text(json.dumps({"step": 8, "mean_iou": 0.5}))
    assert set_aside_later_scores(finished, 8) is not None  # the tables of step 12
    assert best_step(finished) == 8


def test_damaged_snapshot_is_not_kept_as_the_best(finished):
    Path(finished.snapshot(4) + ".data-00000-of-00001").write_text("damaged")
    ResumedScores(finished, 4, VAL_EVERY).give_up_later()
    assert best_step(finished) is None


class SimulatedRun:
    """A run of snapshots of a few bytes, whose weights and scores depend on when it was resumed from where."""

    def __init__(self, path: Path) -> None:
        self.folder, self.written = run_with(path), 0
        self.lineage: dict[int, float] = {}  # score by step, of the weights that a run would go on from
        self.scores: dict[str, float] = {}
        self.lineages: dict[str, dict[int, float]] = {}

    def start(self, data: st.DataObject, kills: bool) -> None:
        newest = newest_first(self.folder.snapshots)
        chosen = (
            data.draw(st.sampled_from([*newest[:1] * 3, *newest])) if newest and kills else next(iter(newest), None)
        )
        step = 0 if chosen is None else checkpoint_step(chosen)
        lineage = dict(self.lineages[checkpoint_checksum(chosen)]) if chosen else {}
        resumed = ResumedScores(self.folder, step, VAL_EVERY) if chosen else None

        def may_be_killed() -> None:
            if kills and data.draw(st.integers(0, 15)) == 7:
                raise KilledError

        def score_of(step: int) -> None:
            may_be_killed()
            mean_iou = self.scores[checkpoint_checksum(self.folder.snapshot(step))]
            keep_if_best(self.folder, step, RecordedScore(mean_iou, 0.5))
            may_be_killed()
            write_scores(self.folder, step, mean_iou)
            may_be_killed()

        if resumed is not None:
            resumed.make_up(score_of)
        while step < 16:
            step += 2
            may_be_killed()
            lineage = self.save(step, lineage, data)
            may_be_killed()
            if resumed is not None:
                resumed.give_up_later()
                resumed = None
            if step % 4 == 0:
                score_of(step)
        self.lineage = lineage

    def save(self, step: int, lineage: dict[int, float], data: st.DataObject) -> dict[int, float]:
        self.written += 1
        prefix = write(self.folder.snapshot(step), f"written as number {self.written}")
        os.utime(prefix + ".index", (self.written, self.written))
        mean_iou = data.draw(st.sampled_from([0.1, 0.2, 0.3, 0.4]))
        checksum = checkpoint_checksum(prefix)
        self.scores[checksum] = mean_iou
        self.lineages[checksum] = {**lineage, **({step: mean_iou} if step % 4 == 0 else {})}
        return self.lineages[checksum]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data(), count=st.integers(1, 6))
def test_best_is_that_of_the_steps_that_led_to_the_last_whatever_interrupted_them(data, count):
    with TemporaryDirectory() as path, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        check_a_run_with_interruptions(Path(path), data, count)


def check_a_run_with_interruptions(path: Path, data: st.DataObject, count: int) -> None:
    run = SimulatedRun(path)
    for _ in range(count):
        try:
            run.start(data, kills=True)
        except KilledError:
            continue
    run.start(data, kills=False)
    assert list(run.lineage) == [4, 8, 12, 16]
    assert best_step(run.folder) == max(run.lineage, key=run.lineage.get)
    assert read_best(run.folder).mean_iou == max(run.lineage.values())
    assert all(is_scored(scores_path(run.folder.path, step, None), run.folder.snapshot(step)) for step in run.lineage)


class ScriptedScores:
    """In the place of networks that score a snapshot: fractions by step, and kills in scoring."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, mean_iou: dict[int, float], kills: list[int]) -> None:
        self._mean_iou, self._kills, self.scored = mean_iou, kills, []
        monkeypatch.setattr(validation, "Predictor", lambda prefix, *more, **options: self._Network(prefix))
        monkeypatch.setattr(validation, "evaluate", self._evaluate)

    class _Network:
        def __init__(self, prefix: str) -> None:
            self.step = checkpoint_step(prefix)

        def __enter__(self):
            return self

        def __exit__(self, *exception: object) -> None:
            pass

    def _evaluate(self, network, samples: list[Sample], num_classes: int, **options):
        self.scored.append(network.step)
        if network.step in self._kills:
            self._kills.remove(network.step)
            raise KilledError
        scores = ConfusionMatrix(num_classes).evaluate()
        object.__setattr__(scores, "mean_iou", self._mean_iou[network.step])
        return scores


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_resnet")
def test_run_that_is_killed_in_scoring_keeps_the_best_of_the_untouched_run(toy_dir, log_dir, monkeypatch):
    scripted = ScriptedScores(monkeypatch, {1: 0.25, 2: 0.5}, kills=[2])
    config = smallest_config(toy_dir, log_dir, val_every=1, train_max_iter=3, auto_resume=True)
    dataset, folder = get_dataset("Toy"), run_folder(config)
    held_out = find_samples(dataset, toy_dir, ["val"])
    data = RunData.of(dataset, toy_dir, training_samples(config, dataset, toy_dir), held_out)
    with pytest.raises(KilledError):
        train_run(config, data, folder)
    assert (best_step(folder), os.path.exists(scores_path(folder.path, 2, None))) == (1, False)
    train_run(config, data, folder)
    assert scripted.scored == [1, 2, 2]
    assert best_step(folder) == 2
    assert read_best(folder).checksum == checkpoint_checksum(folder.snapshot(2))
    assert checkpoint_checksum(os.path.join(folder.best, "model.ckpt-2")) == read_best(folder).checksum
    assert training_run.step_to_resume(config_with(resume_step=LATEST), folder) == 3
