"""Starts the processes of a run together, shows what they print, and starts all again if one was killed."""

from __future__ import annotations

import logging
import selectors
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType

from tools.launch.command import command_of
from tools.launch.endings import Ending, cause_of, stopped_code
from tools.launch.flags import LaunchConfig
from tools.launch.output import RankLines, RankLog
from tools.launch.processes import Process
from tools.runtime.ports import free_addresses
from tools.runtime.stop_requests import SIGNALS, WARNINGS

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_CHUNK = 1 << 16
_SECONDS_FOR_THE_REST = 5.0
_LONGEST_WAIT = 60.0
# Some programs, such as `timeout`, send a signal twice; see `tools.runtime.stop_requests`.
_SECONDS_OF_ONE_REQUEST = 1.0


class Launcher:
    """Runs a script in several processes."""

    def __init__(self, config: LaunchConfig, words: Sequence[str]) -> None:
        """Takes the flags and the words of the script; see `command.parse_command_line`."""
        self._config = config
        self._words = words
        self._processes: list[Process] = []
        self._logs: list[RankLog] | list[None] = [None] * config.processes
        self._stop_signal: int | None = None
        self._first_ending = 0.0  # when SIGTERM or SIGINT came first

    def run(self) -> int:
        """Runs the processes to their end, and again after an end that is temporary.

        Returns:
            The exit code: 0, or that of the process that ended first, in the sense of `endings.cause_of`.

        Raises:
            OutputError: the files of `--logs` cannot be opened.
            HostsError: too few ports are free.
        """
        with ExitStack() as stack:
            if self._config.logs is not None:
                folder = self._config.logs
                self._logs = [stack.enter_context(RankLog(folder, rank)) for rank in range(self._config.processes)]
            stack.enter_context(self._passing_signals_on())
            for restart in range(self._config.restarts + 1):
                endings = self._run_once(restart)
                cause = cause_of(endings)
                if self._stop_signal is not None:
                    return stopped_code(endings, self._stop_signal)
                if cause is None:
                    return 0
                if not cause.is_temporary or restart == self._config.restarts:
                    after = f" after {restart} restarts" if restart else ""
                    logger.error("%s%s: the run has ended", cause, after)
                    return cause.exit_code
                self._wait(cause, restart)
                if self._stop_signal is not None:
                    return stopped_code(endings, self._stop_signal)
        raise AssertionError("the last start returns")

    def _wait(self, cause: Ending, restart: int) -> None:
        """Waits before the next start, longer each time."""
        seconds = min(2.0**restart, _LONGEST_WAIT)
        logger.warning(
            "%s: all start again in %g s (restart %d of %d)", cause, seconds, restart + 1, self._config.restarts
        )
        until = time.monotonic() + seconds
        while self._stop_signal is None and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _POLL_SECONDS))

    def _run_once(self, restart: int) -> list[Ending]:
        """Starts all processes, and waits for their end; returns how they ended, in this order."""
        addresses = free_addresses(self._config.processes)
        logger.info("start of %d processes: %s", len(addresses), ", ".join(addresses))
        cores: Sequence[frozenset[int] | None] = self._config.cores() or [None] * len(addresses)
        self._processes = []
        with selectors.DefaultSelector() as selector:
            try:
                for rank in range(len(addresses)):
                    words = command_of(self._words, addresses, rank)
                    self._start(rank, words, cores[rank], selector, restart)
                return self._watch(selector)
            finally:  # after an error of the launcher itself
                for process in self._processes:
                    process.kill()

    def _start(
        self,
        rank: int,
        words: Sequence[str],
        cores: frozenset[int] | None,
        selector: selectors.BaseSelector,
        restart: int,
    ) -> None:
        if self._stop_signal is not None:
            return
        log = self._logs[rank]
        if log is not None:
            log.write(f"--- start {restart + 1}: {' '.join(words)}")
        process = Process(rank, words, cores)
        self._processes.append(process)
        if self._stop_signal is not None and not process.was_told:  # the signal came between the two lines
            process.send(self._stop_signal)
        prefix = f"[{rank:>{len(str(self._config.processes - 1))}}] "
        for name, stream in process.streams.items():
            selector.register(stream, selectors.EVENT_READ, RankLines(prefix, name, log))

    def _watch(self, selector: selectors.BaseSelector) -> list[Ending]:
        endings: list[Ending] = []
        ended: set[int] = set()
        deadline = None
        while len(ended) < len(self._processes):
            _show_output(selector, _POLL_SECONDS)
            for process in self._processes:
                code = None if process.rank in ended else process.code()
                if code is not None:
                    ended.add(process.rank)
                    endings.append(Ending(process.rank, code, process.was_told))
            running = [process for process in self._processes if process.rank not in ended]
            cause = cause_of(endings)
            if cause is None or self._stop_signal is not None or not running:
                continue
            deadline = self._end(running, cause, deadline)
        until = time.monotonic() + _SECONDS_FOR_THE_REST
        while _show_output(selector, 0) and time.monotonic() < until:
            pass
        for key in list(selector.get_map().values()):  # held open by what the processes left running
            _close(selector, key)
        return endings

    def _end(self, running: Sequence[Process], cause: Ending, deadline: float | None) -> float:
        """Ends the other processes after one has failed: they get time to end, SIGTERM, time again, and SIGKILL.

        Args:
            running: the others.
            cause: of their end.
            deadline: when the next of these steps is due; None before the first.

        Returns:
            The next deadline.
        """
        now = time.monotonic()
        is_first = not any(process.was_told for process in running)
        if deadline is None and cause.is_temporary:  # they notice it, and may be writing a snapshot
            logger.warning("%s: waiting for the others", cause)
            return now + self._config.grace
        if deadline is not None and now < deadline:
            return deadline
        for process in running:
            if is_first:
                process.send(signal.SIGTERM)
            else:
                process.kill()
        if is_first:
            logger.warning("%s: the others are ended", cause)
        return now + self._config.grace

    @contextmanager
    def _passing_signals_on(self) -> Iterator[None]:
        """Passes signals on to the processes while the block runs."""
        numbers = [
            number
            for number in SIGNALS
            if number not in WARNINGS or signal.getsignal(number) is not signal.SIG_IGN  # as under nohup
        ]
        before = {number: signal.signal(number, self._receive) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        """Passes the first signal on; the second that asks to end kills the processes.

        This is done here, and not in the loop, so that it works while the launcher waits for a full pipe.
        """
        is_warning = number in WARNINGS
        now = time.monotonic()
        if self._stop_signal is None:
            self._stop_signal = number
            for process in self._processes:
                process.send(number)
        elif not is_warning and not self._first_ending:
            for process in self._processes:
                process.send(number)
        elif not is_warning and now - self._first_ending >= _SECONDS_OF_ONE_REQUEST:
            for process in self._processes:
                process.kill()
        if not is_warning and not self._first_ending:
            self._first_ending = now


def _show_output(selector: selectors.BaseSelector, seconds: float) -> bool:
    """Waits for output and shows it; returns whether there was any, or a stream has ended."""
    if not selector.get_map():
        time.sleep(seconds)
        return False
    ready = selector.select(seconds)
    for key, _ in ready:
        data = key.fileobj.read(_CHUNK)  # type: ignore[union-attr]
        if data:
            key.data.feed(data)
        elif data is not None:
            _close(selector, key)
    return bool(ready)


def _close(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    selector.unregister(key.fileobj)
    key.data.feed(b"", final=True)
    key.fileobj.close()  # type: ignore[union-attr]
