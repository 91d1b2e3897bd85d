"""Handles signals that ask a process to stop after its current step."""

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

from tools.runtime.termination import termination_described

logger = logging.getLogger(__name__)

# They ask the process to stop; the second one ends it at once.
_ENDINGS = (signal.SIGTERM, signal.SIGINT)
# They announce the end: a closed terminal, and Slurm's `--signal=USR1@120`. Others may follow.
WARNINGS = (signal.SIGHUP, signal.SIGUSR1)
SIGNALS = (*_ENDINGS, *WARNINGS)

# Some programs, such as `timeout`, send a signal to a process and to its group at once. This counts as one request.
_SECONDS_OF_ONE_REQUEST = 1.0


class StoppedError(BaseException):
    """A run was asked to stop, and stopped so that it can be resumed.

    Not an `Exception`, because a signal handler may raise it inside library code that catches all exceptions.
    """


def going_on(step: int | str) -> str:
    """Describes how to resume a run that was stopped.

    Args:
        step: of its snapshot, or `latest`.
    """
    return f"go on with the same flags and --resume_step {step} (with --auto_resume 1, the same command goes on)"


@dataclass(frozen=True)
class _Listening:
    """The previous handlers and wakeup descriptor, and the thread that reads each signal when it arrives."""

    handlers: Mapping[signal.Signals, Any]
    descriptor: int
    read_end: int
    write_end: int
    watcher: threading.Thread


class StopRequests:
    """Handles SIGTERM, SIGINT, SIGHUP and SIGUSR1 as requests to stop, while `listening`.

    A second SIGTERM or SIGINT, at least one second after the first, ends the process at once with exit code 128 + its
    number, as in shells. This also works while the main thread is in a long library call, where Python runs no
    handlers. SIGHUP and SIGUSR1 never do this, and do not count as the first: Slurm sends SIGTERM some time after
    SIGUSR1, and the snapshot may not be complete by then. SIGHUP or SIGUSR1 stays ignored if it is ignored when
    listening begins, as SIGHUP is under `nohup`.

    Outside the main thread, where Python cannot set handlers, signals are handled as before.
    """

    def __init__(self) -> None:
        """Starts without a request."""
        self._received: signal.Signals | None = None
        self._listening: _Listening | None = None

    @property
    def received(self) -> str | None:
        """Returns the name of the first signal received, e.g. `SIGTERM`; None if there was none."""
        return None if self._received is None else self._received.name

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handles signals as requests while the block runs, and restores the previous handlers afterwards."""
        self._begin()
        try:
            yield
        finally:
            self._end()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Restores the previous handlers while the block runs; for use within `listening`."""
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
        os.set_blocking(write_end, False)  # required by set_wakeup_fd
        watcher = threading.Thread(target=_watch, args=(read_end,), daemon=True)
        watcher.start()
        descriptor = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        numbers = [number for number in SIGNALS if number not in WARNINGS or not _is_ignored(number)]
        handlers = {number: signal.signal(number, self._receive) for number in numbers}
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


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


def _watch(read_end: int, leave: Callable[[int], object] = os._exit) -> None:
    """Reads signal numbers as they arrive, logs the first, and exits at the second one that asks to stop.

    If the terminal is closed, only the log lines are lost.
    """
    is_logged = False
    first_ending: float | None = None
    while numbers := os.read(read_end, 1):
        number = numbers[0]
        if number not in SIGNALS:
            continue
        now, is_first_ending = time.monotonic(), number in _ENDINGS and first_ending is None
        if not is_logged:
            again = "it again" if is_first_ending else "SIGTERM or SIGINT twice"
            logger.info(
                "%s: the run stops with a snapshot after this step; send %s to exit at once",
                signal.Signals(number).name,
                again,
            )
        elif is_first_ending:
            logger.info(
                "%s: the run is stopping with a snapshot; send it again to exit at once", signal.Signals(number).name
            )
        elif first_ending is not None and number in _ENDINGS and now - first_ending >= _SECONDS_OF_ONE_REQUEST:
            leave(128 + number)
        is_logged = True
        if is_first_ending:
            first_ending = now


class _Stop:
    """A handler that raises StoppedError."""

    def __init__(self, describe: Callable[[], str]) -> None:
        self._describe = describe

    def __call__(self, number: int, frame: FrameType | None) -> None:
        raise StoppedError(f"{signal.Signals(number).name} {self._describe()}")


@contextmanager
def stopping_at_warnings(description: str | Callable[[], str]) -> Iterator[None]:
    """Makes SIGHUP and SIGUSR1 raise StoppedError while the block runs, instead of ending the process silently.

    Ctrl-C still raises KeyboardInterrupt, with the same text, and SIGTERM ends the process after a line with it; see
    `termination.termination_described`.

    For code outside of `StopRequests.listening`. In nested blocks the inner one sets the text. A signal that is ignored
    or has another handler is handled as before, as is any signal outside the main thread.

    Args:
        description: text after the name of the signal, or a function that returns it when a signal arrives.

    Raises:
        StoppedError: SIGHUP or SIGUSR1 was received.
        KeyboardInterrupt: SIGINT was received.
    """
    describe = description if callable(description) else lambda: description
    numbers: list[signal.Signals] = []
    if threading.current_thread() is threading.main_thread():
        numbers = [number for number in WARNINGS if _ends_the_process(signal.getsignal(number))]
    handlers = {number: signal.signal(number, _Stop(describe)) for number in numbers}
    try:
        with termination_described(describe):
            yield
    except KeyboardInterrupt as error:
        if error.args:  # an inner block has set the text
            raise
        raise KeyboardInterrupt(describe()) from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _ends_the_process(handler: Any) -> bool:
    return handler is signal.SIG_DFL or isinstance(handler, _Stop)
