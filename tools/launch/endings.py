"""Says why the processes of a run ended, and whether it makes sense to start them again."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from tools.console import EXIT_INTERRUPTED, EXIT_STOPPED, EXIT_USER_FAULT

_SIGNAL_BASE = 128


@dataclass(frozen=True)
class Ending:
    """How one process ended.

    Attributes:
        rank: of the process.
        code: exit code, negative after a signal.
        was_told: whether the launcher had sent it a signal.
    """

    rank: int
    code: int
    was_told: bool = False

    @property
    def exit_code(self) -> int:
        """Returns the code as shells show it: 128 and the number of a signal."""
        return self.code if self.code >= 0 else _SIGNAL_BASE - self.code

    @property
    def is_temporary(self) -> bool:
        """Whether the run can go on when all processes are started again: this one was killed, or asks for it."""
        return self.exit_code == EXIT_STOPPED or (self.exit_code > _SIGNAL_BASE and self.exit_code != EXIT_INTERRUPTED)

    def __str__(self) -> str:
        number = self.exit_code - _SIGNAL_BASE
        if number > 0 and number in {member.value for member in signal.Signals}:
            return f"rank {self.rank} was ended by {signal.Signals(number).name}"
        return f"rank {self.rank} ended with exit code {self.code}"


def cause_of(endings: Sequence[Ending]) -> Ending | None:
    """Finds the ending that the others follow from.

    This is the first of those that are not 0. A user error comes before it: a process that notices the end of another
    may end earlier than this one, but never with a user error.

    Args:
        endings: in the order in which the processes ended.

    Returns:
        None if all processes ended with 0.
    """
    failed = [ending for ending in endings if ending.code != 0]
    by_themselves = [ending for ending in failed if not ending.was_told] or failed
    errors = [ending for ending in by_themselves if ending.code == EXIT_USER_FAULT]
    return next(iter(errors or by_themselves), None)


def stopped_code(endings: Sequence[Ending], number: int) -> int:
    """Returns the exit code after a signal: 75 if a process can be resumed, 0 if all were done.

    Args:
        endings: of the processes; none if none was started.
        number: of the signal.
    """
    if not endings:
        return _SIGNAL_BASE + number
    codes = [ending.exit_code for ending in endings if ending.code != 0]
    return EXIT_STOPPED if EXIT_STOPPED in codes else codes[0] if codes else 0
