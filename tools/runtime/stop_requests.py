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

# Those that ask for the end, and a second time for the end at once.
_ENDINGS = (signal.SIGTERM, signal.SIGINT)
# Those that tell of an end to come: the terminal is closed, and Slurm's `--signal=USR1@120`. Others may follow.
WARNINGS = (signal.SIGHUP, signal.SIGUSR1)
SIGNALS = (*_ENDINGS, *WARNINGS)

# Some programs send a signal to a process and to its group in the same moment: `timeout` does. That is one request.
_SECONDS_OF_ONE_REQUEST = 1.0


class StoppedError(BaseException):
    """A run was asked to stop, and did so with all that it needs to go on later.

    No `Exception`, as it may be raised by the handler of a signal anywhere, also where a library passes over those.
    """


def going_on(step: int | str) -> str:
    """Says how a run goes on that was stopped.

    Args:
        step: of its snapshot, or `latest`.
    """
    return f"go on with the same flags and --resume_step {step} (with --auto_resume 1, the same command goes on)"


@dataclass(frozen=True)
class _Listening:
    """What was there before, and the thread that is told of each signal while it is received."""

    handlers: Mapping[signal.Signals, Any]
    descriptor: int
    read_end: int
    write_end: int
    watcher: threading.Thread


class StopRequests:
    """SIGTERM, SIGINT, SIGHUP and SIGUSR1, taken as requests instead of ending the process, while `listening`.

    A second SIGTERM or SIGINT, a second or more after the first, ends the process at once with exit code 128 + its
    number, as shells have it. It does so too while the main thread is deep in a call to a library, where Python runs no
    handlers. SIGHUP and SIGUSR1 never do, and do not count as the first: Slurm sends SIGTERM some time after SIGUSR1,
    and the snapshot may still be on its way to the disk. Where SIGHUP or SIGUSR1 is ignored when listening begins, as
    SIGHUP is under `nohup`, it stays ignored.

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
    """Reads the numbers of signals as they arrive; tells of the first, and leaves at the second that asks for the end.

    What it tells is lost, and nothing more, where the terminal is closed.
    """
    is_told = False
    first_ending: float | None = None
    while numbers := os.read(read_end, 1):
        number = numbers[0]
        if number not in SIGNALS:
            continue
        now, is_first_ending = time.monotonic(), number in _ENDINGS and first_ending is None
        if not is_told:
            again = "again" if is_first_ending else "SIGTERM or SIGINT twice"
            logger.info(
                "%s: stopping with a snapshot after the running step; %s to leave at once",
                signal.Signals(number).name,
                again,
            )
        elif is_first_ending:
            logger.info("%s: still stopping with a snapshot; again to leave at once", signal.Signals(number).name)
        elif first_ending is not None and number in _ENDINGS and now - first_ending >= _SECONDS_OF_ONE_REQUEST:
            leave(128 + number)
        is_told = True
        if is_first_ending:
            first_ending = now


class _Stop:
    """A handler that raises StoppedError."""

    def __init__(self, told: Callable[[], str]) -> None:
        self._told = told

    def __call__(self, number: int, frame: FrameType | None) -> None:
        raise StoppedError(f"{signal.Signals(number).name} {self._told()}")


@contextmanager
def stopping_at_warnings(told: str | Callable[[], str]) -> Iterator[None]:
    """Lets SIGHUP and SIGUSR1 raise StoppedError while the block runs, where they would end the process without a word.

    Ctrl-C raises KeyboardInterrupt as ever, with the same words.

    For all that happens outside of `StopRequests.listening`. Where blocks are nested, the inner one tells. A signal
    that is ignored, or for which somebody else has set a handler, does what it did before, and so does any in another
    thread than the main one.

    Args:
        told: what the error says after the name of the signal; or what finds that out when a signal has come.

    Raises:
        StoppedError: a signal came.
        KeyboardInterrupt: SIGINT came.
    """
    say = told if callable(told) else lambda: told
    numbers: list[signal.Signals] = []
    if threading.current_thread() is threading.main_thread():
        numbers = [number for number in WARNINGS if _ends_the_process(signal.getsignal(number))]
    handlers = {number: signal.signal(number, _Stop(say)) for number in numbers}
    try:
        yield
    except KeyboardInterrupt as error:
        if error.args:  # an inner block has told
            raise
        raise KeyboardInterrupt(say()) from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _ends_the_process(handler: Any) -> bool:
    return handler is signal.SIG_DFL or isinstance(handler, _Stop)
