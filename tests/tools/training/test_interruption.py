"""The message about a training that is stopped between or before its steps."""

from __future__ import annotations

import os
import re
import signal

import pytest

from tests.tools.snapshot_folders import write
from tools.console import run_script
from tools.runs.folder import RunFolder
from tools.runtime.stop_requests import stopping_at_warnings
from tools.training.interruption import RunSoFar

AGAIN = "run the same command again"


def snapshot_in(folder: RunFolder, step: int) -> None:
    write(folder.snapshot(step), str(step), 0)


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    return RunFolder(str(tmp_path / "log" / "Toy" / "run[1]"))


def run_in(folder: RunFolder, *, goes_on: bool) -> RunSoFar:
    so_far = RunSoFar()
    so_far.is_in(folder, goes_on=goes_on)
    return so_far


def test_before_a_folder_is_known():
    assert RunSoFar().describe() == f"before the first step: nothing was written: {AGAIN}"


@pytest.mark.parametrize("goes_on", [False, True])
def test_without_a_snapshot(folder, goes_on):
    so_far = run_in(folder, goes_on=goes_on)
    for _ in range(2):
        words = rf"before the first step: {re.escape(folder.path)} has no snapshot.*: {AGAIN}"
        assert re.fullmatch(words, so_far.describe())
        os.makedirs(folder.snapshots, exist_ok=True)


def test_run_that_goes_on(folder):
    for step in (9, 10):
        snapshot_in(folder, step)
    text = run_in(folder, goes_on=True).describe()
    assert re.search(rf"before the first step: .*no new snapshot .* up to step 10: {AGAIN}$", text)


def test_run_that_will_be_set_aside(folder):
    snapshot_in(folder, 9)
    so_far = run_in(folder, goes_on=False)
    assert re.search(
        f"up to step 9: {AGAIN}, which sets that run aside, or add --resume_step latest", so_far.describe()
    )
    moved_to = folder.set_aside_earlier_run()
    assert os.listdir(moved_to)
    assert so_far.describe().endswith(f"no training is saved; the earlier run is in {moved_to}: {AGAIN}")
    snapshot_in(folder, 9)
    assert re.search(
        "has the snapshot of step 9: go on with the same flags and --resume_step latest", so_far.describe()
    )


def test_run_that_is_scored(folder):
    """`--eval_only 1` takes no steps and does not change the snapshots."""
    snapshot_in(folder, 9)
    so_far = RunSoFar()
    so_far.is_in(folder, goes_on=False, is_scored=True)
    assert so_far.describe() == f"before the scores were written: the run is unchanged: {AGAIN}"


def test_run_that_was_set_aside_before_is_not_named(folder):
    snapshot_in(folder, 9)
    folder.set_aside_earlier_run()
    assert "earlier" not in run_in(folder, goes_on=False).describe()


def test_snapshot_that_the_command_wrote(folder):
    """Also in the place of one that was there."""
    for step in (4, 8):
        snapshot_in(folder, step)
    so_far = run_in(folder, goes_on=True)
    os.utime(folder.snapshot(4) + ".index", (1, 1))
    assert f"{folder.path} has the snapshot of step 4: go on" in so_far.describe()


def interrupted(describe) -> int:
    def main(arguments):
        with stopping_at_warnings(describe):
            raise KeyboardInterrupt

    return run_script(main, [])


def test_line_of_a_run_that_was_interrupted(folder, capsys):
    so_far = run_in(folder, goes_on=False)
    assert interrupted(so_far.describe) == 130
    err = capsys.readouterr().err
    assert err == f"interrupted {so_far.describe()}\n"
    assert folder.path in err


@pytest.fixture
def _ctrl_c_interrupts():
    """Python's handler of SIGINT; a shell starts what runs in the background with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_interrupts")
def test_the_inner_block_sets_the_message(capsys):
    def main(arguments):
        with stopping_at_warnings("outside"), stopping_at_warnings("in scoring"):
            signal.raise_signal(signal.SIGINT)

    assert run_script(main, []) == 130
    assert capsys.readouterr().err == "interrupted in scoring\n"
