"""Runs the application in uvicorn: address, time limits on connections, and an orderly end at SIGTERM."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tools.errors import FlagError
from tools.serve.application import failed_response
from tools.serve.failures import FailedRequest
from tools.serve.protection import SECURITY_HEADERS

logger = logging.getLogger(__name__)

_MOST_CONNECTIONS = 500  # below the usual limit of 1024 open files
_BACKLOG = 128
_SECONDS_FOR_HEADERS = 10.0
_SECONDS_IDLE = 5
_SECONDS_TO_SEND = 60.0  # what remains of an answer after the connection was closed
_SECONDS_TO_FINISH = 5


class LimitedProtocol(H11Protocol):
    """HTTP/1.1 that closes connections whose header does not arrive, or whose client does not read its answer."""

    _due: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Wraps the application by the limit on connections; for the arguments see uvicorn."""
        super().__init__(*arguments, **options)
        self._application = self.app
        self.app = self._limited

    async def _limited(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers a request with 503 if there are too many connections; uvicorn would answer in plain text."""
        application = self._application
        if len(self.connections) > _MOST_CONNECTIONS:
            application = failed_response(
                FailedRequest(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"there are {len(self.connections)} connections, and the limit is {_MOST_CONNECTIONS}: try again "
                    "later",
                    retry_after=1,
                    closes=True,
                )
            )
        await application(scope, receive, send)

    def send_400_response(self, msg: str) -> None:
        """Answers a request that is not HTTP as other errors are answered, in JSON; uvicorn's own is plain text."""
        body = json.dumps({"error": f"the request is malformed ({msg})"}).encode()
        headers = [*SECURITY_HEADERS.items(), ("Content-Type", "application/json"),
                   ("Content-Length", str(len(body))), ("Connection", "close")]  # fmt: skip
        start = h11.Response(status_code=HTTPStatus.BAD_REQUEST, headers=headers, reason=b"Bad Request")
        for event in (start, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def connection_made(self, transport: Any) -> None:
        """Starts the time for the header of the first request."""
        super().connection_made(transport)
        self._start()

    def data_received(self, data: bytes) -> None:
        """Starts the time when a header begins, and ends it when the header is complete."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop()
        elif self._due is None:
            self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the time."""
        self._stop()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        """Closes an idle connection; later also if its client does not read what was sent."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(_SECONDS_TO_SEND, self.transport.abort)

    def _start(self) -> None:
        self._due = self.loop.call_later(_SECONDS_FOR_HEADERS, self.transport.abort)

    def _stop(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


def bound_socket(host: str, port: int) -> socket.socket:
    """Reserves an address; it refuses connections until the server runs.

    Raises:
        FlagError: it is in use, or not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except (OSError, UnicodeError) as error:
        raise _unusable(host, port, error) from error
    return bound


def _unusable(host: str, port: int, error: OSError | UnicodeError) -> FlagError:
    reason = getattr(error, "strerror", None) or error
    return FlagError(
        f"--host {host} --port {port} cannot be used ({reason}): give another --port, or an address of this machine "
        "with --host"
    )


def address_of(bound: socket.socket) -> str:
    """Returns the address of the page on a socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def start_listening(bound: socket.socket) -> str:
    """Lets requests wait for the server, which were refused before, and returns the address of the page.

    Raises:
        FlagError: another process, which bound the address too, listens already.
    """
    try:
        bound.listen()
    except OSError as error:
        host, port = bound.getsockname()[:2]
        raise _unusable(host, port, error) from error
    return address_of(bound)


class _Server(uvicorn.Server):
    """Says what it waits for when it is asked to stop."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handles the first signal, and the second one, which ends the server at once."""
        super().handle_exit(sig, frame)
        if not self.force_exit:
            logger.info("the server ends when all accepted requests are answered; Ctrl-C again ends it at once")


def server_of(application: Any, seconds: float) -> uvicorn.Server:
    """Makes the server; `run(sockets=[...])` of it returns when it was asked to stop and all requests are answered.

    Args:
        application: see `application`.
        seconds: limit for an upload, and for its answer.
    """
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    config = uvicorn.Config(
        application,
        http=LimitedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_SECONDS_IDLE,
        timeout_graceful_shutdown=math.ceil(2 * seconds) + _SECONDS_TO_FINISH,
    )
    return _Server(config)


@contextmanager
def stop_signals_ignored() -> Iterator[None]:
    """Ignores SIGTERM and SIGINT in a block in which the server handles them: it sends them again when it has ended."""

    def ignore(number: int, frame: FrameType | None) -> None:
        pass

    numbers = (signal.SIGTERM, signal.SIGINT)
    handlers = {number: signal.signal(number, ignore) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
