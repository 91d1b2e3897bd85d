"""Measures the server of `tools.serve` beside its engine: the same model, called directly, on the same images."""

from __future__ import annotations

import http.client
import logging
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from io import BytesIO
from itertools import islice
from typing import NamedTuple

import numpy as np
from PIL import Image

from database.images import read_image
from tools.benchmark.timing import Row
from tools.export.images import validation_pictures
from tools.prediction.loading import loaded_model
from tools.prediction.segmentation_model import SegmentationModel
from tools.runtime.extras import require_packages
from tools.serve import __main__ as command
from tools.serve.application import application
from tools.serve.flags import ServeConfig
from tools.serve.jobs import Jobs
from tools.serve.protection import KnownHosts
from tools.serve.server import bound_socket, server_of
from tools.serve.service import Service
from tools.serve.uploads import Uploads

logger = logging.getLogger(__name__)

CLIENTS = 8
REQUESTS = 200
_ROUNDS = 3
_IMAGES = 25  # different ones
_TIMEOUT = 600.0
_HEADERS = {"Content-Type": "image/png"}
_OK = 200


class _Round(NamedTuple):
    server_seconds: float
    engine_seconds: float
    lost: int


def measure_serving(weights_ckpt: str, data_dir: str | None) -> Iterator[Row]:
    """Yields images per second of the server and of its engine.

    Both take turns: in each round, 8 clients send 200 requests in one go, then the engine reads and segments the same
    200 images one by one.

    Args:
        weights_ckpt: snapshot, or a folder of snapshots, with its record.
        data_dir: of the dataset; None for the folder in the record.

    Raises:
        MissingPackageError: the extra `serve` is not installed.
        CheckpointError, DataError, RecordError: as in `tools.serve`.
    """
    require_packages(command.PACKAGES, "serve", "--parts serve")
    logging.getLogger("tools.serve").setLevel(logging.WARNING)  # not a line per request
    with ExitStack() as stack:
        model = stack.enter_context(loaded_model(weights_ckpt, {}))
        pictures = islice(validation_pictures(model.record, data_dir, _IMAGES), _IMAGES)
        files = [_png_of(picture.image) for picture in pictures]
        files = [files[index % len(files)] for index in range(REQUESTS)]
        port = stack.enter_context(_running(model))
        _one_round(port, model, files[:CLIENTS])  # warm-up
        rounds = [_one_round(port, model, files) for _ in range(_ROUNDS)]
    server, engine = (statistics.median(seconds) for seconds in list(zip(*rounds, strict=True))[:2])
    yield Row("serve.engine", REQUESTS / engine, "images/s")
    yield Row("serve.server", REQUESTS / server, "images/s")
    yield Row("serve.ratio", statistics.median(found.engine_seconds / found.server_seconds for found in rounds),
              "of the engine")  # fmt: skip
    yield Row("serve.lost", sum(found.lost for found in rounds), f"of {REQUESTS * len(rounds)} requests")


def _png_of(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


@contextmanager
def _running(model: SegmentationModel) -> Iterator[int]:
    """Runs a server with the default limits on a free port of this machine, and yields the port."""
    config = ServeConfig(port=0)
    most_pixels = command.limit_pixels(config, model.record)
    with (
        model.shared(config.windows_per_batch, most_pixels) as segment,
        closing(Jobs(config.parallel, config.queue)) as jobs,
        bound_socket(config.host, config.port) as bound,
    ):
        uploads = Uploads(config.max_upload, _TIMEOUT)
        service = Service(command.network_of(model, segment), jobs, uploads, _TIMEOUT)
        hosts = KnownHosts(is_local=True, names=())
        server = server_of(application(service, hosts, command.limits_of(config, most_pixels)), _TIMEOUT)
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        try:
            while not server.started and thread.is_alive():
                thread.join(0.01)
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def _one_round(port: int, model: SegmentationModel, files: Sequence[bytes]) -> _Round:
    def by_server() -> int:
        with ThreadPoolExecutor(CLIENTS) as clients:
            parts = clients.map(lambda first: _send(port, files[first::CLIENTS]), range(CLIENTS))
            return sum(parts)

    def by_engine() -> int:
        for content in files:
            model.segment_pixels(read_image("the image", content, channels=model.record.channels), None)
        return 0

    (server_seconds, lost), (engine_seconds, _) = _timed(by_server), _timed(by_engine)
    logger.info("%d images: server %.2f s, engine %.2f s", len(files), server_seconds, engine_seconds)
    return _Round(server_seconds, engine_seconds, lost)


def _timed(call: Callable[[], int]) -> tuple[float, int]:
    started = time.perf_counter()
    found = call()
    return time.perf_counter() - started, found


def _send(port: int, files: Sequence[bytes]) -> int:
    """Sends images one after another over one connection, and returns how many were not segmented."""
    lost = 0
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)) as connection:
        for content in files:
            connection.request("POST", "/v1/segment?output=labels", content, _HEADERS)
            answer = connection.getresponse()
            answer.read()
            lost += answer.status != _OK
    return lost
