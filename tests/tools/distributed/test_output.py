"""What the terminals of several hosts show."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from tools.distributed.output import as_one_program

logger = logging.getLogger(__name__)


def team_of(rank: int, closed: list[int]) -> Any:
    """What the function needs of a `Team`."""
    return SimpleNamespace(
        is_chief=rank == 0, named=lambda rank: f"host {rank} (there:1)", close=lambda: closed.append(rank)
    )


@pytest.mark.parametrize("rank", [0, 1])
def test_one_host_shows_the_progress_and_the_others_say_who(rank, caplog):
    closed: list[int] = []
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)
    try:
        with as_one_program(team_of(rank, closed)):
            logger.info("step 20")
            logger.warning("a full disk")
        assert root.level == logging.INFO
    finally:
        root.setLevel(before)
    assert closed == [rank]
    shown = [record.getMessage() for record in caplog.records]
    if rank == 0:
        assert shown == ["step 20", "a full disk"]
    else:
        announced, warned, done = shown
        assert "host 0 (there:1) shows progress" in announced
        assert warned == "a full disk"
        assert "is done" in done


def test_a_team_is_left_open_after_an_error():
    """The others notice by themselves; closing would wait for them."""
    closed: list[int] = []
    level = logging.getLogger().level
    with pytest.raises(ValueError, match="a fault"), as_one_program(team_of(1, closed)):
        raise ValueError("a fault")
    assert closed == []
    assert logging.getLogger().level == level
