"""Runs a long library call so that signals are handled during it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

_POLL_SECONDS = 0.5


def interruptible(call: Callable[[], Result]) -> Result:
    """Runs a call in a thread and waits for it.

    Python runs the handlers of signals in the main thread, between its own instructions, so not while this thread is in
    a library. If a handler raises an error, the call goes on in its thread, which does not keep the process.

    Args:
        call: to run.

    Returns:
        What `call` returns.

    Raises:
        Any error of `call` or of the handler of a signal.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_SECONDS)  # without a limit, a handler would run only after the end of the thread
    if errors:
        raise errors[0]
    return results[0]
