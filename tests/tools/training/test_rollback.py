"""Going back to a snapshot: the file of rollbacks, the learning rate, and which snapshot it is."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.tools.snapshot_folders import DATA_ENDING, flip, outcomes, run_with
from tests.tools.snapshot_folders import write as write_snapshot
from tests.tools.toy_runs import tiny_config
from tools.errors import DivergedError, RecordError
from tools.runs.folder import RunFolder
from tools.runtime.stop_requests import StoppedError
from tools.training.rollback import Rollback, forget_rollbacks, learning_rate_factor, read_rollbacks, roll_back
from tools.training.settings import learning_rate_at

FAULT = "the loss is not finite"


def diverged_at(step: int | None, **more) -> DivergedError:
    return DivergedError(f"{FAULT} at step {step}", FAULT, step, **more)


def rollbacks_to(*steps: int) -> list[Rollback]:
    return [Rollback(step + 5, FAULT, step) for step in steps]


@pytest.mark.parametrize(
    ("resumed_steps", "expected"),
    [((), [1, 1, 1, 1, 1, 1]),
     ((0,), [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
     ((3,), [1, 1, 1, 0.5, 0.5, 0.5]),
     ((2, 4), [1, 1, 0.5, 0.5, 0.25, 0.25]),
     ((3, 3), [1, 1, 1, 0.25, 0.25, 0.25]),
     ((4, 1, 1), [1, 0.25, 0.25, 0.25, 0.125, 0.125])],
)  # fmt: skip
def test_learning_rate_is_halved_from_each_snapshot_on(resumed_steps, expected):
    rollbacks = rollbacks_to(*resumed_steps)
    assert [learning_rate_factor(rollbacks, step) for step in range(6)] == expected
    config = tiny_config("toy", "log", lrn_rate=0.3, train_max_iter=8)
    poly = [0.3 * (1 - step / 8) ** 0.9 for step in range(6)]
    rates = [learning_rate_at(config, step, rollbacks) for step in range(6)]
    assert rates == pytest.approx(list(np.multiply(poly, expected)), rel=1e-12)


def write(folder: RunFolder, entries) -> None:
    os.makedirs(folder.path, exist_ok=True)
    Path(folder.rollbacks).write_text(entries if isinstance(entries, str) else json.dumps(entries))


ENTRY = {"step": 7, "fault": FAULT, "resumed_step": 5}


def test_file_of_a_run(tmp_path):
    folder = RunFolder(str(tmp_path))
    assert read_rollbacks(folder) == ()
    write(folder, [ENTRY, ENTRY | {"step": 6, "resumed_step": 0}])
    assert read_rollbacks(folder) == (Rollback(7, FAULT, 5), Rollback(6, FAULT, 0))
    forget_rollbacks(folder)
    forget_rollbacks(folder)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("entries", "words"),
    [("", "not the list of a run's rollbacks (Expecting value: line 1 column 1 (char 0))"),
     ("\0", "not the list of a run's rollbacks (Expecting value"),
     ("[" * 100_000, "not the list of a run's rollbacks (maximum recursion depth"),
     ("[" + "9" * 5000 + "]", "not the list of a run's rollbacks (Exceeds the limit"),
     ({}, "not the list of a run's rollbacks (up to 3 objects are expected)"),
     ([ENTRY] * 4, "not the list of a run's rollbacks (up to 3 objects are expected)"),
     ([3], "'0' is no object"),
     ([ENTRY, {"step": 7, "fault": FAULT}], "'1.resumed_step' is missing"),
     ([ENTRY | {"rate": 1}], "'0.rate' is unknown, expected step, fault, resumed_step"),
     ([ENTRY | {"step": 7.0}], "'0.step' is 7.0, expected a whole number from 0 on"),
     ([ENTRY | {"step": True}], "'0.step' is true, expected a whole number from 0 on"),
     ([ENTRY | {"step": 1 << 63}], "'0.step' is 9223372036854775808, expected a whole number from 0 on"),
     ([ENTRY | {"resumed_step": -1}], "'0.resumed_step' is -1, expected a whole number from 0 on"),
     ([ENTRY | {"resumed_step": 7}], "'0.resumed_step' is 7, expected less than the step, 7"),
     ([ENTRY | {"fault": None}], "'0.fault' is null, expected one line of text"),
     ([ENTRY | {"fault": "a\nb"}], "'0.fault' is \"a\\nb\", expected one line of text")],
)  # fmt: skip
def test_damaged_file(tmp_path, entries, words):
    folder = RunFolder(str(tmp_path))
    write(folder, entries)
    with pytest.raises(RecordError) as caught:
        read_rollbacks(folder)
    assert str(caught.value).startswith(f"{folder.rollbacks}: {words}")
    assert "\n" not in str(caught.value)


def test_file_that_cannot_be_read(tmp_path):
    folder = RunFolder(str(tmp_path))
    os.mkdir(folder.rollbacks)
    with pytest.raises(RecordError, match="Is a directory"):
        read_rollbacks(folder)
    Path(folder.rollbacks).rmdir()
    os.mkfifo(folder.rollbacks)
    with pytest.raises(RecordError, match="a pipe or a device, expected a file"):
        read_rollbacks(folder)
    os.unlink(folder.rollbacks)
    Path(folder.rollbacks).write_bytes(b'["\xff"]')
    with pytest.raises(RecordError, match="can't decode byte 0xff"):
        read_rollbacks(folder)


def test_back_to_the_last_snapshot(tmp_path, caplog):
    folder = run_with(tmp_path, 2, 4)
    assert roll_back(folder, diverged_at(5, saved_step=4), first_step=0) == 4
    assert json.loads(Path(folder.rollbacks).read_text()) == [{"step": 5, "fault": FAULT, "resumed_step": 4}]
    assert roll_back(folder, diverged_at(5), first_step=4) == 4
    for line, number, factor in zip(caplog.messages, (1, 2), ("0.5", "0.25"), strict=True):
        assert line.startswith(f"{FAULT} at step 5: back to snapshot {folder.snapshot(4)}, ")
        assert f" learning rate times {factor} " in line
        assert line.endswith(f"(rollback {number} of 3)")


def test_a_damaged_snapshot_is_skipped(tmp_path, caplog):
    folder = run_with(tmp_path, 2, 4)
    flip(folder.snapshot(4) + DATA_ENDING)
    assert roll_back(folder, diverged_at(5, saved_step=4), first_step=0) == 2
    assert caplog.messages[0].startswith(f"{folder.snapshot(4)} is damaged and skipped: ")
    # Twice from step 4 on, to where it did not get before, but once from step 2 on.
    write(folder, [{"step": 5, "fault": FAULT, "resumed_step": 4}])
    assert roll_back(folder, diverged_at(5, saved_step=4), first_step=0) == 2
    assert "with the learning rate times 0.5 from there on (rollback 2 of 3)" in caplog.messages[-1]


@pytest.mark.parametrize(("saved_step", "resumed_step"), [(None, 2), (3, 3)])
def test_snapshots_of_a_time_before_the_run_went_back_do_not_count(tmp_path, saved_step, resumed_step):
    """A run that had got to step 8 was resumed from step 2. A checkpoint without a step does not count either."""
    folder = run_with(tmp_path, 2, 4, 8, *([] if saved_step is None else [saved_step]))
    write_snapshot(os.path.join(folder.snapshots, "another.ckpt"))
    assert roll_back(folder, diverged_at(7, saved_step=saved_step), first_step=2) == resumed_step


def test_without_a_sound_snapshot(tmp_path):
    folder = run_with(tmp_path, 4)
    flip(folder.snapshot(4) + DATA_ENDING)
    words = f"^{FAULT} at step 5; this run has no undamaged snapshot for --on_nan rollback$"
    for saved_step in (4, None):
        with pytest.raises(DivergedError, match=words):
            roll_back(folder, diverged_at(5, saved_step=saved_step), first_step=0)
    assert not os.path.exists(folder.rollbacks)


def test_before_the_first_step_there_is_nothing_to_go_back_to(tmp_path):
    folder = run_with(tmp_path, 0)
    with pytest.raises(DivergedError, match="no undamaged snapshot for --on_nan rollback"):
        roll_back(folder, diverged_at(None), first_step=0)


def test_the_fourth_time_is_the_last(tmp_path):
    folder = run_with(tmp_path, 2, 4)
    for step, saved_step in ((5, 4), (6, 4), (4, 2)):
        roll_back(folder, diverged_at(step, saved_step=saved_step), first_step=0)
    before = Path(folder.rollbacks).read_bytes()
    with pytest.raises(DivergedError) as caught:
        roll_back(folder, diverged_at(5, saved_step=4), first_step=2)
    assert str(caught.value).startswith(f"{FAULT} at step 5; the run was rolled back 3 times")
    assert str(caught.value).endswith(": from step 5 to 4, from step 6 to 4, from step 4 to 2")
    assert Path(folder.rollbacks).read_bytes() == before


def test_a_request_to_stop_is_not_lost(tmp_path):
    folder = run_with(tmp_path, 4)
    with pytest.raises(StoppedError) as caught:
        roll_back(folder, diverged_at(5, saved_step=4, stop_signal="SIGTERM"), first_step=0)
    line = str(caught.value)
    assert line.startswith(f"SIGTERM after step 5, which was rolled back to snapshot {folder.snapshot(4)}: ")
    assert "--resume_step 4 (with --auto_resume 1" in line
    assert read_rollbacks(folder) == (Rollback(5, FAULT, 4),)


@pytest.mark.parametrize("killed", [False, True])
def test_wherever_writing_stops_the_list_is_the_old_or_the_new(tmp_path, killed):
    old, new = [Rollback(3, FAULT, 2)], [Rollback(3, FAULT, 2), Rollback(5, FAULT, 4)]

    def start(path):
        write(run_with(Path(path), 4), [dataclasses.asdict(rollback) for rollback in old])

    def act(path):
        roll_back(RunFolder(path), diverged_at(5, saved_step=4), first_step=0)

    found = outcomes(start, act, lambda path: list(read_rollbacks(RunFolder(path))), tmp_path, killed=killed)
    assert all(rollbacks in (old, new) for rollbacks in found)
    assert old in found
    assert found[-1] == new
