"""Fetching from a server on this machine: whole files, cut ones, changed ones, and refusals."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import shutil
import socket
import sys

import numpy as np
import pytest

from tests.tools.download.server import Served, serving
from tools.download import fetch as fetching
from tools.download.fetch import difference, fetch
from tools.errors import DownloadError

CONTENT = np.random.default_rng(0).bytes(700_000)  # more than two chunks
OTHER = np.random.default_rng(1).bytes(700_000)
NO_PAUSES = (0.0, 0.0)


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "folder" / "archive.zip")


def got(path: str) -> bytes:
    """The content of a file beside which nothing is left behind."""
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
    with open(path, "rb") as file:
        return file.read()


def write_part(path: str, served: Served, length: int, **changes) -> None:
    """What a process that was killed leaves behind: the first bytes and the note beside them."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.part", "wb") as file:
        file.write(served.content[:length])
    version = {"url": served.address, "size": len(served.content), "etag": served.etag, "last_modified": None}
    with open(f"{path}.part.json", "w", encoding="utf-8") as file:
        json.dump(version | changes, file)


@pytest.mark.parametrize("sends_size", [True, False])
def test_whole_file(path, sends_size):
    served = Served(CONTENT, sends_size=sends_size)
    with serving({"/a.zip": served}):
        fetch(served.address, path, len(CONTENT))
    assert got(path) == CONTENT
    [headers] = served.seen
    assert "Range" not in headers
    assert headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_shown(path, monkeypatch, caplog, is_terminal):
    caplog.set_level("INFO")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    served = Served(CONTENT)
    with serving({"/a.zip": served}):
        fetch(served.address, path)
    bar = stream.getvalue()
    assert ("archive.zip: 100%" in bar) == is_terminal
    assert ("684k/684k" in bar) == is_terminal
    lines = [line for line in caplog.messages if line.startswith("archive.zip: 684kB of 684kB in ")]
    assert len(lines) == (0 if is_terminal else 1)


@pytest.mark.parametrize(
    ("validators", "condition"),
    [
        ({"etag": '"one"'}, '"one"'),
        ({"etag": None, "last_modified": "Wed, 21 Oct 2015 07:28:00 GMT"}, "Wed, 21 Oct 2015 07:28:00 GMT"),
        ({"etag": 'W/"one"', "last_modified": "Wed, 21 Oct 2015 07:28:00 GMT"}, "Wed, 21 Oct 2015 07:28:00 GMT"),
    ],
)
def test_continues_after_cuts(path, validators, condition):
    served = Served(CONTENT, cuts=[300_000, 100_000], **validators)
    with serving({"/a.zip": served}):
        fetch(served.address, path, pauses=(0.0,))
    assert got(path) == CONTENT
    asked = [(headers.get("Range"), headers.get("If-Range")) for headers in served.seen]
    assert asked == [(None, None), ("bytes=300000-", condition), ("bytes=400000-", condition)]


def test_continues_what_an_earlier_process_left(path):
    served = Served(CONTENT)
    with serving({"/a.zip": served}):
        write_part(path, served, 650_000)
        fetch(served.address, path, pauses=())
    assert got(path) == CONTENT
    assert [headers["Range"] for headers in served.seen] == ["bytes=650000-"]


def test_whole_partial_file_is_not_asked_for_again(path):
    served = Served(CONTENT)
    with serving({"/a.zip": served}):
        write_part(path, served, len(CONTENT))
        fetch(served.address, path)
    assert got(path) == CONTENT
    assert served.seen == []


@pytest.mark.parametrize("validators", [{"etag": None}, {"etag": 'W/"one"'}])
def test_without_a_validator_a_file_is_downloaded_again(path, validators):
    served = Served(CONTENT, cuts=[300_000], **validators)
    with serving({"/a.zip": served}):
        fetch(served.address, path, pauses=NO_PAUSES)
    assert got(path) == CONTENT
    assert [headers.get("Range") for headers in served.seen] == [None, None]


def test_server_without_ranges(path, caplog):
    caplog.set_level("INFO")
    served = Served(CONTENT, ranges=False, cuts=[300_000])
    with serving({"/a.zip": served}):
        fetch(served.address, path, pauses=NO_PAUSES)
    assert got(path) == CONTENT
    assert "restarted: " in caplog.text


@pytest.mark.parametrize("length", [1, 300_000, 700_000])
def test_changed_file_is_downloaded_from_its_beginning(path, length):
    served = Served(OTHER[:690_000], etag='"two"')
    with serving({"/a.zip": served}):
        write_part(path, Served(CONTENT, address=served.address), length, size=700_001)
        fetch(served.address, path, pauses=NO_PAUSES)
    assert got(path) == OTHER[:690_000]


@pytest.mark.parametrize(
    "server",
    [
        {"etag": '"two"', "checks_condition": False},  # continues with bytes of another file
        {"continues_at": 299_999},
        {"content": OTHER[:600_000], "checks_condition": False},
        {"content": OTHER[:300_000], "checks_condition": False},  # 416
    ],
)
def test_server_that_continues_wrongly(path, server):
    served = Served(**{"content": OTHER, **server})
    with serving({"/a.zip": served}):
        write_part(path, Served(CONTENT, address=served.address), 300_000)
        fetch(served.address, path, pauses=NO_PAUSES)
    assert got(path) == served.content
    assert [headers.get("Range") for headers in served.seen] == ["bytes=300000-", None]


@pytest.mark.parametrize(
    "damage", [{"url": "http://127.0.0.1/other"}, {"size": 299_999}, {"etag": None}, {"unknown": 1}]
)
def test_partial_file_of_no_use(path, damage):
    served = Served(CONTENT)
    with serving({"/a.zip": served}):
        write_part(path, served, 300_000, **damage)
        fetch(served.address, path)
    assert got(path) == CONTENT
    assert "Range" not in served.seen[0]


def test_partial_file_without_a_note(path):
    served = Served(CONTENT)
    with serving({"/a.zip": served}):
        write_part(path, served, 300_000)
        os.unlink(f"{path}.part.json")
        fetch(served.address, path)
    assert got(path) == CONTENT


def test_connection_that_always_breaks(path):
    served = Served(CONTENT, cuts=[300_000, 0, 0, 0])
    with serving({"/a.zip": served}), pytest.raises(DownloadError) as caught:
        fetch(served.address, path, pauses=NO_PAUSES)
    assert "the connection ended after 300000 of 700000 bytes, 3 times in a row" in str(caught.value)
    assert re.search(r"run the same command again to resume from \S+archive\.zip\.part", str(caught.value))
    with open(f"{path}.part", "rb") as file:
        assert file.read() == CONTENT[:300_000]
    assert not os.path.exists(path)


def test_progress_gives_new_attempts_and_its_absence_does_not(path):
    """Each answer brings a little more than the one before: more attempts than pauses, but not without end."""
    served = Served(CONTENT, cuts=[100_000] * 6)
    with serving({"/a.zip": served}):
        fetch(served.address, path, pauses=(0.0,))
    assert got(path) == CONTENT
    # Half of the file, then a refusal to continue, over and over.
    endless = Served(CONTENT, cuts=[350_000] * 99, statuses=[None, 416] * 50)
    with serving({"/a.zip": endless}), pytest.raises(DownloadError, match="in a row"):
        fetch(endless.address, path + "2", pauses=NO_PAUSES)
    assert len(endless.seen) == 4


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_status_that_passes(path, status):
    served = Served(CONTENT, statuses=[status])
    with serving({"/a.zip": served}):
        fetch(served.address, path, pauses=NO_PAUSES)
    assert got(path) == CONTENT


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_status_that_stays(path, status):
    served = Served(CONTENT, statuses=[status])
    with serving({"/a.zip": served}), pytest.raises(DownloadError, match=f"/a.zip: HTTP {status} "):
        fetch(served.address, path)
    assert len(served.seen) == 1
    assert not os.path.exists(path)


def test_success_without_a_file(path):
    served = Served(CONTENT, statuses=[204])
    with serving({"/a.zip": served}), pytest.raises(DownloadError, match="found HTTP 204, expected the file"):
        fetch(served.address, path)


def test_redirect(path):
    real = Served(CONTENT, cuts=[300_000])
    with serving({"/real.zip": real}) as address:
        moved = Served(b"", redirect=f"{address}/real.zip")
        with serving({"/a.zip": moved}):
            fetch(moved.address, path, pauses=NO_PAUSES)
    assert got(path) == CONTENT
    assert real.seen[1]["Range"] == "bytes=300000-"


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/a.zip", "data:text/plain,hello"])
def test_redirect_to_another_scheme(path, target):
    served = Served(CONTENT, redirect=target)
    with serving({"/a.zip": served}), pytest.raises(DownloadError) as caught:
        fetch(served.address, path)
    assert f"HTTP 302 redirects to {target}: only http and https" in str(caught.value)
    assert os.listdir(os.path.dirname(path)) == []


def test_redirect_in_a_circle(path):
    served = Served(CONTENT)
    with serving({"/a.zip": served}) as address:
        served.redirect = f"{address}/a.zip"
        with pytest.raises(DownloadError, match="HTTP 302 redirects to .* no loops"):
            fetch(served.address, path)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a", "/etc/hostname", ""])
def test_other_schemes(path, url):
    with pytest.raises(DownloadError, match="expected an address that begins with http or https"):
        fetch(url, path)


def test_no_such_host(path):
    with pytest.raises(DownloadError, match=r"does not exist or cannot be reached \(Name or service not known\)"):
        fetch("http://nowhere.invalid/a.zip", path)


def test_a_proxy_is_asked(path, monkeypatch):
    served = Served(CONTENT)
    with serving({"http://nowhere.invalid/a.zip": served}) as address:
        monkeypatch.setenv("http_proxy", address)
        fetch("http://nowhere.invalid/a.zip", path)
    assert got(path) == CONTENT


def test_refused_connection(path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DownloadError, match="the host refuses connections"):
        fetch(f"http://127.0.0.1:{port}/a.zip", path)


def test_silence(path):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/a.zip"
        with pytest.raises(DownloadError, match=r"no answer \(timed out\), 2 times in a row"):
            fetch(url, path, pauses=(0.0,), timeout=0.05)


@pytest.mark.parametrize("published", [699_999, 700_001, 0])
def test_server_has_another_size_than_is_published(path, published):
    served = Served(CONTENT)
    words = f"the server's file has 700000 bytes, expected {published} as published"
    with serving({"/a.zip": served}), pytest.raises(DownloadError, match=words):
        fetch(served.address, path, published)
    assert os.listdir(os.path.dirname(path)) == []


def test_disk_without_room(path, monkeypatch):
    served = Served(CONTENT)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))
    with serving({"/a.zip": served}), pytest.raises(DownloadError, match="700000 bytes are needed but 1000 are free"):
        fetch(served.address, path)


def test_disk_that_fills_up(path, monkeypatch):
    def fill(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    served = Served(CONTENT)
    monkeypatch.setattr(fetching, "_receive", fill)
    with (
        serving({"/a.zip": served}),
        pytest.raises(DownloadError, match=r"cannot be written \(No space left .*\): free space"),
    ):
        fetch(served.address, path)


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"a.zip: the file cannot be written \((Not a directory|File exists)\)"):
        fetch("http://127.0.0.1/a.zip", str(tmp_path / "file" / "below" / "a.zip"))


def test_difference(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(b"hello")
    right = hashlib.md5(b"hello").hexdigest()
    assert difference(str(path), 5, right) is None
    assert difference(str(path), None, None) is None
    assert difference(str(path), 6, right) == "the file has 5 bytes, expected 6 as published"
    assert difference(str(path), None, "0" * 32) == f"its MD5 is {right}, expected {'0' * 32} as published"
    with pytest.raises(DownloadError, match=r"none: the file cannot be read \(No such file or directory\)"):
        difference(str(tmp_path / "none"), 5, None)
