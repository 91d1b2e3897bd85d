"""Requests that pages of other sites make."""

from __future__ import annotations

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("python_multipart", reason="needs the extra serve")

from starlette.datastructures import Headers  # noqa: E402

from tools.serve.failures import FailedRequest  # noqa: E402
from tools.serve.protection import KnownHosts  # noqa: E402


def status(headers, *, is_local=True, names=()):
    raw = [(name.encode(), value.encode()) for name, value in headers]
    try:
        KnownHosts(is_local=is_local, names=names).check(Headers(raw=raw))
    except FailedRequest as failure:
        return failure.status if "\n" not in failure.text else 0
    return 200


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1:8080", "127.3.4.5", "[::1]:8080", "[::1]"]
)
def test_own_names(host):
    assert status([("host", host)]) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.test", "evil.test:8080", "localhost.evil.test", "127.0.0.1.evil.test", "192.168.0.9:8080", "0.0.0.0", "",
     "[::2]:8080", "[fe80", "localhost:8080@evil.test", "a\tb", "x" * 9999],
)  # fmt: skip
def test_foreign_names(host):
    assert status([("host", host)]) == 421


def test_one_host():
    assert status([]) == 421
    assert status([("host", "localhost"), ("host", "localhost")]) == 421


def test_addresses_and_names_of_an_open_server():
    assert status([("host", "192.168.0.9:8080")], is_local=False) == 200
    assert status([("host", "[fd00::1]:8080")], is_local=False) == 200
    assert status([("host", "gpu.lab.test")], is_local=False) == 421
    assert status([("host", "GPU.lab.test:80")], is_local=False, names=("gpu.lab.test",)) == 200


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8080", "https://127.0.0.1:8080", "HTTP://127.0.0.1:8080"])
def test_own_pages(origin):
    assert status([("host", "127.0.0.1:8080"), ("origin", origin)]) == 200


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://evil.test",
        "http://127.0.0.1:9999",
        "http://localhost:8080",
        "",
        "http://127.0.0.1:8080.evil.test",
    ],
)
def test_pages_of_other_sites(origin):
    assert status([("host", "127.0.0.1:8080"), ("origin", origin)]) == 403
