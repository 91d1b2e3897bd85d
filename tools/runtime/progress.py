"""Shows progress: a bar in a terminal, otherwise a few log lines."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from tools.runtime.printable import printable

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

# Minimum time between two lines. If the total is known, a line also needs another tenth of it.
_SECONDS_WITH_TOTAL = 10.0
_SECONDS_WITHOUT_TOTAL = 60.0


def shows_bars() -> bool:
    """Checks whether bars are shown: standard error is a terminal, TQDM_DISABLE is not set, and INFO is logged."""
    if not logger.isEnabledFor(logging.INFO):  # --quiet 1
        return False
    try:
        if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TQDM_DISABLE"):
            return False
    except ValueError:  # it is closed
        return False
    with suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0  # 0: the width is unknown
    return True


def duration_text(seconds: float) -> str:
    """Formats a duration, e.g. `2:05 min`, or `3:20 h` from one hour on."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


class Bar:
    """A tqdm bar with log lines above it. A closed terminal does not raise."""

    def __init__(
        self,
        title: str,
        total: int | None,
        *,
        unit: str,
        initial: int = 0,
        is_bytes: bool = False,
        bar_format: str | None = None,
    ) -> None:
        """Shows the bar; the arguments are those of `Progress`, and tqdm's format string of the line."""
        self._bar: tqdm | None = None
        self._redirected = ExitStack()
        with suppress(OSError):
            self._bar = tqdm(
                total=total, initial=initial, desc=printable(title), unit=unit, unit_scale=is_bytes,
                unit_divisor=1024 if is_bytes else 1000, bar_format=bar_format,
            )  # fmt: skip
            self._redirected.enter_context(logging_redirect_tqdm())

    def update(self, count: int = 1, note: str | None = None) -> None:
        """Advances the bar; a note is shown from the next redraw on."""
        if self._bar is None:
            return
        with suppress(OSError):
            if note is not None:
                self._bar.set_postfix_str(printable(note), refresh=False)
            self._bar.update(count)

    def close(self) -> None:
        """Leaves the bar on the screen, and ends the redirection of log lines."""
        self._redirected.close()
        if self._bar is not None:
            with suppress(OSError):
                self._bar.close()


class _Lines:
    """Log lines: one at the end, and before it at most one per tenth of the total, or per minute without a total."""

    def __init__(
        self, title: str, total: int | None, unit: str, initial: int, is_bytes: bool, clock: Callable[[], float]
    ) -> None:
        self._title = title
        self._total = total
        self._unit = unit
        self._initial = self._done = self._logged = initial
        self._is_bytes = is_bytes
        self._clock = clock
        self._started = self._logged_at = clock()

    def update(self, count: int) -> None:
        self._done += count
        now = self._clock()
        least = _SECONDS_WITHOUT_TOTAL if self._total is None else _SECONDS_WITH_TOTAL
        if now - self._logged_at < least or not self._is_further_tenth() or self._done == self._total:
            return
        seconds = now - self._started
        left = ""
        if self._total:
            left = f", {duration_text(seconds * (self._total - self._done) / (self._done - self._initial))} left"
        logger.info("%s: %s after %s%s", self._title, self._amount(), duration_text(seconds), left)
        self._logged, self._logged_at = self._done, now

    def _is_further_tenth(self) -> bool:
        return not self._total or 10 * self._done // self._total > 10 * self._logged // self._total

    def _amount(self) -> str:
        if self._is_bytes:
            done, total = (None if n is None else tqdm.format_sizeof(n, "B", 1024) for n in (self._done, self._total))
            return f"{done}" if total is None else f"{done} of {total}"
        return f"{self._done} {self._unit}" if self._total is None else f"{self._done} of {self._total} {self._unit}"

    def close(self) -> None:
        if self._done > self._initial:
            logger.info("%s: %s in %s", self._title, self._amount(), duration_text(self._clock() - self._started))


class Progress:
    """Shows the progress of something that is counted. Use as a context manager, or close."""

    def __init__(
        self,
        title: str,
        total: int | None,
        *,
        unit: str,
        initial: int = 0,
        is_bytes: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Shows the bar if the output is a terminal.

        Args:
            title: what is in progress.
            total: final count, None if unknown.
            unit: of the count.
            initial: count done before.
            is_bytes: whether to show the count in kilobytes and so on, of 1024.
            clock: seconds, for the log lines.
        """
        self._bar = self._lines = None
        if shows_bars():
            self._bar = Bar(title, total, unit=unit, initial=initial, is_bytes=is_bytes)
        else:
            self._lines = _Lines(title, total, unit, initial, is_bytes, clock)

    def update(self, count: int = 1) -> None:
        """Adds to the count."""
        if self._bar is not None:
            self._bar.update(count)
        if self._lines is not None:
            self._lines.update(count)

    def close(self) -> None:
        """Ends the bar, or logs the count and the time."""
        for shown in (self._bar, self._lines):
            if shown is not None:
                shown.close()
        self._bar = self._lines = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def counted(items: Iterable[Item], title: str, total: int | None, unit: str) -> Iterator[Item]:
    """Yields the items and shows the progress; the arguments are those of `Progress`."""
    with Progress(title, total, unit=unit) as progress:
        for item in items:
            yield item
            progress.update()
