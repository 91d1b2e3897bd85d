"""The addresses of the server: the page, its files, and the interface for programs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from database.regular_files import regular_file
from tools.pages.page import style, tip_script
from tools.runtime.printable import printable
from tools.serve.failures import AbandonedError, FailedRequest
from tools.serve.openapi import openapi_document
from tools.serve.protection import KnownHosts, OnlyKnownHosts, SecurityHeaders
from tools.serve.service import Service

logger = logging.getLogger(__name__)

_ASSETS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "assets")
_JSON = "application/json"
# Address: file and media type.
_FILES = {
    "/": ("page.html", "text/html"),
    "/docs": ("docs.html", "text/html"),
    "/serve.css": ("serve.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/docs.js": ("docs.js", "text/javascript"),
}
# A client that left does not read it; the number is nginx's.
_CLIENT_LEFT = 499
_MOST_DISCARDED, _SECONDS_OF_DISCARDING, _SECONDS_OF_SILENCE = 200_000_000, 30.0, 2.0

Endpoint = Callable[[Request], Awaitable[Response]]


def application(service: Service, hosts: KnownHosts, limits: dict[str, Any]) -> ASGIApp:
    """Makes the application.

    Args:
        service: segments.
        hosts: under which the server is reached.
        limits: of the server, for the page, as JSON values.
    """
    contents = {place: (_asset(name), media_type) for place, (name, media_type) in _FILES.items()}
    contents["/style.css"] = (style().encode(), "text/css")
    contents["/tip.js"] = (tip_script().encode(), "text/javascript")
    contents["/openapi.json"] = (_json(openapi_document(limits)), _JSON)
    contents["/v1/model"] = (_json({**service.network.description, "limits": limits}), _JSON)
    contents["/healthz"] = (_json({"status": "ok"}), _JSON)
    routes = [Route(place, _fixed(*content), methods=["GET"]) for place, content in contents.items()]
    routes.append(Route("/v1/segment", _segment(service), methods=["POST"]))
    guarded = Starlette(
        routes=routes,
        middleware=[Middleware(OnlyKnownHosts, hosts=hosts, failed=failed_response)],
        exception_handlers={HTTPException: _http_error, Exception: _unexpected},
    )
    return SecurityHeaders(guarded)  # also of the answers to unexpected errors


def _asset(name: str) -> bytes:
    with open(os.path.join(_ASSETS, name), "rb", opener=regular_file) as file:
        return file.read()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _fixed(content: bytes, media_type: str) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return endpoint


def _segment(service: Service) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        started = time.perf_counter()
        try:
            answer = await service.segment(request)
            response = Response(answer.body, media_type=answer.media_type)
        except FailedRequest as failure:
            logger.info("%d: %s", failure.status, printable(failure.text))
            return failed_response(failure)
        except AbandonedError:
            logger.info("%d: the client left", _CLIENT_LEFT)
            return Response(status_code=_CLIENT_LEFT)
        logger.info("200: %s, %.2f s", answer.media_type, time.perf_counter() - started)
        return response

    return endpoint


class _LastResponse(Response):
    """An answer after which the connection is closed although the request was not read to its end.

    Many clients read no answer before they have sent everything, and a connection that is closed earlier is an error to
    them. So what they send is discarded for a while.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(head)
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        left = _MOST_DISCARDED
        with suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS_OF_DISCARDING):
                while left > 0:
                    message = await asyncio.wait_for(receive(), _SECONDS_OF_SILENCE)
                    if not message.get("more_body"):
                        break
                    left -= len(message["body"])
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def failed_response(failure: FailedRequest) -> Response:
    """Makes the answer of an error: JSON with one line."""
    headers = {}
    kind = _LastResponse if failure.closes else Response
    if failure.retry_after is not None:
        headers["Retry-After"] = str(failure.retry_after)
    if failure.closes:
        headers["Connection"] = "close"
    return kind(_json({"error": failure.text}), failure.status, headers, _JSON)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = {
        HTTPStatus.NOT_FOUND: "there is nothing at this address: see /docs",
        HTTPStatus.METHOD_NOT_ALLOWED: "the method is not allowed at this address: see /docs",
    }.get(HTTPStatus(error.status_code), error.detail)
    return Response(_json({"error": text}), error.status_code, error.headers, _JSON)


async def _unexpected(request: Request, error: Exception) -> Response:
    return Response(_json({"error": "the server has a fault, which its log shows"}), 500, media_type=_JSON)
