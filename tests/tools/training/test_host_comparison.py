"""Weights of several hosts that differ, and what the hosts tell each other in a step."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.tools.distributed.teams import on_team
from tools.distributed.team import FIRST_STEP, Team
from tools.errors import HostsError
from tools.training.notices import Notice, rank_that_stops
from tools.training.outputs import HostSnapshots
from tools.training.plan import Plan
from tools.training.step import StepPatience, StepRunner


def compared(team: Team, values: dict[str, np.ndarray]) -> None:
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        for name, value in values.items():
            tf.get_variable(name, initializer=value, use_resource=True)
        session.run(tf.global_variables_initializer())
        nothing = cast(Any, None)
        StepRunner(session, nothing, nothing, [], lambda step: 0.0, team).compare_hosts(20)


def test_equal_weights():
    values = {"b": np.array([1.0, np.nan], np.float32), "a": np.int64(3)}
    assert on_team(2, lambda team: compared(team, values)) == [None, None]


def test_one_bit_that_differs_is_named_with_both_hosts():
    def compare(team: Team) -> None:
        zero = np.float32(-0.0 if team.rank == 2 else 0.0)
        compared(team, {"a": np.float32(1.0), "layer/weights": np.array([2.0, zero], np.float32)})

    found = on_team(3, compare)
    assert all(isinstance(error, HostsError) for error in found)
    [message] = {str(error) for error in found}
    assert message.startswith("after step 20, host 0 (127.0.0.1:")
    assert "and host 2 (127.0.0.1:" in message
    assert "differ in 1 of 2 variables, first in 'layer/weights'" in message


def test_weights_are_compared_after_the_first_step_and_every_so_many():
    begun, resumed, never = (
        Plan(100, 1, 10, 0.0, None, False, False, 2, check_hosts=every, first_step=first)
        for every, first in ((20, 0), (20, 45), (0, 0))
    )
    assert [step for step in range(1, 61) if begun.compares_hosts(step)] == [1, 20, 40, 60]
    assert [step for step in range(46, 81) if resumed.compares_hosts(step)] == [46, 60, 80]
    assert not any(map(never.compares_hosts, range(1, 61)))


class WrittenSteps:
    """A writer of snapshots."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def write(self, step: int) -> None:
        self.steps.append(step)


@pytest.mark.parametrize("on_all", [False, True])
def test_a_snapshot_is_written_only_of_equal_weights(on_all):
    writers = [WrittenSteps(), WrittenSteps()]

    def save(team: Team, compare: Callable[[int], object]) -> None:
        snapshots = HostSnapshots(cast(Any, writers[team.rank]), team, on_all=on_all, compare=compare)
        snapshots.write(20)
        assert snapshots.saved_step == 20

    equal = {"a": np.float32(1.0)}
    assert on_team(2, lambda team: save(team, lambda step: compared(team, equal))) == [None, None]
    assert [writer.steps for writer in writers] == [[20], [20] if on_all else []]
    found = on_team(2, lambda team: save(team, lambda step: compared(team, {"a": np.float32(team.rank)})))
    assert all(isinstance(error, HostsError) for error in found)
    assert "the last one is from before the difference" in str(found[0])
    assert [writer.steps for writer in writers] == [[20], [20] if on_all else []]


def test_a_step_is_compared_once():
    """Before its snapshot, and because --check_hosts asks for it."""

    def compare(team: Team) -> int:
        sent: list[str] = []

        class Counted:
            named = team.named

            def gather(self, what: str, message: bytes) -> list[bytes]:
                sent.append(what)
                return team.gather(what, message)

        with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
            tf.get_variable("a", initializer=np.float32(1.0), use_resource=True)
            session.run(tf.global_variables_initializer())
            nothing = cast(Any, None)
            runner = StepRunner(session, nothing, nothing, [], lambda step: 0.0, cast(Any, Counted()))
            for number in (1, 20, 20, 21):
                runner.compare_hosts(number)
        return len(sent)

    assert on_team(2, compare) == [3, 3]


def test_the_first_host_that_is_asked_to_stop():
    quiet, asked = Notice(0, 3), Notice(int(signal.SIGTERM), 3)
    assert rank_that_stops([quiet, quiet]) is None
    assert rank_that_stops([quiet, asked, asked]) == 1
    assert (quiet.signal_name, asked.signal_name) == (None, "SIGTERM")


def test_slow_steps_are_given_more_time():
    """The first of each kind, with and without the batch, says nothing about the others."""
    patience = StepPatience()
    assert patience.seconds(False) == FIRST_STEP
    patience.step_taken(False, 40.0)
    assert patience.seconds(False) == FIRST_STEP
    patience.step_taken(False, 2.0)
    patience.step_taken(False, 1.0)
    assert patience.seconds(False) == 10.0
    assert patience.seconds(True) == FIRST_STEP
    patience.step_taken(True, 50.0)
    assert patience.seconds(True) == 10.0
