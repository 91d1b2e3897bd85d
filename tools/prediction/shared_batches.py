"""Runs windows of several images, which are predicted in several threads, through the network together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

# Takes float32 [N, h, w, channels], returns float32 [N, h, w, classes].
Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class _Waiting:
    windows: np.ndarray
    result: Future


class SharedBatches:
    """Fills batches with the windows that wait in several threads, if they have one size.

    Nothing waits for a batch to fill up: whenever the network is free, it gets what is there, the oldest first. Use as
    a context manager, or close.
    """

    def __init__(self, run: Run, most: int, most_pixels: int | None = None) -> None:
        """Starts the thread that calls the network.

        Args:
            run: the network; it is called in one thread only.
            most: number of windows that it gets at most, unless one call brings more.
            most_pixels: number of pixels of all these windows at most, unless one call brings more; None for any. It
                bounds the memory if the windows are whole images.
        """
        self._run, self._most, self._most_pixels = run, most, most_pixels
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="shared-batches", daemon=True)
        self._thread.start()

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """Runs windows through the network, possibly with those of other threads, and waits for the result.

        An error that the network raises on windows of several calls is raised only in those that cause it: they are
        run again one by one.

        Args:
            windows: float32 [N, h, w, channels].

        Returns:
            float32 [N, h, w, classes].
        """
        entry = _Waiting(windows, Future())
        with self._changed:
            if self._is_closed:
                raise RuntimeError("the batches are closed")
            self._waiting.append(entry)
            self._changed.notify()
        return entry.result.result()

    def close(self) -> None:
        """Ends the thread after what waits is done."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def __enter__(self) -> SharedBatches:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _work(self) -> None:
        while batch := self._next_batch():
            self._run_together(batch)

    def _next_batch(self) -> list[_Waiting]:
        """Waits for windows and takes those of one size that fit into a batch; empty when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            if not self._waiting:
                return []
            first = self._waiting.popleft()
            taken, count, most = [first], len(first.windows), self._most
            if self._most_pixels is not None:
                _, height, width, _ = first.windows.shape
                most = min(most, self._most_pixels // (height * width))
            for entry in list(self._waiting):
                is_equal = entry.windows.shape[1:] == first.windows.shape[1:]
                if is_equal and count + len(entry.windows) <= most:
                    self._waiting.remove(entry)
                    taken.append(entry)
                    count += len(entry.windows)
            return taken

    def _run_together(self, batch: list[_Waiting]) -> None:
        if len(batch) == 1:
            self._run_one(batch[0])
            return
        try:
            predicted = self._run(np.concatenate([entry.windows for entry in batch]))
        except Exception:
            for entry in batch:
                self._run_one(entry)
            return
        ends = np.cumsum([len(entry.windows) for entry in batch])
        for entry, part in zip(batch, np.split(predicted, ends[:-1]), strict=True):
            entry.result.set_result(part)

    def _run_one(self, entry: _Waiting) -> None:
        try:
            entry.result.set_result(self._run(entry.windows))
        except BaseException as error:
            entry.result.set_exception(error)
