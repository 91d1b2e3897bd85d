"""Serves a page on which pictures are segmented, and the same over HTTP for other programs.

python -m tools.serve --weights_ckpt log/Cityscapes/my_run
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tools.console import print_text, run_script, set_quiet, set_up_logging
from tools.flags.parsing import parse_flags
from tools.prediction.loading import loaded_model
from tools.runtime.extras import require_packages
from tools.serve.flags import ServeConfig

if TYPE_CHECKING:
    from tools.prediction.segmentation_model import SegmentationModel
    from tools.runs.record import ModelRecord
    from tools.serve.service import Network, Segment

logger = logging.getLogger(__name__)

_COMMAND = "python -m tools.serve"
PACKAGES = ("starlette", "uvicorn", "python_multipart")
_WARM_UP_SIDE = 64


def network_of(model: SegmentationModel, segment: Segment) -> Network:
    """Describes a model for the server.

    Args:
        model: describes itself.
        segment: from `model.shared`.
    """
    from database.input_range import InputRange
    from tools.serve.answers import Classes, class_list
    from tools.serve.service import Network

    record, classes = model.record, Classes(model.classes, model.palette)
    description = {
        "network": record.architecture.network,
        "decoder": record.architecture.decoder,
        "dataset": record.database,
        "checkpoint": os.path.basename(model.checkpoint),
        "classes": class_list(classes),
    }
    return Network(description, classes, InputRange(record.input_range), record.channels, segment)


def limits_of(config: ServeConfig, most_pixels: int) -> dict[str, Any]:
    """Returns the limits of the server, as JSON values."""
    return {"max_pixels": most_pixels} | {name: getattr(config, name) for name in ("max_upload", "timeout", "queue")}


def limit_pixels(config: ServeConfig, record: ModelRecord) -> int:
    """Sets the largest number of pixels of an image in this process, and returns it."""
    from database.images import set_max_pixels

    most = config.pixel_limit(has_windows=bool(record.test_image_size))
    set_max_pixels(most)
    if not record.test_image_size:
        logger.info(
            "the network sees whole images, whose memory grows with them: --max_pixels is %d, larger ones are rejected",
            most,
        )
    return most


def serve(config: ServeConfig) -> None:
    """Serves until SIGTERM or Ctrl-C, and then answers what was accepted.

    Raises:
        FlagError: the address cannot be used.
        Errors of `loaded_model`.
    """
    import numpy as np

    from tools.serve.application import application
    from tools.serve.jobs import Jobs
    from tools.serve.protection import KnownHosts
    from tools.serve.server import bound_socket, server_of, start_listening, stop_signals_ignored
    from tools.serve.service import Service
    from tools.serve.uploads import Uploads

    if not config.is_local:
        logger.warning(
            "--host %s: whoever reaches this address may use the server; there is neither encryption nor a password",
            config.host,
        )
    with (
        bound_socket(config.host, config.port) as bound,  # before the network is built, which takes seconds
        loaded_model(config.weights_ckpt, config.model_flags()) as model,
    ):
        most_pixels = limit_pixels(config, model.record)
        with (
            model.shared(config.windows_per_batch, most_pixels) as segment,
            closing(Jobs(config.parallel, config.queue)) as jobs,
        ):
            # The first run takes longer, and shows whether the network works.
            shape = (_WARM_UP_SIDE, _WARM_UP_SIDE, model.record.architecture.input_channels)
            segment(np.zeros(shape, np.uint8 if model.record.channels is None else np.float32), lambda: None)
            uploads = Uploads(config.max_upload, config.timeout)
            service = Service(network_of(model, segment), jobs, uploads, config.timeout)
            hosts = KnownHosts(is_local=config.is_local, names=config.allowed_hosts)
            server = server_of(application(service, hosts, limits_of(config, most_pixels)), config.timeout)
            address = start_listening(bound)
            logger.info("%s is served; Ctrl-C ends the server", model.checkpoint)
            print_text(address, flush=True)
            with stop_signals_ignored():
                server.run(sockets=[bound])


def main(arguments: Sequence[str]) -> None:
    """Parses flags and serves."""
    config = parse_flags(ServeConfig, arguments, "Serve a page on which pictures are segmented.")
    set_quiet(config.quiet)
    require_packages(PACKAGES, "serve", _COMMAND)
    serve(config)


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
