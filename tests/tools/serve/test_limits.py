"""Limits of time and of the queue, and clients that leave, without a network."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("python_multipart", reason="needs the extra serve")

from tests.tools.serve.colors import application_of, ask, reply, service_of, strongest  # noqa: E402
from tests.tools.serve.images import picture, png  # noqa: E402

IMAGE = picture()
LABELS = strongest(IMAGE)
PNG = {"content-type": "image/png"}


def test_a_slow_upload_ends():
    started = time.monotonic()
    found = reply(headers=PNG, body=png(IMAGE)[:20], stalls=True, limits={"timeout": 0.1})
    assert (found.status, found.headers["connection"]) == (408, "close")
    assert time.monotonic() - started < 20


def test_the_time_limit_ends_the_work():
    ended = threading.Event()

    def slow(pixels, check):
        try:
            while True:
                time.sleep(0.01)
                check()
        finally:
            ended.set()

    found = reply(slow, headers=PNG, body=png(IMAGE), limits={"timeout": 0.2})
    assert (found.status, "0.2 seconds" in found.error) == (504, True)
    assert ended.wait(10)


def test_a_client_that_leaves_costs_its_own_answer_only():
    ended, begun = threading.Event(), threading.Event()

    def slow_for_small(pixels, check):
        if len(pixels) > 3:
            return strongest(pixels)
        begun.set()
        try:
            while True:
                time.sleep(0.01)
                check()
        finally:
            ended.set()

    service, jobs = service_of(slow_for_small, parallel=1)

    async def send():
        app = application_of(service)
        leaving = asyncio.ensure_future(ask(app, headers=PNG, body=png(picture(2, 2)), leaves_after=0.3))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        queued = asyncio.ensure_future(ask(app, headers=PNG, body=png(picture(2, 2)), leaves_after=0.1))
        staying = ask(app, headers=PNG, body=png(IMAGE))
        return await asyncio.gather(leaving, queued, staying)

    left, queued, stayed = asyncio.run(send())
    jobs.close()
    assert ended.is_set()
    assert (left.status, queued.status, stayed.status) == (499, 499, 200)
    assert stayed.json["classes"][0]["pixels"] == int((LABELS == 0).sum())


def test_a_client_that_leaves_during_the_upload():
    found = reply(headers=PNG, body=png(IMAGE)[:20], stalls=True, leaves_after=0.01)
    assert found.status == 499


def test_a_full_queue_is_answered_at_once():
    gate = threading.Event()
    service, jobs = service_of(lambda pixels, check: gate.wait(30) and strongest(pixels), parallel=1, queue=2)

    async def send():
        app = application_of(service)
        accepted = [asyncio.ensure_future(ask(app, headers=PNG, body=png(IMAGE))) for _ in range(3)]
        while jobs._count < 3:
            await asyncio.sleep(0.01)
        rejected = await ask(app, headers=PNG, body=png(IMAGE))
        healthy = await ask(app, "/healthz", method="GET")
        gate.set()
        return rejected, healthy, await asyncio.gather(*accepted)

    rejected, healthy, accepted = asyncio.run(send())
    jobs.close()
    assert rejected.status == 503
    assert int(rejected.headers["retry-after"]) >= 1
    assert "3 images" in rejected.error
    assert healthy.status == 200
    assert [found.status for found in accepted] == [200] * 3


def test_too_many_uploads_at_a_time():
    service, jobs = service_of()
    service._uploads.most = 1

    async def send():
        app = application_of(service)
        arriving = asyncio.ensure_future(ask(app, headers=PNG, body=png(IMAGE)[:20], stalls=True, leaves_after=0.5))
        while not service._uploads._count:
            await asyncio.sleep(0.01)
        rejected = await ask(app, headers=PNG, body=png(IMAGE))
        await arriving
        return rejected, await ask(app, headers=PNG, body=png(IMAGE))

    rejected, later = asyncio.run(send())
    jobs.close()
    assert (rejected.status, rejected.headers["retry-after"]) == (503, "1")
    assert later.status == 200
