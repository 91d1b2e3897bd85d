"""Signals that ask a process to stop when it has finished what it is at."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# Some programs send a signal to a process and to its group in the same moment: `timeout` does. That is one request.
_SECONDS_OF_ONE_REQUEST = 1.0


class StoppedError(Exception):
    """A run was asked to stop, and did so with all that it needs to go on later."""


@dataclass(frozen=True)
class _Listening:
    """What was there before, and the thread that is told of each signal while it is received."""

    handlers: Mapping[signal.Signals, Any]
    descriptor: int
    read_end: int
    write_end: int
    watcher: threading.Thread


class StopRequests:
    """SIGTERM and SIGINT, taken as requests instead of ending the process, while `listening`.

    A second signal, a second or more after the first, ends the process at once with exit code 128 + its number, as
    shells have it. It does so too while the main thread is deep in a call to a library, where Python runs no handlers.
    In another thread than the main one, where Python sets no handlers, signals do what they did before.
    """

    def __init__(self) -> None:
        """Nothing is asked for yet."""
        self._received: signal.Signals | None = None
        self._listening: _Listening | None = None

    @property
    def received(self) -> str | None:
        """The name of the first signal that came, e.g. `SIGTERM`; None while there is none."""
        return None if self._received is None else self._received.name

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes signals as requests while the block runs; afterwards they do what they did before."""
        self._begin()
        try:
            yield
        finally:
            self._end()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within `listening`: signals do what they did before while the block runs."""
        self._end()
        try:
            yield
        finally:
            self._begin()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = self._received or signal.Signals(number)

    def _begin(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)  # as set_wakeup_fd wants it
        watcher = threading.Thread(target=_watch, args=(read_end,), daemon=True)
        watcher.start()
        descriptor = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, self._receive) for number in SIGNALS}
        self._listening = _Listening(handlers, descriptor, read_end, write_end, watcher)

    def _end(self) -> None:
        listening, self._listening = self._listening, None
        if listening is None:
            return
        for number, handler in listening.handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(listening.descriptor)
        os.close(listening.write_end)
        listening.watcher.join()
        os.close(listening.read_end)


def _watch(read_end: int, leave: Callable[[int], object] = os._exit) -> None:
    """Reads the numbers of signals as they arrive; tells of the first, and leaves at the second."""
    first: float | None = None
    while numbers := os.read(read_end, 1):
        number = numbers[0]
        if number not in SIGNALS:
            continue
        now = time.monotonic()
        if first is None:
            first = now
            logger.info(
                "%s: stopping with a snapshot after the running step; again to leave at once",
                signal.Signals(number).name,
            )
        elif now - first >= _SECONDS_OF_ONE_REQUEST:
            leave(128 + number)
