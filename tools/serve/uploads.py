"""Reads the image in a request, within limits of size and time, without a file on disk."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import NamedTuple

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from tools.serve.failures import AbandonedError, FailedRequest

FIELD = "image"
_FORM = "multipart/form-data"
_BYTES = "application/octet-stream"
_MOST_FIELDS = 20
_EXPECTED = f"expected image/*, {_BYTES}, or {_FORM} with a file in the field {FIELD}"


class Upload(NamedTuple):
    """The body of a request.

    Attributes:
        headers: of the request.
        body: an image file, or a form with one.
        is_form: which of them.
    """

    headers: Headers
    body: bytes
    is_form: bool

    def image(self) -> bytes:
        """Returns the bytes of the image file; for forms, that takes time, and not in a thread with an event loop.

        Raises:
            FailedRequest: the form is malformed or has no file, or the file is empty.
        """
        image = asyncio.run(_file_in_form(self.headers, self.body)) if self.is_form else self.body
        if not image:
            raise FailedRequest(HTTPStatus.BAD_REQUEST, "the image is empty: expected an image file")
        return image


class Uploads:
    """Limits on uploads.

    Attributes:
        largest: bytes of a body.
        seconds: in which a body has to arrive.
        most: bodies that arrive at the same time, which bounds memory.
    """

    def __init__(self, largest: int, seconds: float, most: int = 32) -> None:
        """Takes the limits."""
        self.largest, self.seconds, self.most = largest, seconds, most
        self._count = 0

    async def received(self, request: Request) -> Upload:
        """Waits for the body of a request.

        Raises:
            FailedRequest: the content type is another, or the body is too large or too slow.
            AbandonedError: the client left.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != _FORM and kind != _BYTES and not kind.startswith("image/"):
            found = f"Content-Type {kind[:80]!a}" if kind else "no Content-Type"
            raise FailedRequest(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"{found}: {_EXPECTED}", closes=True)
        if self._count >= self.most:
            raise FailedRequest(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._count} uploads are arriving, which is the limit: try again later",
                retry_after=1,
                closes=True,
            )
        self._count += 1
        try:
            return Upload(request.headers, await self._body(request), kind == _FORM)
        finally:
            self._count -= 1

    async def _body(self, request: Request) -> bytes:
        self._check_size(int(request.headers.get("content-length", 0)))  # h11 has checked that it is a number
        body = bytearray()
        try:
            async with asyncio.timeout(self.seconds):
                async for chunk in request.stream():
                    body += chunk
                    self._check_size(len(body))
        except TimeoutError as error:
            raise FailedRequest(
                HTTPStatus.REQUEST_TIMEOUT,
                f"{len(body)} bytes arrived in {self.seconds:g} seconds, and the request is not complete",
                closes=True,
            ) from error
        except ClientDisconnect as error:
            raise AbandonedError from error
        return bytes(body)

    def _check_size(self, size: int) -> None:
        if size > self.largest:
            raise FailedRequest(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the upload has more than {self.largest} bytes, the limit of this server (--max_upload)",
                closes=True,
            )


class _ParserInMemory(MultiPartParser):
    spool_max_size = sys.maxsize  # larger files would go to the disk


async def _file_in_form(headers: Headers, body: bytes) -> bytes:
    """Returns the content of the file in a form; its name is not used.

    Raises:
        FailedRequest: the form is malformed, or has no file in the expected field.
    """

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await _ParserInMemory(headers, chunks(), max_files=1, max_fields=_MOST_FIELDS).parse()
    except (MultiPartException, ValueError) as error:
        reason = error.message if isinstance(error, MultiPartException) else "it is malformed"
        raise FailedRequest(HTTPStatus.BAD_REQUEST, f"the form cannot be read ({reason}): {_EXPECTED}") from error
    try:
        file = form.get(FIELD)
        if not isinstance(file, UploadFile):
            raise FailedRequest(HTTPStatus.BAD_REQUEST, f"the form has no file in the field {FIELD}: {_EXPECTED}")
        return await file.read()
    finally:
        await form.close()
