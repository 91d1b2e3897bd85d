"""The queue of the server."""

from __future__ import annotations

import threading

import pytest

from tools.serve.failures import AbandonedError, FailedRequest
from tools.serve.jobs import Jobs


@pytest.fixture
def gate():
    """Opened at the end, so that no thread is left."""
    opened = threading.Event()
    yield opened
    opened.set()


def waiting_for(gate):
    started = threading.Event()

    def work(check):
        started.set()
        gate.wait()
        check()
        return "done"

    return work, started


def test_results_and_errors_reach_the_caller():
    jobs = Jobs(2, 10)
    numbers = [jobs.submit(lambda check, number=number: number) for number in range(8)]
    failed = jobs.submit(lambda check: 1 // 0)
    assert [job.future.result(10) for job in numbers] == list(range(8))
    with pytest.raises(ZeroDivisionError):
        failed.future.result(10)
    jobs.close()


def test_beyond_the_limit_jobs_are_rejected(gate):
    jobs = Jobs(1, 2)
    work, _ = waiting_for(gate)
    accepted = [jobs.submit(work) for _ in range(3)]
    with pytest.raises(FailedRequest, match="3 images") as found:
        jobs.submit(work)
    assert found.value.status == 503
    assert found.value.retry_after >= 1
    gate.set()
    assert [job.future.result(10) for job in accepted] == ["done"] * 3
    assert jobs.submit(lambda check: "free again").future.result(10) == "free again"
    jobs.close()


def test_an_abandoned_job_makes_room_and_is_not_run(gate):
    jobs = Jobs(1, 1)
    work, started = waiting_for(gate)
    running = jobs.submit(work)
    assert started.wait(10)
    ran = []
    waiting = jobs.submit(ran.append)
    waiting.abandon()
    assert waiting.future.cancelled()
    last = jobs.submit(lambda check: "last")  # in its place
    gate.set()
    assert running.future.result(10) == "done"
    assert last.future.result(10) == "last"
    jobs.close()
    assert not ran


def test_an_abandoned_job_in_work_ends_at_its_next_step(gate):
    jobs = Jobs(1, 1)
    work, started = waiting_for(gate)
    job = jobs.submit(work)
    assert started.wait(10)
    job.abandon()
    gate.set()
    with pytest.raises(AbandonedError):
        job.future.result(10)
    jobs.close()


def test_close_waits_for_accepted_jobs(gate):
    jobs = Jobs(1, 5)
    work, started = waiting_for(gate)
    accepted = [jobs.submit(work) for _ in range(3)]
    assert started.wait(10)
    threading.Timer(0.05, gate.set).start()
    jobs.close()
    assert [job.future.result(0) for job in accepted] == ["done"] * 3


def test_the_advised_wait_grows_with_the_queue(gate):
    jobs = Jobs(1, 9)
    jobs._average = 2.0
    work, _ = waiting_for(gate)
    for _ in range(10):
        jobs.submit(work)
    with pytest.raises(FailedRequest) as found:
        jobs.submit(work)
    assert found.value.retry_after == 20
    gate.set()
    jobs.close()
