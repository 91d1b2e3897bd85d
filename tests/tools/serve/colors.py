"""A server whose network is the colour of each pixel, and requests to its application without a network."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import numpy as np

from database.input_range import InputRange
from tools.serve.answers import Classes, class_list
from tools.serve.application import application
from tools.serve.jobs import Jobs
from tools.serve.protection import KnownHosts
from tools.serve.server import address_of, bound_socket, server_of
from tools.serve.service import Network, Service
from tools.serve.uploads import Uploads

CLASSES = Classes(("red", "green", "blue <b>"), ((255, 0, 0), (0, 255, 0), (0, 0, 255)))
LIMITS = {"max_upload": 100_000, "max_pixels": 40_000_000, "timeout": 30.0, "queue": 4}


def strongest(pixels: np.ndarray, check: Callable[[], object] = lambda: None) -> np.ndarray:
    """The strongest channel of each pixel: what the network outputs."""
    check()
    return pixels.argmax(axis=2).astype(np.uint8)


def form(content: bytes, filename: str = "street.png", field: str = "image") -> tuple[dict[str, str], bytes]:
    """Headers and body of a form with a file."""
    head = f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="{filename}"\r\n\r\n'
    return {"content-type": "multipart/form-data; boundary=x"}, head.encode() + content + b"\r\n--x--\r\n"


def service_of(segment: Callable = strongest, *, parallel: int = 2, **limits: Any) -> tuple[Service, Jobs]:
    """A service and its jobs, to be closed."""
    chosen = {**LIMITS, **limits}
    jobs = Jobs(parallel, chosen["queue"])
    network = Network(
        {"network": "colors", "decoder": "none", "dataset": "Toy", "checkpoint": "model.ckpt-1",
         "classes": class_list(CLASSES)},
        CLASSES, InputRange(None), None, segment,
    )  # fmt: skip
    return Service(network, jobs, Uploads(chosen["max_upload"], chosen["timeout"]), chosen["timeout"]), jobs


def application_of(service: Service, **limits: Any) -> Any:
    """The application of a service, for this machine."""
    return application(service, KnownHosts(is_local=True, names=()), {**LIMITS, **limits})


class Reply(NamedTuple):
    """What an application answers."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        assert self.headers["content-type"] == "application/json"
        assert "\n" not in self.json["error"]
        return self.json["error"]


async def ask(
    app: Any,
    path: str = "/v1/segment",
    *,
    method: str = "POST",
    headers: dict[str, str] | Sequence[tuple[str, str]] = (),
    body: bytes | Sequence[bytes] = b"",
    query: str = "",
    leaves_after: float | None = None,
    stalls: bool = False,
) -> Reply:
    """Sends a request to an application.

    Args:
        leaves_after: seconds after the body when the client leaves.
        stalls: whether the end of the body never comes.
    """
    pairs = list(headers.items() if isinstance(headers, dict) else headers)
    if not any(name == "host" for name, _ in pairs):
        pairs.append(("host", "127.0.0.1:8080"))
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode(),
        "root_path": "", "scheme": "http", "query_string": query.encode(), "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080), "headers": [(name.encode(), value.encode("latin-1")) for name, value in pairs],
    }  # fmt: skip
    chunks = [body] if isinstance(body, bytes) else list(body)
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages[-1]["more_body"] = stalls
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await asyncio.sleep(1e6 if leaves_after is None else leaves_after)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:]))


def replies(*requests, segment=strongest, **limits):
    """The answers to requests, each the arguments of `ask`, which are sent one after another."""
    service, jobs = service_of(segment, **limits)

    async def send():
        app = application_of(service, **limits)
        return [await ask(app, **request) for request in requests]

    try:
        return asyncio.run(send())
    finally:
        jobs.close()


def reply(segment=strongest, limits=None, **request):
    """The answer to a request, the arguments of `ask`."""
    return replies(request, segment=segment, **(limits or {}))[0]


@contextmanager
def running(segment: Callable = strongest, *, parallel: int = 2, **limits: Any) -> Iterator[str]:
    """Runs a server on a free port of this machine, and yields the address of its page."""
    service, jobs = service_of(segment, parallel=parallel, **limits)
    with closing(jobs), bound_socket("127.0.0.1", 0) as bound:
        server = server_of(application_of(service, **limits), {**LIMITS, **limits}["timeout"])
        address = address_of(bound)
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        try:
            while not server.started and thread.is_alive():
                thread.join(0.01)
            yield address
        finally:
            server.should_exit = True
            thread.join()
