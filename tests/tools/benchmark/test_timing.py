"""Medians and means of what a clock says."""

from __future__ import annotations

import pytest

from tools.benchmark.timing import interleaved_medians, processor_seconds


class Clock:
    """Stands still but for what candidates add."""

    def __init__(self):
        self.now = 0.0
        self.called = []

    def __call__(self):
        return self.now

    def candidate(self, name, durations):
        """A call that takes the next duration."""
        left = iter(durations)

        def call():
            self.called.append(name)
            self.now += next(left)

        return call


def test_candidates_take_turns_and_warm_up_does_not_count():
    clock = Clock()
    candidates = {"a": clock.candidate("a", [100, 1, 9, 2]), "b": clock.candidate("b", [50, 5, 5, 8])}
    assert interleaved_medians(candidates, warm_up=1, repeats=3, clock=clock) == {"a": 2, "b": 5}
    assert "".join(clock.called) == "abababab"


@pytest.mark.parametrize("warm_up", [0, 2])
def test_processor_seconds_is_the_mean_after_the_warm_up(warm_up):
    clock = Clock()
    call = clock.candidate("a", [70] * warm_up + [1, 2, 6])
    assert processor_seconds(call, warm_up=warm_up, repeats=3, clock=clock) == 3
