"""Weights of several hosts that differ, and what the hosts tell each other in a step."""

from __future__ import annotations

import signal
from typing import Any, cast

import numpy as np
import tensorflow.compat.v1 as tf

from tests.tools.distributed.teams import on_team
from tools.distributed.team import FIRST_STEP, Team
from tools.errors import HostsError
from tools.training.notices import Notice, rank_that_stops
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


def test_weights_are_compared_every_so_many_steps():
    plan = Plan(100, 1, 10, 0.0, None, False, False, 2, check_hosts=20)
    assert [step for step in range(1, 61) if plan.compares_hosts(step)] == [20, 40, 60]
    assert not Plan(100, 1, 10, 0.0, None, False, False, 2).compares_hosts(20)


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
