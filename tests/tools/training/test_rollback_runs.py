"""A run that goes back to a snapshot, against the same run resumed by hand; the loop around it without a network."""

from __future__ import annotations

import dataclasses
import glob
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from database.datasets import get_dataset
from database.layouts import Sample
from model import resnet
from tests.tools.snapshot_folders import run_with
from tests.tools.toy_runs import NARROW, NETWORK, csv_rows, smallest_config, tensors_in, toy_record, train, train_with
from tests.tools.training.trainers import run_steps, trainer_of
from tools.errors import DivergedError, RecordError
from tools.flags.choices import LATEST
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder, run_folder
from tools.runs.snapshots import snapshot_steps
from tools.training import run as training_run
from tools.training.attempt import Attempt
from tools.training.rollback import Rollback, read_rollbacks
from tools.training.run_files import prepare_folder
from tools.training.samples import RunData
from tools.training.start import TrainingStart
from tools.training.step import StepRunner

FAULT = "the loss is not finite"
RATE = 0.02


@dataclass(frozen=True)
class RolledBack:
    """A run of 3 steps that met NaN in the second, and what the same run, resumed by hand, has in the end."""

    config: TrainConfig
    folder: RunFolder
    expected: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def rolled_back(toy_dir, tmp_path_factory):
    path = tmp_path_factory.mktemp("rolled-back")
    config = smallest_config(
        toy_dir, str(path / "log"), on_nan="rollback", train_max_iter=3, save_first_iteration=True, lrn_rate=RATE
    )
    by_hand = dataclasses.replace(config, log_dir=str(path / "by-hand"), lrn_rate=RATE / 2, resume_step=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.NETWORKS, NETWORK, NARROW)
        with pytest.MonkeyPatch.context() as poison:
            poison.setattr(StepRunner, "run", _poisoned(StepRunner.run, step=2))
            folder = train_with(config)
        other = run_folder(by_hand)
        os.makedirs(other.snapshots)
        for file in glob.glob(folder.snapshot(1) + ".*"):
            shutil.copy(file, other.snapshots)
        expected = tensors_in(train_with(by_hand).snapshot(3))
    yield RolledBack(config, folder, expected)
    shutil.rmtree(path)


def _poisoned(step_of_runner, step):
    """The method with a weight that becomes NaN before a step, the first time that it is taken."""
    poisoned = []

    def take(self, number, **more):
        if number == step and not poisoned:
            weight = self._graph.weights[f"{NETWORK}/logits/weights"]
            weight.load(np.full(weight.shape.as_list(), np.nan), self._session)
            poisoned.append(number)
        return step_of_runner(self, number, **more)

    return take


def _require_same_end(run: RolledBack) -> None:
    """To 1e-5 of the largest value of each variable; the steps since the snapshot moved them by more."""
    found, before = tensors_in(run.folder.snapshot(3)), tensors_in(run.folder.snapshot(1))
    assert found.keys() == run.expected.keys()
    moved = 0
    for name, value in run.expected.items():
        bound = 1e-5 * max(np.abs(value).max(), 1e-3)
        np.testing.assert_allclose(found[name], value, rtol=0, atol=bound, err_msg=name)
        moved += np.abs(value - before[name]).max() > 10 * bound
    assert moved > 0.9 * len(found)  # or the comparison would not see a learning rate that was not halved


@pytest.mark.slow
def test_run_goes_on_as_one_resumed_by_hand_with_half_the_learning_rate(rolled_back):
    assert read_rollbacks(rolled_back.folder) == (Rollback(2, FAULT, 1),)
    assert snapshot_steps(rolled_back.folder) == [0, 1, 2, 3]
    _require_same_end(rolled_back)


@pytest.mark.slow
def test_curves_have_one_row_for_a_step(rolled_back):
    rows = csv_rows(rolled_back.folder)
    assert [row["step"] for row in rows] == [1, 2, 3]
    rates = [RATE * (1 - step / 3) ** 0.9 * factor for step, factor in enumerate((1, 0.5, 0.5))]
    assert [row["learning_rate"] for row in rows] == pytest.approx(rates, rel=1e-5)
    assert all(np.isfinite(row["loss"]) for row in rows)


@pytest.mark.slow
def test_run_is_not_set_aside(rolled_back):
    assert os.listdir(os.path.dirname(rolled_back.folder.path)) == [os.path.basename(rolled_back.folder.path)]


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_resnet")
def test_run_resumed_from_before_its_rollback_has_the_same_numbers(rolled_back):
    for step in (1, 2, 3):
        for file in glob.glob(rolled_back.folder.snapshot(step) + ".*"):
            os.unlink(file)
    train_with(dataclasses.replace(rolled_back.config, resume_step=LATEST, on_nan="stop"))
    _require_same_end(rolled_back)


class Loop:
    """Attempts that diverge at given steps, and the flags that each began with."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, diverging_at: list[int]) -> None:
        self.folder = run_with(path, 2, 4)
        self.configs, self.counted = [], 0
        self._steps = iter(diverging_at)
        monkeypatch.setattr(training_run, "Attempt", self._attempt)
        monkeypatch.setattr(training_run, "_class_weights", self._class_weights)
        monkeypatch.setattr(training_run, "recorded_pretrained", lambda folder: None)
        monkeypatch.setattr(
            TrainingStart, "of", lambda config, *more: TrainingStart(config.resume_step or 0, None, None)
        )

    def _class_weights(self, config, data):
        self.counted += 1

    def _attempt(self, start, config, data, folder, devices, weights, sampling, hosts):
        weights()
        self.configs.append(config)
        step = next(self._steps, None)
        error = None if step is None else DivergedError(f"{FAULT} at step {step}", FAULT, step, saved_step=4)
        return SimpleNamespace(start=start, diverged=error, last_step=config.train_max_iter)

    def train(self, **flags):
        config = smallest_config("toy", "log", on_nan="rollback", train_max_iter=9, **flags)
        data = RunData.of(get_dataset("Toy"), "toy", [])
        for _ in training_run.Training(config, data, self.folder).attempts():
            pass


def test_loop_resumes_until_the_end(tmp_path, monkeypatch):
    loop = Loop(tmp_path, monkeypatch, [5, 6, 5])
    loop.train(auto_resume=True)
    assert [config.resume_step for config in loop.configs] == [4, 4, 4, 4]
    assert [rollback.step for rollback in read_rollbacks(loop.folder)] == [5, 6, 5]
    assert loop.counted == 1  # the labels are not read again for the weights of classes


def test_loop_ends_with_the_fourth_fault(tmp_path, monkeypatch):
    loop = Loop(tmp_path, monkeypatch, [5, 6, 7, 8])
    with pytest.raises(DivergedError, match="is not finite at step 8; the run was rolled back 3 times already"):
        loop.train()
    assert [config.resume_step for config in loop.configs] == [None, 4, 4, 4]


def test_rollbacks_of_an_earlier_process_count(tmp_path, monkeypatch):
    Loop(tmp_path, monkeypatch, [5, 6]).train()
    with pytest.raises(DivergedError, match=r"3 times already: from step 5 to 4, from step 6 to 4, from step 7 to 4$"):
        Loop(tmp_path, monkeypatch, [7, 8]).train(resume_step=4)


def test_checkpoint_of_the_start_is_found_where_it_was_set_aside(tmp_path, monkeypatch):
    config = smallest_config("toy", "log", fine_tune_filename="run/model.ckpt-9", auto_resume=True)
    folder = RunFolder(str(tmp_path))
    began, resumed = TrainingStart(0, None, "run/model.ckpt-9"), TrainingStart(2, "x", "run/model.ckpt-9")
    for recorded, start, expected in (
        ("run.earlier-1/model.ckpt-9", began, "run.earlier-1/model.ckpt-9"),
        ("run/model.ckpt-9", began, "run/model.ckpt-9"),
        ("elsewhere/model.ckpt-9", resumed, "run/model.ckpt-9"),
        (None, began, "run/model.ckpt-9"),
    ):
        monkeypatch.setattr(training_run, "recorded_pretrained", lambda folder, recorded=recorded: recorded)
        going_on = training_run._resuming(config, 4, start, folder)
        assert going_on == dataclasses.replace(config, resume_step=4, auto_resume=False, fine_tune_filename=expected)


@pytest.mark.parametrize(
    ("has_snapshot", "auto_resume", "resumed", "left"),
    [(True, False, None, None), (False, True, None, None), (True, False, "snapshot", "here")],
    ids=["begun", "begun in its place", "resumed"],
)
def test_rollbacks_of_an_earlier_run_do_not_count(tmp_path, has_snapshot, auto_resume, resumed, left):
    config = smallest_config("toy", "log", auto_resume=auto_resume)
    folder = run_with(tmp_path / "run", *([4] if has_snapshot else []))
    Path(folder.rollbacks).write_text("here")
    data = RunData.of(get_dataset("Toy"), "toy", [])
    prepare_folder(TrainingStart(0, resumed, None), config, data, folder, toy_record(config))
    aside = Path(f"{folder.path}.earlier-1", "rollbacks.json")
    assert os.path.exists(folder.rollbacks) == (left is not None)
    assert aside.exists() == (has_snapshot and resumed is None)


@pytest.mark.usefixtures("narrow_resnet")
def test_damaged_list_is_rejected_before_the_graph_is_built(tmp_path, monkeypatch):
    folder = run_with(tmp_path, 4)
    Path(folder.rollbacks).write_text("[")
    data = RunData.of(get_dataset("Toy"), "toy", [])
    start, config = TrainingStart(4, folder.snapshot(4), None), smallest_config("toy", "log")
    with pytest.raises(RecordError, match=r"rollbacks.json: not the list of a run's rollbacks"):
        train(Attempt(start, config, data, folder, [], None))


def test_signal_in_the_step_that_diverges_is_kept(tmp_path):
    """The step goes back, and the run stops: the request is not lost."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def run(fetches, feed=None):
        os.kill(os.getpid(), signal.SIGTERM)
        return {"terms": (float("nan"), 2.0, 3.0), "indices": [0]}

    folder, config = run_with(tmp_path, 4), smallest_config("toy", "log", show_period=100, train_max_iter=9)
    with tf.Graph().as_default() as graph:
        trainer = trainer_of(
            SimpleNamespace(graph=graph, run=run),
            SimpleNamespace(loss=0, auxiliary_loss=0, weight_decay=0, train_op=0, accumulation=None, learning_rate=0),
            SimpleNamespace(sample_indices=None),
            [Sample("a", "a.png", None, {})], get_dataset("Toy"), config, folder, None, None,
        )  # fmt: skip
        with pytest.raises(DivergedError) as caught:
            run_steps(trainer, 4)
    signal.signal(signal.SIGTERM, before)
    error = caught.value
    assert (error.fault, error.step, error.saved_step, error.stop_signal) == (FAULT, 5, None, "SIGTERM")
