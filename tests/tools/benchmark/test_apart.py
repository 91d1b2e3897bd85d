"""Functions in processes of their own."""

from __future__ import annotations

import os

import pytest

from tools.benchmark.apart import EndedError, run_apart


def test_another_process_gives_the_result():
    assert run_apart(os.getpid) != os.getpid()


def test_what_the_function_raises_is_raised():
    with pytest.raises(ZeroDivisionError):
        run_apart(divmod, 1, 0)


def test_a_process_that_ends_is_told():
    with pytest.raises(EndedError, match=r"^_exit: its process ended, perhaps for want of memory$"):
        run_apart(os._exit, 1)
