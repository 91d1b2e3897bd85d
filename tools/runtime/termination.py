"""Prints a line before SIGTERM ends the process, also while the main thread is in a long library call."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from tools.runtime.printable import printable


def _left_to_thread(number: int, frame: FrameType | None) -> None:
    """Does nothing: the thread of `termination_described` ends the process."""


@contextmanager
def termination_described(describe: Callable[[], str]) -> Iterator[None]:
    """Makes SIGTERM print a line on standard error, and end the process at once with exit code 143, in a block.

    In nested blocks the inner one sets the text. SIGTERM is handled as before outside the main thread, or if it is
    ignored or has another handler.

    Args:
        describe: returns the text after the word `terminated`; called in another thread.
    """
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if is_main else signal.SIG_IGN
    if before not in (signal.SIG_DFL, _left_to_thread):
        yield
        return
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)  # required by set_wakeup_fd
    watcher = threading.Thread(target=_watch, args=(read_end, describe), daemon=True)
    watcher.start()
    descriptor = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, _left_to_thread)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.set_wakeup_fd(descriptor)
        os.close(write_end)
        watcher.join()
        os.close(read_end)


def _watch(read_end: int, describe: Callable[[], str], leave: Callable[[int], object] = os._exit) -> None:
    """Reads the numbers of signals as they arrive, until SIGTERM or the end of the block."""
    while numbers := os.read(read_end, 1):
        if numbers[0] == signal.SIGTERM:
            with suppress(OSError, ValueError):  # whatever happens to the line, the process ends
                print(printable(f"terminated {describe()}"), file=sys.stderr, flush=True)
            leave(128 + signal.SIGTERM)
