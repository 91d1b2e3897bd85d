"""Ends this process if the other hosts make no progress, and says which of them is missing.

A host that is stopped or cut off closes no connection, so no collective fails. A thread therefore measures from outside
of the session how long this host has been waiting. After six tenths of the time limit it asks the other hosts whether
they answer, and asks again later, because a packet may be lost. If one does not answer twice, or the limit is over, the
process ends with exit code 75, so that whatever starts processes starts it again: TensorFlow's collectives do not
recover within a process.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tools.distributed.probing import silent_hosts
from tools.runtime.hosts import Hosts
from tools.runtime.printable import printable
from tools.runtime.session_errors import reason
from tools.runtime.stop_requests import StoppedError

_EXIT_STOPPED = 75  # as `console.EXIT_STOPPED`
# Shares of the time limit: until the first probe, and from the beginning of a probe to that of the next.
_FIRST_PROBE = 0.6
_BETWEEN_PROBES = 0.2
_LONGEST_PROBE = 3.0
# Time for the other hosts to find this process answering while they look for the one that is missing.
_LONGEST_GRACE = 5.0
_PROBES_IN_GRACE = 10
_THEN = "start all hosts again with --auto_resume 1: the run goes on from its last snapshot, or begins if it has none"
# What TensorFlow says about the host that a failed message was for.
_NAMED_TASK = re.compile(r"/task:(\d{1,6})\b")


class LostHostError(StoppedError):
    """Another host does not take part any more; the run can be resumed."""


@dataclass(frozen=True)
class _Wait:
    """What this host is waiting for, since when, and for how long at most, in seconds."""

    what: str
    began: float
    patience: float


def _leave(message: str) -> None:
    with suppress(OSError, ValueError):
        print(printable(f"stopped: {message}"), file=sys.stderr, flush=True)
    os._exit(_EXIT_STOPPED)


class HostWatch:
    """Watches over the waits of this host for the others.

    Attributes:
        cleanups: called before the process is ended, such as the removal of a lock.
    """

    def __init__(self, hosts: Hosts, seconds: float, leave: Callable[[str], object] = _leave) -> None:
        """Starts the thread.

        Args:
            hosts: of the run.
            seconds: within which a host that is missing is noticed.
            leave: ends the process with a message.
        """
        self._hosts = hosts
        self._seconds = seconds
        self._leave = leave
        self.cleanups: list[Callable[[], object]] = []
        self._wait: _Wait | None = None
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def waiting(self, what: str, patience: float | None = None) -> Iterator[None]:
        """Watches over a block that waits for the other hosts.

        Args:
            what: the block does, for the message.
            patience: seconds that the block may take while all hosts answer; by default the limit for missing hosts.
        """
        self._wait = _Wait(what, time.monotonic(), max(self._seconds, patience or 0.0))
        try:
            yield
        finally:
            self._wait = None

    def lost(self, what: str, error: Exception) -> LostHostError:
        """Returns the error for a collective that failed, after asking which host is missing.

        Args:
            what: this host was doing, for the message.
            error: of TensorFlow.
        """
        silent = self._silent()
        until = time.monotonic() + self._grace
        while not silent and time.monotonic() < until:  # its process may be about to end
            time.sleep(self._grace / _PROBES_IN_GRACE)
            silent = self._silent()
        seen = f"a message between the hosts failed ({reason(error)})"
        message = self._message(silent, what, seen, self._named_in(str(error)))
        time.sleep(self._grace)
        return LostHostError(message)

    @property
    def _grace(self) -> float:
        return min(_LONGEST_GRACE, self._seconds / 4)

    def _silent(self) -> Mapping[int, str]:
        others = (rank for rank in range(self._hosts.count) if rank != self._hosts.rank)
        return silent_hosts(self._hosts, others, min(_LONGEST_PROBE, self._seconds / 5))

    def _named_in(self, text: str) -> str:
        """Returns whose last lines to look at: of the hosts that an error of TensorFlow names, or of all."""
        ranks = sorted({int(rank) for rank in _NAMED_TASK.findall(text)} - {self._hosts.rank})
        named = [self._hosts.named(rank) for rank in ranks if rank < self._hosts.count]
        return " and ".join(named) or "each"

    def _watch(self) -> None:
        asked_at = 0.0
        suspected: tuple[_Wait | None, Mapping[int, str]] = None, {}
        while True:
            time.sleep(min(1.0, self._seconds / 20))
            wait, now = self._wait, time.monotonic()
            between = _BETWEEN_PROBES * self._seconds
            if wait is None or now < max(wait.began + _FIRST_PROBE * self._seconds, asked_at + between):
                continue
            asked_at = now
            silent = self._silent()
            is_silent_again = suspected[0] is wait and bool(silent.keys() & suspected[1].keys())
            suspected = wait, silent
            waited = time.monotonic() - wait.began
            if self._wait is wait and (is_silent_again or waited >= wait.patience):
                message = self._message(silent, wait.what, f"it did not end within {waited:.0f} s")
                time.sleep(self._grace)
                for cleanup in self.cleanups:
                    with suppress(OSError):
                        cleanup()
                self._leave(message)

    def _message(self, silent: Mapping[int, str], what: str, seen: str, whose: str = "each") -> str:
        found = "; ".join(f"{self._hosts.named(rank)} {fault}" for rank, fault in silent.items())
        if not found:
            found = f"{seen}, and all other hosts answer: look at the last lines of {whose}"
        return f"{what} on {self._hosts.named(self._hosts.rank)}: {found}: {_THEN}"
