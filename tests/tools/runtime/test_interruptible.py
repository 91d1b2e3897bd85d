"""Long library calls during which signals are handled."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from tools.runtime.interruptible import interruptible
from tools.runtime.stop_requests import StoppedError


def test_results_and_errors_are_those_of_the_call():
    assert interruptible(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0)


def test_a_signal_ends_the_wait():
    ended = threading.Event()

    def stop(number: int, frame: object) -> None:
        raise StoppedError("SIGUSR1")

    before = signal.signal(signal.SIGUSR1, stop)
    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGUSR1])
    timer.start()
    began = time.monotonic()
    try:
        with pytest.raises(StoppedError):
            interruptible(lambda: ended.wait(30.0))
    finally:
        signal.signal(signal.SIGUSR1, before)
        ended.set()
    assert time.monotonic() - began < 10.0
