"""Ends this process if the other hosts make no progress, and says which of them is missing.

A host that is stopped or cut off closes no connection, so no collective fails. A thread therefore measures from outside
of the session how long this host has been waiting. After three quarters of the time limit it asks the other hosts
whether they answer. If one does not, or the limit is over, the process ends with exit code 75, so that whatever starts
processes starts it again: TensorFlow's collectives do not recover within a process.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tools.distributed.probing import silent_hosts
from tools.flags.choices import LATEST
from tools.runtime.hosts import Hosts
from tools.runtime.printable import printable
from tools.runtime.session_errors import reason
from tools.runtime.stop_requests import StoppedError, going_on

_EXIT_STOPPED = 75  # as `console.EXIT_STOPPED`
_FIRST_PROBE = 0.75
_LONGEST_PROBE = 3.0
# Time for the other hosts to find this process answering while they look for the one that is missing.
_LONGEST_GRACE = 5.0


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
        message = self._message(self._silent(), what, f"a message between the hosts failed ({reason(error)})")
        time.sleep(self._grace)
        return LostHostError(message)

    @property
    def _grace(self) -> float:
        return min(_LONGEST_GRACE, self._seconds / 4)

    def _silent(self) -> Mapping[int, str]:
        others = (rank for rank in range(self._hosts.count) if rank != self._hosts.rank)
        return silent_hosts(self._hosts, others, min(_LONGEST_PROBE, self._seconds / 5))

    def _watch(self) -> None:
        asked_at = 0.0
        while True:
            time.sleep(min(1.0, self._seconds / 20))
            wait, now = self._wait, time.monotonic()
            if wait is None or now < max(wait.began + _FIRST_PROBE * self._seconds, asked_at + self._seconds / 5):
                continue
            silent = self._silent()
            asked_at = time.monotonic()
            waited = asked_at - wait.began
            if self._wait is wait and (silent or waited >= wait.patience):
                message = self._message(silent, wait.what, f"it did not end within {waited:.0f} s")
                time.sleep(self._grace)
                for cleanup in self.cleanups:
                    with suppress(OSError):
                        cleanup()
                self._leave(message)

    def _message(self, silent: Mapping[int, str], what: str, seen: str) -> str:
        found = "; ".join(f"{self._hosts.named(rank)} {fault}" for rank, fault in silent.items())
        if not found:
            found = f"{seen}, and all other hosts answer: look at the last lines of each"
        return f"{what} on {self._hosts.named(self._hosts.rank)}: {found}: {going_on(LATEST)}"
