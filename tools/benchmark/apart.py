"""Runs measurements in a fresh process, so that memory and start-up are not shared."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from tools.console import import_tensorflow
from tools.errors import ProcessEndedError
from tools.runtime.worker_processes import begin_worker

Result = TypeVar("Result")


def _begin() -> None:
    begin_worker()
    import_tensorflow()


def run_apart(function: Callable[..., Result], *arguments: Any) -> Result:
    """Calls a function in a new Python process.

    Args:
        function: of a module, so that the process can import it.
        *arguments: of the function; pickled.

    Raises:
        ProcessEndedError: the process died.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=context, initializer=_begin) as executor:
            return executor.submit(function, *arguments).result()
    except BrokenProcessPool as error:
        raise ProcessEndedError(f"{function.__name__}: its process ended, perhaps because memory ran out") from error
