"""Computes results ahead of their use, or runs calls later, in background threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(function: Callable[[Item], Result], items: Iterable[Item], depth: int = 2) -> Iterator[Result]:
    """Maps a function over items, computing up to `depth` results ahead in the background."""
    with ThreadPoolExecutor(depth) as executor:
        waiting: deque = deque()
        for item in items:
            waiting.append(executor.submit(function, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class WriteBehind:
    """Runs calls in the background, one at a time.

    Use as a context manager: at the end it waits for all calls, and raises their first error unless the block raised.
    """

    def __init__(self, depth: int = 2) -> None:
        """Lets at most `depth` calls wait; the next `call` blocks until the first of them is done."""
        self._depth = depth
        self._executor = ThreadPoolExecutor(1)
        self._waiting: deque[Future] = deque()

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Schedules a call in the background; raises the error of an earlier call."""
        while len(self._waiting) >= self._depth or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._executor.submit(function, *arguments))

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self._executor.shutdown()
        if kind is None:
            for call in self._waiting:
                call.result()
