"""Opens addresses by http and https, and ends connections that stay open without delivering anything."""

from __future__ import annotations

import functools
import http.client
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from typing import Any

SCHEMES = ("http", "https")

# A connection that delivers less than this in `Watch.seconds` is ended: a telephone line delivers a hundred times more.
LEAST_BYTES = 4096


class Watch:
    """Shuts a connection down if its answer, or the next `LEAST_BYTES` of it, take too long; use as a context manager.

    The timeout of a socket only limits the time without a byte: a server that sends a byte from time to time, or
    endless interim answers or trailers, would hold the program forever.

    Attributes:
        seconds: the limit.
        has_ended: whether the connection was shut down.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.has_ended = False
        self._socket: socket.socket | None = None
        self._since = time.monotonic()
        self._bytes = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def connected(self, connection: socket.socket) -> None:
        """Watches a new connection."""
        self._socket, self._since, self._bytes = connection, time.monotonic(), 0

    def received(self, count: int) -> None:
        """Counts bytes that arrived."""
        self._bytes += count
        if self._bytes >= LEAST_BYTES:
            self._since, self._bytes = time.monotonic(), 0

    def _watch(self) -> None:
        while not self._closed.wait(max(self._since + self.seconds - time.monotonic(), 0.01)):
            if time.monotonic() - self._since >= self.seconds and self._socket is not None:
                self.has_ended = True
                with suppress(OSError):
                    # Not SSLSocket's method, which cannot be called while another thread reads.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                return

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closed.set()
        self._thread.join()


class _Watched(http.client.HTTPConnection):
    """A connection that tells a watch when it is connected."""

    def __init__(self, *args: Any, watch: Watch, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watch = watch

    def connect(self) -> None:
        super().connect()
        self._watch.connected(self.sock)


class _WatchedSecurely(_Watched, http.client.HTTPSConnection):
    """The same over TLS: the watch gets the connection after the handshake."""


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens both kinds of addresses by connections that are watched."""

    def __init__(self, watch: Watch) -> None:
        urllib.request.HTTPSHandler.__init__(self)
        self._watch = watch

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(functools.partial(_Watched, watch=self._watch), req)

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(functools.partial(_WatchedSecurely, watch=self._watch), req)


class _HttpOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects only to http and https; urllib would also follow those to ftp."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urllib.parse.urlparse(newurl).scheme not in SCHEMES:
            raise urllib.error.HTTPError(newurl, code, msg, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def opened(request: urllib.request.Request, timeout: float, watch: Watch) -> Any:
    """Sends a request and follows redirects.

    Args:
        request: for an address with one of `SCHEMES`.
        timeout: seconds without a byte.
        watch: of the connections.

    Returns:
        The response, as that of `urllib.request.urlopen`.

    Raises:
        OSError, http.client.HTTPException: there is no answer, or it is not HTTP.
        ValueError, OverflowError: the address, or one that the server redirects to, has no valid host or port.
    """
    return urllib.request.build_opener(_HttpOnly(), _Handler(watch)).open(request, timeout=timeout)
