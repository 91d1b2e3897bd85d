"""SIGTERM outside of steps: a line that says how to continue, and the exit code of before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.scripts.starting import ROOT
from tools.runtime.stop_requests import StopRequests
from tools.runtime.termination import termination_described

PROGRAM = """
import os, signal, sys, time
from tools.runtime.stop_requests import StopRequests, stopping_at_warnings
{setup}
with stopping_at_warnings("outside: go on"):
    {body}
"""
SEND = "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"


@pytest.mark.parametrize(
    ("setup", "body", "code", "line"),
    [
        ("", SEND, 143, "terminated outside: go on"),
        ("", f"with stopping_at_warnings('in scoring: go on'): {SEND}", 143, "terminated in scoring: go on"),
        ("", f"with stopping_at_warnings('in scoring'): pass\n    {SEND}", 143, "terminated outside: go on"),
        ("", f"with StopRequests().listening(): pass\n    {SEND}", 143, "terminated outside: go on"),
        ("requests = StopRequests()", f"with requests.listening(), requests.paused(): {SEND}", 143,
         "terminated outside: go on"),
        ("", f"sys.stderr.close(); {SEND}", 143, None),
        ("signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(5))", SEND, 5, None),
    ],
)  # fmt: skip
def test_the_line_and_the_exit_code(setup, body, code, line):
    program = PROGRAM.format(setup=setup, body=body)
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert (found.returncode, found.stdout) == (code, "")
    assert found.stderr.splitlines() == ([] if line is None else [line])


def test_a_long_library_call_does_not_delay_it():
    """A hash that is computed for minutes, without the interpreter's lock, as TensorFlow's computations are."""
    program = PROGRAM.format(
        setup="import hashlib, threading",
        body="threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "    hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10**9)",
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert (found.returncode, found.stderr) == (143, "terminated outside: go on\n")


def test_what_was_there_before_is_given_back():
    def fail() -> None:
        with termination_described(lambda: "text"):
            with StopRequests().listening():
                os.kill(os.getpid(), signal.SIGTERM)  # a request, which does not end the process
            raise ValueError("x")

    before, threads = signal.getsignal(signal.SIGTERM), threading.active_count()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(ValueError, match="x"):
            fail()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert threading.active_count() == threads
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_and_ignored_signals_are_left_alone():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with termination_described(lambda: "text"):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    failed = []

    def enter() -> None:
        try:
            with termination_described(lambda: "text"):
                pass
        except ValueError as error:  # signal.signal outside of the main thread
            failed.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert failed == []
