"""Signals that reach one of several hosts in a step after which no other step follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.tools.distributed.teams import on_team
from tools.distributed.team import Team
from tools.errors import DivergedError, HostsError
from tools.runs.folder import RunFolder
from tools.runtime.stop_requests import StoppedError
from tools.training.loop import Trainer
from tools.training.notices import Notice
from tools.training.outputs import HostSnapshots
from tools.training.plan import Plan
from tools.training.step import StepResult, StepRunner, StepTaken

LAST = 3
_NOTHING = cast(Any, None)


class Steps(StepRunner):
    """Steps without a graph, which call a function after the exchange of notices."""

    def __init__(self, team: Team, then: Callable[[int], object], losses: tuple[float, ...]) -> None:
        super().__init__(_NOTHING, _NOTHING, _NOTHING, [], lambda step: 0.1, team)
        self._then = then
        self._losses = losses

    def run(self, number: int, *, with_batch: bool = False, notice: Notice | None = None) -> StepTaken:
        assert notice is not None
        notices = self.exchange(f"step {number}", notice)
        self._then(number)
        images = (f"image{self._hosts.rank}.png",)
        return StepTaken(number, 0.1, images, StepResult(self._losses[number - 1], 0.0, 0.0), None, notices)

    def skipped_steps(self) -> int:
        return 0


class Curves:
    @contextmanager
    def opened(self, first_step: int) -> Iterator[None]:
        yield

    def write(self, *values: object) -> None:
        pass


def run(
    team: Team, tmp_path: Any, *, signal_in: int = LAST, ends_after: int | None = None, losses: tuple[float, ...] = ()
) -> list[int]:
    """Trains three steps on one host; host 1 gets SIGTERM in one of them, after it told the others that it has none."""
    written: list[int] = []
    writer = SimpleNamespace(fault=lambda: None, write=written.append, place=lambda step: f"model.ckpt-{step}")

    def receive(number: int) -> None:
        if team.rank == 1 and number == signal_in:
            trainer._requests._receive(15, None)

    trainer = Trainer(
        Plan(LAST, 1000, 1000, 0.0, 1 if ends_after else None, False, False, 2),
        RunFolder(str(tmp_path)),
        Steps(team, receive, losses or (1.0,) * LAST),
        HostSnapshots(cast(Any, writer), team, on_all=True),
        cast(Any, Curves()),
        ends_early=lambda step: step == ends_after,
    )
    with trainer.running(0):
        for step in trainer.steps():
            trainer.save_if_due(step)
            trainer.score_if_due(step)
    return written


def test_without_a_signal_all_end(tmp_path):
    assert on_team(2, lambda team: run(team, tmp_path, signal_in=0)) == [[LAST], [LAST]]


@pytest.mark.parametrize("ends_after", [None, 2])
def test_a_signal_in_the_last_step_stops_all(ends_after, tmp_path):
    last = ends_after or LAST
    for found in on_team(2, lambda team: run(team, tmp_path, signal_in=last, ends_after=ends_after)):
        assert isinstance(found, StoppedError)
        assert f"SIGTERM on host 1 after step {last}, snapshot model.ckpt-{last} is written" in str(found)


def test_a_signal_in_the_step_that_diverges_is_known_to_all_with_its_images(tmp_path):
    losses = (1.0, float("nan"), 1.0)
    for found in on_team(2, lambda team: run(team, tmp_path, signal_in=2, losses=losses)):
        assert isinstance(found, DivergedError)
        assert found.stop_signal == "SIGTERM on host 1"
        assert "images of the step: image0.png, image1.png" in str(found)


def test_a_weight_that_is_not_finite_on_one_host_is_a_difference(tmp_path):
    def check(team: Team) -> str | None:
        fault = "a weight is not finite ('a')" if team.rank == 1 else None
        return HostSnapshots(cast(Any, SimpleNamespace(fault=lambda: fault)), team, on_all=False).fault()

    for found in on_team(2, check):
        assert isinstance(found, HostsError)
        assert "on host 0 (127.0.0.1:" in str(found)
        assert ") all weights are finite, and on host 1 (127.0.0.1:" in str(found)
        assert ") a weight is not finite ('a'): use" in str(found)
