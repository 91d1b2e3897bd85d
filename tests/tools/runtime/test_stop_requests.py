"""Signals as requests to stop, on this very process."""

from __future__ import annotations

import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tools.runtime import stop_requests
from tools.runtime.stop_requests import SIGNALS, WARNINGS, StoppedError, StopRequests, stopping_at_warnings


@pytest.fixture(autouse=True)
def handlers_of_the_test():
    """Handlers that note what arrives where nothing else takes it, instead of ending the tests."""
    seen = []
    before = {number: signal.signal(number, lambda number, frame: seen.append(number)) for number in SIGNALS}
    yield seen
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_is_a_request_while_listening(handlers_of_the_test, number, caplog):
    caplog.set_level("INFO")
    requests = StopRequests()
    with requests.listening():
        assert requests.received is None
        os.kill(os.getpid(), number)
        assert requests.received == number.name
        os.kill(os.getpid(), number)  # the same request: `timeout` sends it twice in a moment
        assert requests.received == number.name
    assert handlers_of_the_test == []
    os.kill(os.getpid(), number)
    assert handlers_of_the_test == [number]
    again = "SIGTERM or SIGINT twice" if number in WARNINGS else "it again"
    [line] = caplog.messages
    assert line.startswith(f"{number.name}: ")
    assert line.endswith(f"send {again} to exit at once")


@pytest.mark.parametrize("number", WARNINGS)
def test_signal_that_is_ignored_stays_ignored(number):
    """As `nohup` has it with SIGHUP."""
    signal.signal(number, signal.SIG_IGN)
    requests = StopRequests()
    with requests.listening(), stopping_at_warnings("text"):
        assert signal.getsignal(number) is signal.SIG_IGN
        os.kill(os.getpid(), number)
        with requests.paused():
            os.kill(os.getpid(), number)
    assert requests.received is None
    assert signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.parametrize("number", WARNINGS)
def test_outside_of_steps_a_signal_that_would_end_the_process_is_described(number):
    signal.signal(number, signal.SIG_DFL)

    def send() -> None:
        os.kill(os.getpid(), number)

    def signal_in_a_pause(requests: StopRequests) -> None:
        with requests.paused(), stopping_at_warnings("inner"):
            send()

    def signal_after_steps() -> None:
        requests = StopRequests()
        with stopping_at_warnings("outer"):
            with requests.listening():
                send()
                assert requests.received == number.name
                with pytest.raises(StoppedError, match=f"^{number.name} inner$"):
                    signal_in_a_pause(requests)
            send()

    with pytest.raises(StoppedError, match=f"^{number.name} outer$"):
        signal_after_steps()
    assert signal.getsignal(number) is signal.SIG_DFL


def test_outside_of_steps_other_handlers_and_threads_are_unchanged(handlers_of_the_test):
    with stopping_at_warnings("text"):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert handlers_of_the_test == [signal.SIGUSR1]
    failed = []

    def enter():
        try:
            with stopping_at_warnings("text"):
                pass
        except ValueError as error:  # signal.signal outside of the main thread
            failed.append(error)

    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert failed == []


def test_what_was_there_before_is_given_back():
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    threads = threading.active_count()

    def fail():
        with StopRequests().listening():
            assert {signal.getsignal(number) for number in SIGNALS}.isdisjoint(handlers.values())
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert {number: signal.getsignal(number) for number in SIGNALS} == handlers
    assert threading.active_count() == threads
    descriptor = signal.set_wakeup_fd(-1)
    assert descriptor == -1


def test_pause(handlers_of_the_test):
    requests = StopRequests()
    with requests.listening():
        with requests.paused():
            os.kill(os.getpid(), signal.SIGTERM)
            assert (handlers_of_the_test, requests.received) == ([signal.SIGTERM], None)
        os.kill(os.getpid(), signal.SIGINT)
        assert (handlers_of_the_test, requests.received) == ([signal.SIGTERM], "SIGINT")


def test_other_threads_change_nothing(handlers_of_the_test):
    requests, listening, go_on = StopRequests(), threading.Event(), threading.Event()

    def listen():
        with requests.listening(), requests.paused():
            pass
        with requests.listening():
            listening.set()
            go_on.wait(10)

    thread = threading.Thread(target=listen)
    thread.start()
    assert listening.wait(10)
    os.kill(os.getpid(), signal.SIGTERM)
    go_on.set()
    thread.join()
    assert (handlers_of_the_test, requests.received) == ([signal.SIGTERM], None)


def _left_with(numbers, seconds, monkeypatch):
    """The exit codes with which the watcher leaves, of signals that are so many seconds apart."""
    codes, clock = [], iter(range(0, 1000, seconds)) if seconds else iter([0] * 10)
    monkeypatch.setattr(stop_requests, "time", type("Clock", (), {"monotonic": lambda: next(clock)}))
    read_end, write_end = os.pipe()
    os.write(write_end, bytes(numbers))
    os.close(write_end)
    stop_requests._watch(read_end, codes.append)
    os.close(read_end)
    return codes


@pytest.mark.parametrize(
    ("numbers", "seconds", "codes"),
    [
        ([signal.SIGTERM], 1, []),
        ([signal.SIGTERM, signal.SIGTERM], 0, []),
        ([signal.SIGTERM, signal.SIGTERM], 1, [143]),
        ([signal.SIGTERM, signal.SIGINT], 2, [130]),
        ([signal.SIGCHLD, signal.SIGTERM, signal.SIGCHLD, signal.SIGWINCH], 5, []),
        ([signal.SIGUSR1, signal.SIGUSR1, signal.SIGHUP], 60, []),
        ([signal.SIGUSR1, signal.SIGTERM], 120, []),  # Slurm
        ([signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM], 120, [143]),
        ([signal.SIGTERM, signal.SIGHUP], 60, []),  # systemd
        ([signal.SIGHUP, signal.SIGINT, signal.SIGTERM], 2, [143]),
    ],
)
def test_the_second_signal_leaves(numbers, seconds, codes, monkeypatch):
    assert _left_with(numbers, seconds, monkeypatch) == codes


def test_ending_after_a_warning_is_logged(monkeypatch, caplog):
    caplog.set_level("INFO")
    _left_with([signal.SIGUSR1, signal.SIGUSR1, signal.SIGTERM], 5, monkeypatch)
    [line] = caplog.messages[1:]
    assert line.startswith("SIGTERM: ")
    assert line.endswith("send it again to exit at once")


def test_the_second_signal_leaves_from_within_a_call():
    """The child's main thread is in a wait of which Python's handlers would not wake it."""
    child = """
import signal, sys
from tools.runtime import stop_requests
stop_requests._SECONDS_OF_ONE_REQUEST = 0.01
with stop_requests.StopRequests().listening():
    print("listening", flush=True)
    import ctypes
    libc = ctypes.CDLL(None)
    while True:
        libc.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "listening\n"
        for _ in range(2):
            time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143


def test_signal_in_the_midst_of_logging_is_not_swallowed(monkeypatch):
    """Handlers of logging pass over every Exception that writing raises."""

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            os.kill(os.getpid(), signal.SIGHUP)
            return super().write(text)

    handler = logging.StreamHandler(Stream())
    logger = logging.getLogger("signalled")
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with pytest.raises(StoppedError, match="SIGHUP"), stopping_at_warnings("now"):
            logger.warning("line")
    finally:
        signal.signal(signal.SIGHUP, before)
