"""Which process ended the run, and whether it is worth another start."""

from __future__ import annotations

import signal

import pytest

from tools.launch.endings import Ending, cause_of, stopped_code


def test_the_first_that_failed_is_the_cause():
    killed, left = Ending(1, -9), Ending(0, 75)
    assert cause_of([killed, left]) is killed
    assert cause_of([left, killed]) is left
    assert cause_of([Ending(2, 0), left]) is left
    assert cause_of([Ending(0, 0), Ending(1, 0)]) is None
    assert cause_of([]) is None


def test_a_user_error_is_the_cause_also_if_another_left_before():
    """A process with a wrong flag may take longer to end than its peer takes to notice."""
    error = Ending(1, 2)
    assert cause_of([Ending(0, 75), error]) is error
    bug = Ending(0, 1)
    assert cause_of([bug, Ending(1, 75)]) is bug
    assert cause_of([Ending(1, -11), bug]) == Ending(1, -11)  # a traceback about a peer that is gone


def test_what_the_launcher_ended_is_no_cause():
    told = Ending(0, -15, was_told=True)
    assert cause_of([told, Ending(1, 75)]) == Ending(1, 75)
    assert cause_of([told]) is told


@pytest.mark.parametrize(
    ("code", "is_temporary"),
    [(75, True), (-9, True), (-11, True), (-15, True), (137, True), (143, True), (1, False), (2, False), (130, False),
     (-2, False), (128, False)],
)  # fmt: skip
def test_ends_that_are_temporary(code, is_temporary):
    assert Ending(0, code).is_temporary is is_temporary


def test_endings_in_words():
    assert str(Ending(1, -9)) == "rank 1 was ended by SIGKILL"
    assert str(Ending(1, 143)) == "rank 1 was ended by SIGTERM"
    assert str(Ending(0, 2)) == "rank 0 ended with exit code 2"
    assert (Ending(0, -9).exit_code, Ending(0, 75).exit_code) == (137, 75)


def test_exit_code_after_a_signal():
    assert stopped_code([Ending(0, 75), Ending(1, 75)], signal.SIGTERM) == 75
    assert stopped_code([Ending(0, 0), Ending(1, 0)], signal.SIGTERM) == 0
    assert stopped_code([Ending(0, -15, True), Ending(1, 75, True)], signal.SIGTERM) == 75
    assert stopped_code([Ending(0, 130, True), Ending(1, -2, True)], signal.SIGINT) == 130
    assert stopped_code([], signal.SIGTERM) == 143
