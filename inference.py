"""Segments one image, a folder of images, or the paths that are typed in.

python inference.py --image_path street.png
python inference.py                            # asks for paths; Ctrl-D or Ctrl-C leaves
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tools.console import import_tensorflow, run_script, set_up_logging
from tools.flag_parsing import parse_flags
from tools.flags import InferenceConfig

if TYPE_CHECKING:
    import numpy as np

    from tools.latency import LabelsOfImages
    from tools.prediction_files import PredictionWriter

logger = logging.getLogger(__name__)

PROMPT = "Enter the image filename (Ctrl-D leaves): "


def typed_paths() -> Iterator[str]:
    """Paths from standard input until its end or Ctrl-C; empty lines are passed over."""
    while True:
        try:
            path = input(PROMPT).strip().strip("'\"")
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if path:
            yield os.path.expanduser(path)


def read_or_tell(path: str) -> np.ndarray | None:
    """The image of a file; None, and one line that says why, if it cannot be read."""
    from database.images import ImageError, read_image

    try:
        return read_image(path)
    except ImageError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return None


def segment(image: np.ndarray, path: str, name: str, predictor: LabelsOfImages, writer: PredictionWriter) -> None:
    """Segments the image of a path and prints where the results are."""
    started = time.perf_counter()
    paths = writer.write(name, image, predictor.labels(image))
    print(f"{path}: {time.perf_counter() - started:.2f} s -> {', '.join(paths)}", flush=True)


def segment_folder(
    folder: str, named_paths: Sequence[tuple[str, str]], predictor: LabelsOfImages, writer: PredictionWriter
) -> None:
    """Segments every (name of the results, path) whose image can be read; afterwards, it is an error if some could not.

    Raises:
        ImageError: how many could not be read, or at once where a result cannot be written.
    """
    from database.images import ImageError

    unread = 0
    for name, path in named_paths:
        image = read_or_tell(path)
        if image is None:
            unread += 1
        else:
            segment(image, path, name, predictor, writer)
    if unread:
        count = len(named_paths)
        raise ImageError(f"{folder}: {unread} of {count} images could not be read, {count - unread} were segmented")


def segment_typed(predictor: LabelsOfImages, writer: PredictionWriter) -> None:
    """Asks for paths and segments them; after a path that is no image it asks for the next.

    Raises:
        ImageError: a result cannot be written.
    """
    from tools.input_images import ResultNames

    names = ResultNames()
    for path in typed_paths():
        image = read_or_tell(path)
        if image is not None:
            segment(image, path, names.name(path), predictor, writer)


def main(arguments: Sequence[str]) -> None:
    """Parses flags and segments."""
    config = parse_flags(InferenceConfig, arguments, "Segment images.")
    # TensorFlow is imported late: it takes seconds, and a wrong flag is told at once.
    import_tensorflow()
    from database.images import read_image, set_max_pixels
    from tools.input_images import ResultNames, images_in
    from tools.latency import TimedPredictor
    from tools.prediction_files import PredictionWriter, results_folder
    from tools.selection import (
        build_predictor,
        choose_checkpoint,
        inference_record,
        record_of_checkpoint,
        with_chosen_precision,
    )

    set_max_pixels(config.max_pixels)
    config = with_chosen_precision(config)
    path = config.image_path
    image = read_image(path) if path is not None and not os.path.isdir(path) else None
    named_paths = images_in(path) if path is not None and os.path.isdir(path) else None
    prefix = choose_checkpoint(config)
    trained = record_of_checkpoint(prefix, config)
    record = inference_record(config, trained)
    folder = config.output_dir or results_folder("./inference_set", config, prefix, trained, record.database)
    writer = PredictionWriter(folder, record, save_prediction=True, coloring=config.coloring)
    with build_predictor(prefix, record, config) as untimed:
        predictor = TimedPredictor(untimed)
        logger.info("%s: %s, %d classes", prefix, record.architecture.network, record.architecture.num_classes)
        if named_paths is not None:
            segment_folder(str(path), named_paths, predictor, writer)
        elif path is not None and image is not None:
            segment(image, path, ResultNames().name(path), predictor, writer)
        else:
            segment_typed(predictor, writer)
        if config.measure_time:
            predictor.report(folder)


if __name__ == "__main__":
    set_up_logging()
    for stream in (sys.stdin, sys.stdout):
        stream.reconfigure(errors="surrogateescape")  # names of files are bytes, not always text
    sys.exit(run_script(main, sys.argv[1:]))
