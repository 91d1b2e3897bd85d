"""Measurements in a fresh process, whose memory and start are its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from tools.console import import_tensorflow

Result = TypeVar("Result")

# glibc gives blocks from this size on back to the system as soon as they are freed, so that resident memory is what
# tensors take, and not what the allocator keeps for later.
_EXACT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}


class EndedError(RuntimeError):
    """A process ended before it gave its result, as those do that ask for more memory than there is."""


def run_apart(function: Callable[..., Result], *arguments: Any, exact_memory: bool = False) -> Result:
    """Calls a function in a Python process started for it alone.

    Args:
        function: of a module, so that the other process can import it.
        *arguments: for it; pickled on the way.
        exact_memory: give freed memory back at once, which costs time.

    Raises:
        EndedError: the process died.
    """
    before = {name: os.environ.get(name) for name in _EXACT_MEMORY}
    if exact_memory:
        os.environ.update(_EXACT_MEMORY)
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context, initializer=import_tensorflow) as executor:
            return executor.submit(function, *arguments).result()
    except BrokenProcessPool as error:
        raise EndedError(f"{function.__name__}: its process ended, perhaps for want of memory") from error
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
