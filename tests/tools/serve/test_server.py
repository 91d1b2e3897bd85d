"""A real server on a free port of this machine: connections, load, and its end."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("python_multipart", reason="needs the extra serve")

from tests.tools.serve.colors import running, strongest  # noqa: E402
from tests.tools.serve.images import picture, png  # noqa: E402
from tools.errors import FlagError  # noqa: E402
from tools.serve import server as server_module  # noqa: E402
from tools.serve.server import address_of, bound_socket, start_listening  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
PNG = {"Content-Type": "image/png"}
IMAGE = png(picture())


def post(address, body=IMAGE, headers=PNG, query=""):
    """Status, headers and body of the answer."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    try:
        connection.request("POST", f"/v1/segment{query}", body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def raw(address, data, *, seconds=20.0, shuts=False):
    """What the server sends back to bytes, until it closes the connection."""
    host, _, port = urlsplit(address).netloc.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(data)
        if shuts:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
        return received


@pytest.fixture(scope="module")
def address():
    with running() as found:
        yield found


def test_a_request(address):
    status, headers, body = post(address, query="?output=labels")
    assert (status, headers["content-type"]) == (200, "image/png")
    assert "server" not in headers
    with urllib.request.urlopen(f"{address}healthz") as answer:
        assert answer.read() == b'{"status": "ok"}'


def test_it_listens_on_this_machine_only(address):
    assert address.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\x00c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 9x\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ],
)
def test_malformed_requests(address, data):
    head, _, body = raw(address, data).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] in (b"400", b"421"), head
    assert b"content-type: application/json" in head.lower()
    assert b"x-content-type-options: nosniff" in head.lower()
    assert list(json.loads(body)) == ["error"]
    assert post(address)[0] == 200


def test_line_breaks_in_values_make_no_header(address):
    host, _, port = urlsplit(address).netloc.rpartition(":")
    data = (f"POST /v1/segment?output=a%0d%0aSet-Cookie:%20x HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Content-Type: image/png\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").encode()  # fmt: skip
    head, _, body = raw(address, data).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"set-cookie" not in head.lower()
    assert b"\n" not in body


def test_too_many_connections(monkeypatch):
    monkeypatch.setattr(server_module, "_MOST_CONNECTIONS", 3)
    with running() as address:
        host, _, port = urlsplit(address).netloc.rpartition(":")
        idle = [socket.create_connection((host, int(port)), timeout=20) for _ in range(3)]
        status, headers, body = post(address)
        assert (status, headers["content-type"], headers["retry-after"]) == (503, "application/json", "1")
        assert "the limit is 3" in json.loads(body)["error"]
        for connection in idle:
            connection.close()
        while post(address)[0] != 200:
            time.sleep(0.05)


def test_a_header_that_does_not_arrive(monkeypatch):
    monkeypatch.setattr(server_module, "_SECONDS_FOR_HEADERS", 0.3)
    with running() as address:
        started = time.monotonic()
        assert raw(address, b"POST /v1/segment HTTP/1.1\r\nHost:") == b""
        assert raw(address, b"") == b""
        assert time.monotonic() - started < 15
        assert post(address)[0] == 200


def test_a_body_that_does_not_arrive():
    with running(timeout=0.5) as address:
        host = urlsplit(address).netloc
        head = f"POST /v1/segment HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\nContent-Length: 900\r\n\r\n"
        found = raw(address, head.encode() + b"\x89PNG")
        assert found.startswith(b"HTTP/1.1 408")


def test_a_hundred_megabytes(address):
    """They are rejected by the header, or while they arrive; a client that reads late gets the answer too."""
    host = urlsplit(address).netloc
    head = f"POST /v1/segment HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\n"
    announced = raw(address, f"{head}Content-Length: 100000000\r\n\r\n".encode())
    assert announced.startswith(b"HTTP/1.1 413")
    status, headers, body = post(address, bytes(100_000_000))
    assert (status, headers["connection"], b"--max_upload" in body) == (413, "close", True)
    pieces = (bytes(65536) for _ in range(1500))
    assert post(address, pieces)[0] == 413
    assert post(address)[0] == 200


def test_clients_that_leave(address):
    host = urlsplit(address).netloc
    head = (
        f"POST /v1/segment HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\nContent-Length: {len(IMAGE)}\r\n\r\n"
    )
    for part in (b"", IMAGE[:30], IMAGE):
        with socket.create_connection(tuple(host.split(":")), timeout=20) as connection:
            connection.sendall(head.encode() + part)
    assert post(address)[0] == 200


def test_load():
    """Eight clients, two hundred requests: each gets its own answer."""
    images = [picture(20, 30 + index, seed=index) for index in range(25)]
    files = [png(image) for image in images]
    with running(queue=16) as address, ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda index: post(address, files[index % 25], query="?output=csv"), range(200)))
    assert [status for status, _, _ in answers] == [200] * 200
    for index, (_, _, body) in enumerate(answers):
        rows = body.decode().splitlines()[1:]
        counts = [int(row.rsplit(",", 2)[1]) for row in rows]
        assert counts == [int((strongest(images[index % 25]) == kind).sum()) for kind in range(3)]


def test_a_full_queue():
    gate = threading.Event()

    def held(pixels, check):
        gate.wait(30)
        return strongest(pixels)

    with running(held, parallel=1, queue=1) as address, ThreadPoolExecutor(6) as clients:
        answers = [clients.submit(post, address) for _ in range(6)]
        while sum(answer.done() for answer in answers) < 4:
            time.sleep(0.01)
        gate.set()
        found = [answer.result() for answer in answers]
    assert sorted(status for status, _, _ in found) == [200, 200, 503, 503, 503, 503]
    assert all(int(headers["retry-after"]) >= 1 for status, headers, _ in found if status == 503)


SLOW_SERVER = """
import sys, time
from contextlib import closing
from tests.tools.serve.colors import application_of, service_of, strongest
from tools.console import set_up_logging
from tools.serve.server import bound_socket, server_of, start_listening, stop_signals_ignored

def slow(pixels, check):
    while jobs._count < 3 and not answered:
        time.sleep(0.01)
    print("all have arrived", flush=True)
    time.sleep(1)
    answered.append(pixels)
    check()
    return strongest(pixels)

answered = []
set_up_logging()
service, jobs = service_of(slow, parallel=1)
with closing(jobs), bound_socket("127.0.0.1", 0) as bound, stop_signals_ignored():
    print(start_listening(bound), flush=True)
    server_of(application_of(service), 30).run(sockets=[bound])
print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_accepted_requests_are_answered_after_a_signal(number):
    with (
        subprocess.Popen(
            [sys.executable, "-c", SLOW_SERVER], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as server,
        ThreadPoolExecutor(3) as clients,
    ):
        try:
            address = server.stdout.readline().strip()
            answers = [clients.submit(post, address) for _ in range(3)]
            assert server.stdout.readline() == "all have arrived\n"
            server.send_signal(number)
            assert [answer.result()[0] for answer in answers] == [200] * 3
            output, errors = server.communicate(timeout=60)
        finally:
            server.kill()
    assert (server.returncode, output.splitlines()[-1]) == (0, "ended")
    assert "Traceback" not in errors
    assert "the server ends when all accepted requests are answered" in errors


def test_an_address_in_use():
    with bound_socket("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(FlagError, match=f"--port {port} cannot be used"):
            bound_socket("127.0.0.1", port)


def test_an_address_that_two_servers_took_while_they_loaded_their_networks():
    with bound_socket("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bound_socket("127.0.0.1", port) as second:
            start_listening(first)
            with pytest.raises(FlagError, match=f"--port {port} cannot be used"):
                start_listening(second)


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.host.invalid", "a" * 300])
def test_addresses_of_other_machines(host):
    with pytest.raises(FlagError, match="--host"):
        bound_socket(host, 0)


def test_addresses():
    with bound_socket("localhost", 0) as bound:
        assert address_of(bound).startswith(("http://127.0.0.1:", "http://[::1]:"))
