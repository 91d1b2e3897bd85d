"""What the terminals of several hosts show: the progress of the program on one of them only."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tools.distributed.team import Team
from tools.runtime.quiet import warnings_only

logger = logging.getLogger(__name__)


@contextmanager
def as_one_program(team: Team) -> Iterator[Team]:
    """Shows information and progress on the host of rank 0 only while the block runs, and closes the team after it.

    The other hosts say before the block who shows them, and after it that they are done. After an error the team is
    left open, because closing waits for the others.
    """
    if team.is_chief:
        yield team
        team.close()
        return
    logger.info("from here on, this host shows warnings only: %s shows progress and scores", team.named(0))
    with warnings_only():
        yield team
        team.close()
    logger.info("this host is done: %s shows the results", team.named(0))
