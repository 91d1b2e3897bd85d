"""Order, depth and faults of what runs in the background."""

from __future__ import annotations

import threading
import time

import pytest

from database.errors import ImageError
from tools.runtime.background import WriteBehind, read_ahead


def test_read_ahead_keeps_the_order():
    def slowest_first(item):
        time.sleep(0.02 / (1 + item))
        return item * item

    assert list(read_ahead(slowest_first, range(9), depth=3)) == [item * item for item in range(9)]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_read_ahead_takes_no_more_than_needed(depth):
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    results = read_ahead(str, items(), depth=depth)
    assert taken == []
    for asked in range(1, 6):
        assert next(results) == str(asked - 1)
        assert len(taken) <= asked + depth
    results.close()


def test_read_ahead_works_in_the_background():
    second_started = threading.Event()

    def function(item):
        if item == 1:
            second_started.set()
        return item

    results = read_ahead(function, [0, 1, 2, 3])
    assert next(results) == 0
    assert second_started.wait(timeout=10)
    results.close()


def test_read_ahead_raises_where_the_result_is_due():
    def refuse_two(item):
        if item == 2:
            raise ImageError("2")
        return item

    results = read_ahead(refuse_two, range(4))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ImageError):
        next(results)
    assert list(read_ahead(str, [])) == []


def test_write_behind_keeps_the_order_and_waits_for_the_last():
    done = []

    def slow(item):
        time.sleep(0.01)
        done.append(item)

    with WriteBehind() as behind:
        for item in range(5):
            behind.call(slow, item)
            assert len(done) >= item - 2
    assert done == list(range(5))


def test_write_behind_works_in_the_background():
    release, finished = threading.Event(), threading.Event()

    def wait():
        assert release.wait(timeout=10)
        finished.set()

    with WriteBehind() as behind:
        behind.call(wait)
        assert not finished.is_set()
        release.set()
    assert finished.is_set()


@pytest.mark.parametrize("later", [0, 1, 4])
def test_write_behind_raises_what_was_raised(later):
    done = []

    def refuse():
        raise ImageError("disk full")

    def calls():
        with WriteBehind() as behind:
            behind.call(refuse)
            for item in range(later):
                behind.call(done.append, item)

    with pytest.raises(ImageError, match="disk full"):
        calls()
    assert len(done) < 3


def test_write_behind_finishes_when_its_user_fails():
    release, done = threading.Event(), []

    def calls():
        with WriteBehind() as behind:
            behind.call(release.wait, 10)
            behind.call(done.append, 1)
            threading.Timer(0.05, release.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calls()
    assert done == [1]
