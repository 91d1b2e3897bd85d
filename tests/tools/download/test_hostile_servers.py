"""Servers that send too much, too little, for ever, or what is not HTTP: one line, and an end."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tests.tools.download.raw_server import answering
from tests.tools.download.server import Served, serving
from tools.download import fetch as fetching
from tools.download.connection import LEAST_BYTES, Watch
from tools.download.fetch import fetch
from tools.download.partial import PartialFile, Version
from tools.errors import DownloadError

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "folder" / "archive.zip")


def refusal(answer: bytes | Callable[[socket.socket], None], path: str, size: int | None = None, **options) -> str:
    """The one line of the error with which fetching from a server ends; the file does not exist then."""
    with answering(answer) as address, pytest.raises(DownloadError) as caught:
        fetch(address, path, size, **{"pauses": (), "timeout": 5.0, **options})
    line = str(caught.value)
    assert address in line
    assert len(line.splitlines()) == 1
    assert len(line) < 600 + len(path)
    assert not os.path.exists(path)
    return line


def endless(beginning: bytes, part: bytes, pause: float = 0.0) -> Callable[[socket.socket], None]:
    """Sends a part again and again until the client leaves."""

    def send(connection: socket.socket) -> None:
        connection.sendall(beginning)
        while True:
            connection.sendall(part)
            time.sleep(pause)

    return send


def left(path: str) -> int:
    """Bytes in the folder of the download."""
    return sum(file.stat().st_size for file in Path(path).parent.iterdir())


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("beginning", "part"),
    [
        (OK + b"\r\n", bytes(1 << 16)),
        (b"HTTP/1.0 200 OK\r\n\r\n", bytes(1 << 16)),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + bytes(1 << 16) + b"\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", bytes(1 << 16)),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", bytes(1 << 16)),
    ],
)
def test_body_without_end(path, monkeypatch, beginning, part):
    monkeypatch.setattr(fetching, "MOST_BYTES", 1 << 20)
    assert "sends more than 1048576 bytes" in refusal(endless(beginning, part), path)
    assert left(path) == 0
    assert "sends more than 5000 bytes" in refusal(endless(beginning, part), path, 5000)
    assert left(path) == 0


def test_body_longer_than_announced(path):
    chunked = OK + b'Content-Length: 10\r\nTransfer-Encoding: chunked\r\nETag: "a"\r\n\r\n14\r\n%b\r\n0\r\n\r\n'
    assert "sends more than 10 bytes" in refusal(chunked % bytes(20), path)
    assert left(path) == 0


def test_body_longer_than_the_rest(path):
    served = Served(bytes(100), etag='"a"', cuts=[40, 0])
    with serving({"/a.zip": served}), pytest.raises(DownloadError, match="after 40 of 100"):
        fetch(served.address, path, pauses=())
    longer = b'HTTP/1.1 206 Partial\r\nContent-Range: bytes 40-99/100\r\nETag: "a"\r\n\r\n' + bytes(61)
    with answering(longer) as address:
        version = json.loads(Path(f"{path}.part.json").read_text())
        Path(f"{path}.part.json").write_text(json.dumps({**version, "url": address}))
        with pytest.raises(DownloadError, match="sends more than 100 bytes"):
            fetch(address, path, pauses=())
    assert left(path) == 0


def test_announced_size_beyond_the_limit(path):
    line = refusal(OK + b"Content-Length: 9999999999999999999\r\n\r\n", path)
    assert "has 9999999999999999999 bytes, expected at most 4294967296" in line


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("beginning", "part"),
    [
        (OK + b"\r\n", b"x"),
        (OK + b"Content-Length: 1000000\r\n\r\n", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"),
        (OK, b"x"),
    ],
    ids=["no size", "size", "interim answers", "trailers", "header"],
)
def test_drop_by_drop(path, beginning, part):
    """Each byte in time for the socket; without a limit of the whole, this ends never."""
    line = refusal(endless(beginning, part, 0.02), path, timeout=0.25)
    assert f"less than {LEAST_BYTES} bytes came in 0.5 s" in line


def test_slow_but_steady(path):
    """A connection may take much longer than the limit, as long as bytes come."""

    def send(connection: socket.socket) -> None:
        connection.sendall(OK + b"Content-Length: 40960\r\n\r\n")
        for _ in range(10):
            connection.sendall(bytes(4096))
            time.sleep(0.1)

    with answering(send) as address:
        fetch(address, path, pauses=(), timeout=0.3)
    assert os.path.getsize(path) == 40960


def test_watch_ends_with_its_block():
    with Watch(100.0) as watch:
        watch.received(1)
    assert not watch.has_ended


@pytest.mark.parametrize(
    "header",
    [
        b'ETag: "a"\r\n b',
        b'ETag: "a\x0bb"',
        b"ETag: a",
        b'ETag: "' + b"a" * 5000 + b'"',
        b"Last-Modified: Mon\r\n Tue",
        b"Last-Modified: \xff\x00",
    ],
)
def test_headers_that_cannot_be_sent_back(path, header):
    line = refusal(OK + header + b"\r\nContent-Length: 10\r\n\r\n12345", path, pauses=(0.0, 0.0))
    assert "ended after 5 of 10 bytes" in line
    assert json.loads(Path(f"{path}.part.json").read_text())["etag"] is None


@pytest.mark.parametrize(
    "location",
    [
        "http://[::1", "http://[x]/a", "http://a b/", "http://" + "a" * 5000 + "/", "http://..", "http://\x7f/",
        "http://127.0.0.1:99999/a", "http://127.0.0.1:x/a", "http://127.0.0.1:-1/", "http://", "http:///a",
        "http://127.0.0.1:" + "9" * 5000 + "/", "//[", "http://\u00e4" + "." * 300, "file:///etc/passwd",
    ],
)  # fmt: skip
def test_redirect_to_no_host(path, location):
    refusal(b"HTTP/1.1 302 Found\r\nLocation: " + location.encode() + b"\r\n\r\n", path)


@pytest.mark.parametrize("url", ["http://[", "http://[x]/a.zip", "http://127.0.0.1:99999/a.zip", "http://a b/c"])
def test_address_that_is_none(path, url):
    with pytest.raises(DownloadError):
        fetch(url, path, pauses=())


@pytest.mark.parametrize(
    "header", [b"Content-Length: " + b"9" * 5000, b"Content-Length: \xb2", b"Content-Length: -5", b"Content-Length: x"]
)
def test_length_that_is_none_counts_as_unknown(path, header):
    with answering(OK + header + b"\r\n\r\n12345") as address, suppress(DownloadError):
        fetch(address, path, pauses=())
    assert not os.path.exists(path) or Path(path).read_bytes() == b"12345"


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "null", "[" * 100_000, '{"url": 5, "size": 5, "etag": "\\"a\\"", "last_modified": null}',
        '{"url": "U", "size": "5", "etag": "\\"a\\"", "last_modified": null}',
        '{"url": "U", "size": true, "etag": "\\"a\\"", "last_modified": null}',
        '{"url": "U", "size": -1, "etag": "\\"a\\"", "last_modified": null}',
        '{"url": "U", "size": ' + "9" * 5000 + ', "etag": "\\"a\\"", "last_modified": null}',
        '{"url": "U", "size": 1e999, "etag": "\\"a\\"", "last_modified": null}',
        '{"url": "U", "size": 9, "etag": 5, "last_modified": null}',
        '{"url": "U", "size": 9, "etag": "\\"a\\"\\nX: y", "last_modified": null}',
        '{"url": "U", "size": 9, "etag": null, "last_modified": "a\\r\\nX: y"}',
        '{"url": "U", "size": 9, "etag": null, "last_modified": [1]}',
        '{"url": "U", "size": 9, "etag": "\\"a\\"", "last_modified": null, "more": 1}',
    ],
)  # fmt: skip
def test_versions_that_nobody_wrote(path, text):
    """The download begins again."""
    served = Served(b"123456789", etag='"a"')
    os.makedirs(os.path.dirname(path))
    Path(f"{path}.part").write_bytes(b"123")
    with serving({"/a.zip": served}):
        Path(f"{path}.part.json").write_text(text.replace('"U"', json.dumps(served.address)))
        fetch(served.address, path)
    assert Path(path).read_bytes() == b"123456789"
    assert [headers.get("Range") for headers in served.seen] == [None]


@pytest.mark.timeout(20)
def test_pipe_in_place_of_the_version(path):
    os.makedirs(os.path.dirname(path))
    os.mkfifo(f"{path}.part.json")
    Path(f"{path}.part").write_bytes(b"123")
    assert PartialFile(path).arrived("http://a") == (0, None)
    with pytest.raises(OSError, match="a pipe or a device"):
        Version.read(f"{path}.part.json")


def test_random_answers(path):
    """Any bytes, and HTTP with random damage."""
    whole = OK + b'Content-Length: 10\r\nETag: "a"\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n'
    outcomes = set()
    current = [b""]
    with answering(lambda connection: connection.sendall(current[0])) as address:
        for number in range(400):
            rng = np.random.default_rng(number)
            content = bytearray(whole)
            for _ in range(rng.integers(1, 6)):
                content[rng.integers(len(content))] = (13, 10, 45, 48, 57, 255, int(rng.integers(256)))[rng.integers(7)]
            current[0] = bytes(content[: rng.integers(len(content) + 1)]) if number % 3 == 0 else bytes(content)
            try:
                fetch(address, path, pauses=(), timeout=5.0)
                outcomes.add("came")
                os.unlink(path)
            except DownloadError:
                outcomes.add("refused")
    assert outcomes == {"came", "refused"}
