"""Requests with wrong files, types, forms and sizes, without a network."""

from __future__ import annotations

import struct
import zlib

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("python_multipart", reason="needs the extra serve")

from database.images import MAX_PIXELS, set_max_pixels  # noqa: E402
from tests.tools.serve.colors import form, replies, reply  # noqa: E402
from tests.tools.serve.images import picture, png  # noqa: E402

IMAGE = picture()
PNG = {"content-type": "image/png"}


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
