"""Answers requests for segmentations: limits, the queue, the time limit, and clients that leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple

import numpy as np
from PIL import UnidentifiedImageError
from starlette.requests import Request

from database.channels import Channels
from database.errors import ImageError, TooManyPixelsError
from database.images import image_size, read_image
from database.input_range import InputRange
from tools.errors import MissingPackageError, OutOfMemoryError, UserError
from tools.prediction.polygons import require_polygons
from tools.runtime.printable import printable
from tools.serve.answers import Answer, Classes, Options, answer_of, options_of
from tools.serve.failures import AbandonedError, FailedRequest
from tools.serve.jobs import Check, Job, Jobs
from tools.serve.uploads import Upload, Uploads

logger = logging.getLogger(__name__)

_IMAGE = "the image"  # in messages, in place of a path
# Takes pixels and a check, returns training ids [H, W]; see `SegmentationModel.shared`.
Segment = Callable[[np.ndarray, Check], np.ndarray]


class Network(NamedTuple):
    """The network that the server offers.

    Attributes:
        description: for the page, as JSON values.
        classes: their names and colours.
        input_range, channels: see `database.images.read_image`.
        segment: predicts labels, in several threads.
    """

    description: dict[str, Any]
    classes: Classes
    input_range: InputRange
    channels: Channels | None
    segment: Segment


class Service:
    """Segments the images of requests."""

    def __init__(self, network: Network, jobs: Jobs, uploads: Uploads, seconds: float) -> None:
        """Takes the network, the queue, the limits on uploads, and the time limit after the upload."""
        self.network = network
        self._jobs, self._uploads, self._seconds = jobs, uploads, seconds

    async def segment(self, request: Request) -> Answer:
        """Answers a request.

        Raises:
            FailedRequest: the request is wrong, the server is busy, or the time is over.
            AbandonedError: the client left.
        """
        options = options_of(request.query_params, ", ".join(request.headers.getlist("accept")))
        if options.output == "polygons":
            _require_polygons()
        upload = await self._uploads.received(request)
        job = self._jobs.submit(partial(self._answer, upload, options))
        del upload  # the job holds it until it is decoded
        try:
            return await self._result(job, request)
        finally:
            job.abandon()

    async def _result(self, job: Job, request: Request) -> Answer:
        """Waits for a job, for the client to leave, or for the time to be over."""
        result = asyncio.wrap_future(job.future)
        left = asyncio.ensure_future(_left(request))
        try:
            done, _ = await asyncio.wait({result, left}, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
        if result in done:
            return result.result()
        result.add_done_callback(_ignore)
        if left in done:
            raise AbandonedError
        raise FailedRequest(
            HTTPStatus.GATEWAY_TIMEOUT,
            f"the image was not segmented in {self._seconds:g} seconds: send a smaller one, or start the server with a "
            "larger --timeout, or less work per image (--mirror 0 or --test_image_size 0)",
        )

    def _answer(self, upload: Upload, options: Options, check: Check) -> Answer:
        """Decodes, predicts and encodes, in a thread of the jobs."""
        check()
        network = self.network
        content = upload.image()
        check()
        pixels = _pixels(content, network)
        del content, upload
        check()
        try:
            labels = network.segment(pixels, check)
            check()
            return answer_of(labels, network.classes, options, check)
        except (AbandonedError, FailedRequest):
            raise
        except OutOfMemoryError as error:
            raise FailedRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _line(error)) from error
        except UserError as error:
            raise FailedRequest(HTTPStatus.INTERNAL_SERVER_ERROR, _line(error)) from error


def _pixels(content: bytes, network: Network) -> np.ndarray:
    """Decodes an image; its size is checked by its header before.

    Raises:
        FailedRequest: it is no image, damaged or too large.
    """
    try:
        image_size(_IMAGE, content, network.channels)
        return read_image(_IMAGE, content, network.input_range, network.channels)
    except TooManyPixelsError as error:
        raise FailedRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _line(error)) from error
    except ImageError as error:
        is_image = not isinstance(error.__cause__, UnidentifiedImageError)
        status = HTTPStatus.BAD_REQUEST if is_image else HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        raise FailedRequest(status, _line(error)) from error


def _line(error: Exception) -> str:
    return printable(" ".join(str(error).split()))


def _require_polygons() -> None:
    try:
        require_polygons("output=polygons")
    except MissingPackageError as error:
        raise FailedRequest(HTTPStatus.NOT_IMPLEMENTED, _line(error)) from error


async def _left(request: Request) -> None:
    """Returns when the client leaves."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _ignore(future: asyncio.Future) -> None:
    """Takes the result of a job that nobody waits for, so that asyncio does not report it."""
    if not future.cancelled():
        future.exception()
