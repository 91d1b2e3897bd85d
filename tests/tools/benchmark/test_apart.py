"""Functions in processes of their own."""

from __future__ import annotations

import os

import pytest

from tools.benchmark import apart
from tools.benchmark.apart import run_apart
from tools.errors import ProcessEndedError


@pytest.fixture
def without_tensorflow(monkeypatch):
    """Processes that begin with nothing instead of the import of TensorFlow, which takes seconds.

    What they begin with is pickled by its name, so that a change inside it would not reach them.
    """
    monkeypatch.setattr(apart, "_begin", os.getpid)


def test_another_process_gives_the_result():
    assert run_apart(os.getpid) != os.getpid()


def test_what_the_function_raises_is_raised(without_tensorflow):
    with pytest.raises(ZeroDivisionError):
        run_apart(divmod, 1, 0)


def test_a_process_that_ends_is_reported(without_tensorflow):
    with pytest.raises(ProcessEndedError, match=r"^_exit: its process ended, perhaps .*memory"):
        run_apart(os._exit, 1)
