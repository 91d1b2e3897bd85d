"""One process of a launcher: started, signalled, and ended with the launcher, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import IO

# Of prctl(2), in Linux: the signal that a process gets when the thread that started it ends.
_PR_SET_PDEATHSIG = 1


class Process:
    """A process that leads a session of its own, so that Ctrl-C reaches it only through the launcher.

    On Linux, the kernel kills it when the launcher ends, also by SIGKILL. Start it in the main thread: the kernel waits
    for the end of the thread.

    Attributes:
        rank: in the run.
        streams: standard output and standard error, by name; not blocking.
        was_told: whether it was sent a signal by `send`.
    """

    def __init__(self, rank: int, words: Sequence[str], cores: Collection[int] | None = None) -> None:
        """Starts it.

        Args:
            rank: in the run.
            words: program and arguments.
            cores: that it may use; None for all.
        """
        self.rank = rank
        self.was_told = False
        self._code: int | None = None
        self._popen = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            preexec_fn=_preparation(cores),
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self._popen.stdout is not None
        assert self._popen.stderr is not None
        self.streams: dict[str, IO[bytes]] = {"stdout": self._popen.stdout, "stderr": self._popen.stderr}
        for stream in self.streams.values():
            os.set_blocking(stream.fileno(), False)

    def code(self) -> int | None:
        """Returns the exit code, negative after a signal; None while the process runs.

        What it left running in its session is killed.
        """
        if self._code is None and os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            self._signal_group(signal.SIGKILL)  # before its number can become that of another process
            self._code = self._popen.wait()
        return self._code

    def send(self, number: int) -> None:
        """Sends a signal to the process, unless it has ended."""
        if self._code is None:
            self.was_told = True
            with suppress(ProcessLookupError):
                os.kill(self._popen.pid, number)

    def kill(self) -> None:
        """Kills the process and all that it started in its session."""
        if self._code is None:
            self.was_told = True
            self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)


def _preparation(cores: Collection[int] | None) -> Callable[[], None]:
    """Returns what the new process does before it runs the program. It calls nothing that may wait for a lock."""
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def prepare() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # the launcher has ended already
                os._exit(1)
        if cores is not None:
            os.sched_setaffinity(0, cores)

    return prepare
