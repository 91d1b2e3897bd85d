"""Runs jobs in a few threads, with a limit on how many may wait."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from tools.serve.failures import AbandonedError, FailedRequest

# Raises AbandonedError if nobody waits for the result any more; a job calls it between its steps.
Check = Callable[[], None]

_LONGEST_WAIT = 60  # seconds in Retry-After
_WEIGHT_OF_LAST = 0.2  # in the average time of a job


class Job:
    """A job in the queue or in work.

    Attributes:
        future: of the result.
    """

    def __init__(self, work: Callable[[Check], Any]) -> None:
        """Takes the function to call."""
        self.future: Future = Future()
        self._work: Callable[[Check], Any] | None = work
        self._is_abandoned = False

    def abandon(self) -> None:
        """Drops the job if it waits; otherwise it ends at its next step."""
        self._is_abandoned = True
        if self.future.cancel():
            self._work = None  # it holds the upload

    def run(self) -> None:
        """Calls the function, unless the job was dropped."""
        work, self._work = self._work, None
        if work is None or not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(work(self._check))
        except BaseException as error:
            self.future.set_exception(error)

    def _check(self) -> None:
        if self._is_abandoned:
            raise AbandonedError


class Jobs:
    """Threads that run jobs in the order of their arrival. Close at the end."""

    def __init__(self, parallel: int, waiting: int) -> None:
        """Starts without jobs.

        Args:
            parallel: number of threads.
            waiting: number of jobs that may wait for one.
        """
        self._executor = ThreadPoolExecutor(parallel, thread_name_prefix="job")
        self._parallel, self._most = parallel, parallel + waiting
        self._lock = threading.Lock()
        self._count = 0
        self._average = 0.0  # seconds of a job

    def submit(self, work: Callable[[Check], Any]) -> Job:
        """Starts a job, or lets it wait.

        Args:
            work: takes a function that it calls between its steps, which raises AbandonedError.

        Raises:
            FailedRequest: too many jobs wait.
        """
        with self._lock:
            if self._count >= self._most:
                raise FailedRequest(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"{self._count} images are in work or waiting, which is the limit: try again later",
                    retry_after=self._seconds_until_free(),
                )
            self._count += 1
        job = Job(work)
        job.future.add_done_callback(self._finished)
        self._executor.submit(self._timed, job)
        return job

    def close(self) -> None:
        """Waits for all jobs and ends the threads."""
        self._executor.shutdown()

    def _seconds_until_free(self) -> int:
        return min(max(1, math.ceil(self._average * self._count / self._parallel)), _LONGEST_WAIT)

    def _finished(self, future: Future) -> None:
        with self._lock:
            self._count -= 1

    def _timed(self, job: Job) -> None:
        started = time.perf_counter()
        job.run()
        if not job.future.cancelled():
            seconds = time.perf_counter() - started
            with self._lock:
                self._average += _WEIGHT_OF_LAST * (seconds - self._average) if self._average else seconds
