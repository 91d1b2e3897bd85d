"""Requests and answers, without a network."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import struct
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("python_multipart", reason="needs the extra serve")

from database.images import MAX_PIXELS, set_max_pixels  # noqa: E402
from tests.tools.serve.colors import (  # noqa: E402
    CLASSES,
    LIMITS,
    application_of,
    ask,
    form,
    service_of,
    strongest,
)
from tests.tools.serve.images import picture, png  # noqa: E402
from tools.errors import MissingPackageError, NotFiniteError, OutOfMemoryError  # noqa: E402
from tools.serve.answers import OUTPUTS  # noqa: E402

IMAGE = picture()
LABELS = strongest(IMAGE)
PNG = {"content-type": "image/png"}


def replies(*requests, segment=strongest, **limits):
    """The answers to requests, which are sent one after another."""
    service, jobs = service_of(segment, **limits)

    async def send():
        app = application_of(service, **limits)
        return [await ask(app, **request) for request in requests]

    try:
        return asyncio.run(send())
    finally:
        jobs.close()


def reply(segment=strongest, limits=None, **request):
    return replies(request, segment=segment, **(limits or {}))[0]


def test_areas():
    found = reply(headers=PNG, body=png(IMAGE))
    assert (found.status, found.headers["content-type"]) == (200, "application/json")
    counts = np.bincount(LABELS.ravel(), minlength=3)
    assert found.json == {
        "height": 6, "width": 8,
        "classes": [
            {"id": index, "name": name, "color": list(color), "pixels": count, "share": count / 48}
            for index, (name, color, count) in enumerate(zip(*CLASSES, counts.tolist(), strict=True))
        ],
    }  # fmt: skip


def test_areas_with_labels():
    found = reply(headers=PNG, body=png(IMAGE), query="output=areas&labels=1").json
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["labels"])))).astype(int)
    np.testing.assert_array_equal(pixels[..., 0] + 256 * pixels[..., 1], LABELS)


@pytest.mark.parametrize("classes", [3, 300])
def test_labels(classes):
    dtype = np.uint8 if classes <= 256 else np.uint16
    wide = reply(lambda pixels, check: LABELS.astype(dtype) * 127, headers=PNG, body=png(IMAGE), query="output=labels")
    assert wide.headers["content-type"] == "image/png"
    found = np.asarray(Image.open(io.BytesIO(wide.body)))
    np.testing.assert_array_equal(found, LABELS.astype(int) * 127)


def test_table():
    found = reply(headers=PNG, body=png(IMAGE), query="output=csv")
    assert found.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(found.body.decode())))
    assert [row["class"] for row in rows] == list(CLASSES.names)
    assert [int(row["pixels"]) for row in rows] == np.bincount(LABELS.ravel(), minlength=3).tolist()
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1, abs=1e-5)


def test_polygons():
    pytest.importorskip("rasterio")
    half = np.zeros((4, 6, 3), np.uint8)
    half[:, :3, 0], half[:, 3:, 2] = 255, 255
    half[0, 0] = 0, 9, 0
    found = reply(headers=PNG, body=png(half), query="output=polygons&min_area=2")
    assert found.headers["content-type"] == "application/geo+json"
    properties = [feature["properties"] for feature in found.json["features"]]
    assert sorted((entry["class"], entry["pixels"]) for entry in properties) == [("blue <b>", 12), ("red", 11)]


def test_a_form_is_answered_as_a_body():
    headers, body = form(png(IMAGE))
    assert reply(headers=headers, body=body).json == reply(headers=PNG, body=png(IMAGE)).json


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"])
def test_formats(format_name):
    flat = np.full((5, 7, 3), (10, 200, 30), np.uint8)
    found = reply(headers={"content-type": "application/octet-stream"}, body=png(flat, format_name)).json
    assert found["classes"][1]["pixels"] == 35


def test_pictures_are_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(IMAGE).save(file, format="PNG", exif=exif)
    found = reply(headers=PNG, body=file.getvalue()).json
    assert (found["height"], found["width"]) == (8, 6)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("image/png", "image/png"),
        ("application/geo+json", "application/geo+json"),
        ("text/csv, application/json;q=0.9", "text/csv"),
        ("text/csv;q=0.1, application/json;q=0.9", "application/json"),
        ("text/html,image/avif,*/*;q=0.8", "application/json"),
        ("image/*", "image/png"),
        ("image/png;q=0, */*", "application/json"),
        ("", "application/json"),
    ],
)
def test_accept_chooses_the_form(accept, media_type):
    if media_type == "application/geo+json":
        pytest.importorskip("rasterio")
    found = reply(headers={**PNG, "accept": accept}, body=png(IMAGE))
    assert (found.status, found.headers["content-type"].partition(";")[0]) == (200, media_type)


def test_the_parameter_counts_more_than_accept():
    found = reply(headers={**PNG, "accept": "application/json"}, body=png(IMAGE), query="output=labels")
    assert found.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("query", "accept", "status", "named"),
    [
        ("output=video", "", 400, "output='video'"),
        ("output=polygons&min_area=-1", "", 400, "min_area='-1'"),
        ("output=polygons&min_area=" + "9" * 5000, "", 400, "min_area="),
        ("labels=yes", "", 400, "labels='yes'"),
        ("path=/etc/passwd", "", 400, "'path'"),
        ("", "text/html", 406, "application/geo+json"),
        ("", "image/png;q=x", 406, "text/csv"),
    ],
)
def test_wrong_parameters(query, accept, status, named):
    found = reply(headers={**PNG, "accept": accept}, body=png(IMAGE), query=query)
    assert (found.status, named in found.error, len(found.error) < 300) == (status, True, True)


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/json", "application/x-www-form-urlencoded", "x" * 9999]
)
def test_other_content_types(kind):
    found = reply(headers={"content-type": kind} if kind else {}, body=png(IMAGE))
    assert found.status == 415
    assert "multipart/form-data" in found.error
    assert len(found.error) < 300


def bomb(side=60_000):
    """A PNG of 3.6 billion pixels in a few bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "status", "named"),
    [
        (b"", 400, "empty"),
        (b"GIF89a", 415, "cannot identify"),
        (b"this is no picture", 415, "cannot identify"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "cannot identify"),
        (png(picture(90, 90))[:9000], 400, "the image"),
        (png(picture(90, 90), "JPEG")[:2000], 400, "the image"),
        (bomb(), 413, "60000x60000"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 400, "PostScript"),
    ],
)
def test_bad_files(content, status, named):
    called = []
    found = reply(lambda pixels, check: called.append(pixels), headers=PNG, body=content)
    assert (found.status, named in found.error, called) == (status, True, [])


def test_the_limit_on_pixels():
    set_max_pixels(100)
    try:
        found = reply(headers=PNG, body=png(picture(11, 10)))
    finally:
        set_max_pixels(MAX_PIXELS)
    assert (found.status, "11x10" in found.error) == (413, True)


def test_a_bad_file_does_not_harm_others():
    good = {"headers": PNG, "body": png(IMAGE)}
    found = replies(good, {"headers": PNG, "body": b"bad"}, good)
    assert [entry.status for entry in found] == [200, 415, 200]
    assert found[0].body == found[2].body


@pytest.mark.parametrize("announced", [True, False])
def test_large_uploads_are_rejected_while_they_arrive(announced):
    headers = {**PNG, **({"content-length": "100000000"} if announced else {})}
    taken = []

    class Chunks(list):
        def pop(self, index):
            taken.append(index)
            return super().pop(index)

    found = reply(headers=headers, body=[bytes(60_000)] * 10, limits={"max_upload": 100_000})
    assert (found.status, found.headers["connection"]) == (413, "close")
    assert "100000" in found.error


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "multipart/form-data"}, b"x"),
        ({"content-type": "multipart/form-data; boundary=x"}, b"no boundary"),
        ({"content-type": "multipart/form-data; boundary=x"}, b"--x\r\nbad header\r\n\r\n\r\n--x--"),
        ({"content-type": "multipart/form-data; boundary=x"}, b'--x\r\nContent-Disposition: form-data; name=a\r\n\r\n'),
        form(png(IMAGE), field="other"),
        ({"content-type": "multipart/form-data; boundary=x"},
         b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\ntext\r\n--x--\r\n'),
    ],
)  # fmt: skip
def test_malformed_forms(headers, body):
    found = reply(headers=headers, body=body)
    assert found.status == 400
    assert "form" in found.error


@pytest.mark.parametrize(
    "filename", ["../../etc/passwd", "/etc/passwd", "C:\\\\x.png", "a\x00b", "<script>alert(1)</script>", "x" * 500]
)
def test_names_of_uploads_are_not_used(filename, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    headers, body = form(png(IMAGE), filename)
    good = reply(headers=headers, body=body)
    bad = reply(headers=headers, body=form(b"bad", filename)[1])
    assert (good.status, bad.status) == (200, 415)
    assert filename not in bad.error + good.body.decode()
    assert list(tmp_path.iterdir()) == []


def test_a_form_is_not_written_to_the_disk(monkeypatch):
    opened = []
    monkeypatch.setattr("tempfile._TemporaryFileWrapper", lambda *_: opened.append(1))
    monkeypatch.setattr("tempfile.TemporaryFile", lambda *_, **__: opened.append(1))
    noise = picture(1000, 1000)
    headers, body = form(png(noise))
    assert len(body) > 2_000_000
    found = reply(headers=headers, body=body, limits={"max_upload": 10_000_000})
    assert (found.status, opened) == (200, [])


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


def raising(error):
    def segment(pixels, check):
        raise error

    return segment


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OutOfMemoryError("too\nlarge"), 413),
        (NotFiniteError("not finite"), 500),
        (MissingPackageError("rasterio"), 500),
    ],
)
def test_errors_of_the_network(error, status):
    found = reply(raising(error), headers=PNG, body=png(IMAGE))
    assert found.status == status
    assert found.error == " ".join(str(error).split())


def test_a_fault_shows_no_detail(caplog):
    service, jobs = service_of(raising(RuntimeError("secret")))

    async def send():
        sent = []
        with pytest.raises(RuntimeError):  # uvicorn logs it
            await ask_into(application_of(service), sent)
        return sent

    async def ask_into(app, sent):
        messages = [{"type": "http.request", "body": png(IMAGE), "more_body": False}]

        async def receive():
            while not messages:
                await asyncio.sleep(1e6)
            return messages.pop()

        async def send_one(message):
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"image/png")]
        scope = {"type": "http", "method": "POST", "path": "/v1/segment", "query_string": b"", "headers": headers,
                 "root_path": "", "scheme": "http", "http_version": "1.1"}  # fmt: skip
        await app(scope, receive, send_one)

    sent = asyncio.run(send())
    jobs.close()
    assert sent[0]["status"] == 500
    assert (b"x-content-type-options", b"nosniff") in sent[0]["headers"]
    assert b"secret" not in sent[1]["body"]


def test_polygons_without_their_package(monkeypatch):
    def missing(purpose):
        raise MissingPackageError(f"{purpose} needs the package rasterio")

    monkeypatch.setattr("tools.serve.service.require_polygons", missing)
    found = reply(headers=PNG, body=png(IMAGE), query="output=polygons")
    assert (found.status, "rasterio" in found.error) == (501, True)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/segment", 405), ("POST", "/", 405), ("GET", "/nothing", 404), ("GET", "/../flags.py", 404),
     ("GET", "/assets/page.js", 404), ("DELETE", "/healthz", 405)],
)  # fmt: skip
def test_other_addresses(method, path, status):
    found = reply(path=path, method=method)
    assert found.status == status
    assert "/docs" in found.error


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("/", "text/html"), ("/docs", "text/html"), ("/page.js", "text/javascript"), ("/docs.js", "text/javascript"),
     ("/serve.css", "text/css"), ("/style.css", "text/css"), ("/healthz", "application/json"),
     ("/openapi.json", "application/json"), ("/v1/model", "application/json")],
)  # fmt: skip
def test_files_and_headers(path, media_type):
    found = reply(path=path, method="GET")
    assert (found.status, found.headers["content-type"].partition(";")[0]) == (200, media_type)
    policy = found.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["cache-control"] == "no-store"
    assert b"//cdn" not in found.body
    assert b"https://" not in found.body


def test_description_of_the_model():
    found = reply(path="/v1/model", method="GET").json
    assert [entry["name"] for entry in found["classes"]] == list(CLASSES.names)
    assert found["limits"] == LIMITS


def test_the_openapi_document_describes_the_answers():
    document = reply(path="/openapi.json", method="GET").json
    service, jobs = service_of()
    jobs.close()
    operation = document["paths"]["/v1/segment"]["post"]
    assert set(operation["responses"]["200"]["content"]) == {output.media_type for output in OUTPUTS.values()}
    assert operation["parameters"][0]["schema"]["enum"] == list(OUTPUTS)
    text = json.dumps(document)
    for name in ("Area", "Areas", "Error"):
        assert f"#/components/schemas/{name}" in text
        assert name in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method in operations:
            assert reply(path=path, method=method.upper()).status in (200, 415)
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(document)
