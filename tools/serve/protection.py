"""Rejects requests that a page of another site makes, and sets the headers that limit what browsers do.

A page of another site can let a browser send requests to this machine. With DNS rebinding, its own name leads to
127.0.0.1, so that the browser treats this server as that site. Such requests have a foreign name in Host; others have a
foreign Origin.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tools.serve.failures import FailedRequest

# A page runs the scripts of this server only, and talks to this server only.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LOCAL_NAMES = ("localhost",)


class SecurityHeaders:
    """Adds headers to all answers."""

    def __init__(self, app: ASGIApp) -> None:
        """Wraps an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class KnownHosts:
    """The names under which this server may be reached."""

    def __init__(self, *, is_local: bool, names: Collection[str]) -> None:
        """Sets the names.

        Args:
            is_local: whether the server is reached from this machine only; otherwise all IP addresses are accepted,
                which another site cannot make its own.
            names: besides localhost.
        """
        self._is_local = is_local
        self._names = {name.lower() for name in (*_LOCAL_NAMES, *names)}

    def check(self, headers: Headers) -> None:
        """Checks Host and Origin of a request.

        Raises:
            FailedRequest: one of them is foreign, or Host is missing.
        """
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_known(hosts[0]):
            found = f"Host {hosts[0][:80]!a}" if hosts else "no Host"
            raise FailedRequest(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"{found} is no name of this server: use localhost or its address, or start it with --allowed_hosts",
                closes=True,
            )
        for origin in headers.getlist("origin"):
            if origin.lower() not in (f"http://{hosts[0]}".lower(), f"https://{hosts[0]}".lower()):
                raise FailedRequest(
                    HTTPStatus.FORBIDDEN,
                    f"Origin {origin[:80]!a} is another site: only pages of this server may ask it",
                    closes=True,
                )

    def _is_known(self, host: str) -> bool:
        name = _name_in(host)
        if name.lower() in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self._is_local


def _name_in(host: str) -> str:
    """Returns a host without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() else host


class OnlyKnownHosts:
    """Answers requests of other sites with an error."""

    def __init__(self, app: ASGIApp, hosts: KnownHosts, failed: Any) -> None:
        """Wraps an application.

        Args:
            app: application.
            hosts: the accepted ones.
            failed: makes the answer of a FailedRequest.
        """
        self._app, self._hosts, self._failed = app, hosts, failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request."""
        if scope["type"] == "http":
            try:
                self._hosts.check(Headers(scope=scope))
            except FailedRequest as failure:
                await self._failed(failure)(scope, receive, send)
                return
        await self._app(scope, receive, send)
