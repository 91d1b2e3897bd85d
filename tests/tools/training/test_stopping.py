"""Training that is asked to stop by a signal."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from contextlib import nullcontext
from errno import EIO, EPIPE
from types import SimpleNamespace

import pytest
import tensorflow.compat.v1 as tf

from database.datasets import get_dataset
from database.layouts import Sample
from tests.tools.snapshot_folders import run_with
from tests.tools.toy_runs import smallest_config, toy_record
from tests.tools.training.trainers import run_steps, trainer_of
from tools.runs.folder import RunFolder
from tools.runtime.stop_requests import SIGNALS, StoppedError
from tools.training import validation
from tools.training.samples import RunData
from tools.training.summaries import SummaryWriter

STEPS = 6


class SignalledTrainer:
    """A trainer without a network, whose process gets a signal in a step or while a snapshot is written or scored."""

    def __init__(self, path, number, *, in_step=None, in_save=None, in_score=None, **flags):
        self.steps, self.saved, self.scored = 0, [], []
        self.folder = RunFolder(str(path))

        def send(now, then):
            if now == then:
                os.kill(os.getpid(), number)

        def run(fetches, feed=None):
            self.steps += 1
            send(self.steps, in_step)
            return {"terms": (1.0, 2.0, 3.0), "indices": [0]}

        def save(step):
            send(step, in_save)
            self.saved.append(step)

        def score(step):
            send(step, in_score)
            self.scored.append(step)

        values = {"show_period": 100, "snapshot": 100, "train_max_iter": STEPS, **flags}
        self._graph = tf.Graph()
        self._trainer = trainer_of(
            SimpleNamespace(graph=self._graph, run=run),
            SimpleNamespace(loss=0, auxiliary_loss=0, weight_decay=0, train_op=0, accumulation=None, learning_rate=0),
            SimpleNamespace(faults=[], sample_indices=None),
            [Sample("a", "a.png", None, {})], get_dataset("Toy"), smallest_config("toy", "log", **values),
            self.folder, None, None, score,
        )  # fmt: skip
        self._trainer._step_with_summary = lambda step: run(None)
        self._trainer.save = save

    def run(self, first_step=0):
        with self._graph.as_default():
            run_steps(self._trainer, first_step)


@pytest.fixture(autouse=True)
def ending():
    """In place of the end of the process, an exception."""

    class ProcessEndedError(Exception):
        pass

    def end(number, frame):
        raise ProcessEndedError

    before = {number: signal.signal(number, end) for number in SIGNALS}
    yield ProcessEndedError
    assert {signal.getsignal(number) for number in SIGNALS} == {end}
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_running_step_is_finished_and_its_snapshot_written(tmp_path, number):
    signalled = SignalledTrainer(tmp_path, number, in_step=3)
    with pytest.raises(StoppedError) as caught:
        signalled.run()
    assert (signalled.steps, signalled.saved) == (3, [3])
    line = str(caught.value)
    assert line.startswith(f"{number.name} after step 3, snapshot {signalled.folder.snapshot(3)} is written: ")
    assert "--resume_step 3 (with --auto_resume 1" in line


class ClosedTerminal(io.StringIO):
    """What writing to a terminal does that was closed, or to a pipe whose reader has gone."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self._error = error

    def write(self, text: str) -> int:
        raise self._error

    def flush(self) -> None:
        raise self._error

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("error", [OSError(EIO, "Input/output error"), BrokenPipeError(EPIPE, "Broken pipe")])
def test_closed_terminal_does_not_prevent_the_snapshot(tmp_path, monkeypatch, error):
    closed = ClosedTerminal(error)
    handler = logging.StreamHandler(closed)
    monkeypatch.setattr(sys, "stderr", closed)
    logging.root.addHandler(handler)
    try:
        signalled = SignalledTrainer(tmp_path, signal.SIGHUP, in_step=3, log_memory=False)
        with pytest.raises(StoppedError, match="SIGHUP after step 3"):
            signalled.run()
    finally:
        logging.root.removeHandler(handler)
    assert signalled.saved == [3]


def test_summaries_are_closed(tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr(SummaryWriter, "close", lambda writer: closed.append(writer))
    with pytest.raises(StoppedError):
        SignalledTrainer(tmp_path, signal.SIGTERM, in_step=2).run()
    assert len(closed) == 1


def test_signal_while_a_snapshot_is_written_waits_for_it(tmp_path):
    signalled = SignalledTrainer(tmp_path, signal.SIGTERM, in_save=4, snapshot=4)
    with pytest.raises(StoppedError, match=r"--resume_step 4 \(with --auto_resume 1, the same command goes on\)$"):
        signalled.run()
    assert (signalled.steps, signalled.saved) == (4, [4])


def test_steps_count_from_the_first_of_the_run(tmp_path):
    with pytest.raises(StoppedError, match="SIGTERM after step 5,.* --resume_step 5 "):
        SignalledTrainer(tmp_path, signal.SIGTERM, in_step=2).run(first_step=3)


def test_snapshot_is_not_scored_any_more(tmp_path):
    signalled = SignalledTrainer(tmp_path, signal.SIGTERM, in_step=4, val_every=2)
    with pytest.raises(StoppedError):
        signalled.run()
    assert (signalled.saved, signalled.scored) == ([2, 4], [2])


def test_signal_in_the_last_step_leaves_nothing_to_go_on_with(tmp_path):
    signalled = SignalledTrainer(tmp_path, signal.SIGTERM, in_step=STEPS)
    with pytest.raises(
        StoppedError, match="that was the last step: score it with the same flags and --resume_step latest "
    ):
        signalled.run()
    assert signalled.saved == [STEPS]


def test_signal_in_the_last_step_of_a_run_that_keeps_its_best(tmp_path):
    """`--eval_only` would score the snapshot, and not change the best."""
    signalled = SignalledTrainer(tmp_path, signal.SIGTERM, in_step=STEPS, val_every=4)
    with pytest.raises(StoppedError, match="score it with the same flags and --resume_step latest "):
        signalled.run()


def test_signal_in_scoring_and_before_the_first_step_ends_at_once(tmp_path, ending):
    scoring = SignalledTrainer(tmp_path / "a", signal.SIGTERM, in_score=2, val_every=2)
    with pytest.raises(ending):
        scoring.run()
    assert (scoring.steps, scoring.saved) == (2, [2])
    beginning = SignalledTrainer(tmp_path / "b", signal.SIGTERM, in_save=0, save_first_iteration=True)
    with pytest.raises(ending):
        beginning.run()
    assert beginning.steps == 0


@pytest.mark.parametrize(
    ("step", "eval_only", "words"),
    [
        (4, False, r"which is written: go on with the same flags and --resume_step 4 \(.*\), which scores it first$"),
        (
            STEPS,
            False,
            r"which is written: go on with .* --resume_step latest \(.*\), which scores it$",
        ),
        (4, True, "no scores were written: run the same command again$"),
    ],
)
def test_signal_in_scoring_is_described(tmp_path, monkeypatch, step, eval_only, words):
    """The scores are absent, and the run can be resumed as the line says."""
    folder = run_with(tmp_path, step)
    config = smallest_config("toy", "log", train_max_iter=STEPS, val_every=4, eval_only=eval_only)
    toy_record(config).write(folder.snapshots)
    data = RunData.of(get_dataset("Toy"), "toy", [], [Sample("a", "a.png", None, {})])
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    monkeypatch.setattr(validation, "Predictor", lambda *arguments, **options: nullcontext())
    monkeypatch.setattr(validation, "evaluate", lambda *arguments, **options: os.kill(os.getpid(), signal.SIGUSR1))
    with pytest.raises(StoppedError, match=rf"^SIGUSR1 while scoring .*model.ckpt-{step}\S* {words}"):
        validation.validate(config, data, folder, folder.snapshot(step))
    assert signal.signal(signal.SIGUSR1, before) is signal.SIG_DFL
    assert [name for name in os.listdir(folder.path) if name.startswith("scores")] == []
