"""Work done in the background: results computed ahead of the one that is asked for, and results left behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(function: Callable[[Item], Result], items: Iterable[Item], depth: int = 2) -> Iterator[Result]:
    """`map`, with up to `depth` results computed in the background ahead of the one that is asked for."""
    with ThreadPoolExecutor(depth) as executor:
        waiting: deque = deque()
        for item in items:
            waiting.append(executor.submit(function, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class WriteBehind:
    """Calls that run in the background one after the other.

    Use as a context manager: it waits for the last, also when something else was raised, and raises what they raised.
    """

    def __init__(self, depth: int = 2) -> None:
        """At most `depth` calls wait; the next one waits for the first of them."""
        self._depth = depth
        self._executor = ThreadPoolExecutor(1)
        self._waiting: deque[Future] = deque()

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Calls a function in the background; raises what an earlier call raised."""
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
