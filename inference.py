"""Segments one image, a folder of images, or the paths that are typed in.

python inference.py --image_path street.png
python inference.py                            # asks for paths; Ctrl-D or Ctrl-C leaves
"""

from __future__ import annotations

import signal

# Ctrl-C during the imports, which may take seconds, ends the process without a traceback; see `run_script`.
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tools.console import import_tensorflow, run_script, set_up_logging
from tools.flags.parsing import parse_flags
from tools.flags.predict import InferenceConfig

if TYPE_CHECKING:
    import numpy as np

    from database.input_range import InputRange
    from tools.prediction.files import PredictionWriter
    from tools.prediction.latency import LabelsOfImages
    from tools.prediction.result_names import ResultNames

logger = logging.getLogger(__name__)

PROMPT = "Enter the image filename (Ctrl-D leaves): "


def typed_paths() -> Iterator[str]:
    """Paths from standard input until its end or Ctrl-C; empty lines are passed over."""
    from tools.prediction.input_images import typed_paths_in

    while True:
        try:
            line = input(PROMPT)
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if line.strip().strip("'\""):
            yield from typed_paths_in(line)


def read_or_tell(path: str, input_range: InputRange) -> np.ndarray | None:
    """The image of a file; None, and one line that says why, if it cannot be read."""
    from database.errors import ImageError
    from database.images import read_image

    try:
        return read_image(path, input_range=input_range)
    except ImageError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return None


def segment(
    image: np.ndarray,
    path: str,
    names: ResultNames,
    predictor: LabelsOfImages,
    writer: PredictionWriter,
    wanted: str | None = None,
) -> None:
    """Segments the image of a path and prints where the results are.

    Raises:
        NotFiniteError: the network gives NaN or infinity.
    """
    from tools.prediction.evaluation import image_named

    started = time.perf_counter()
    with image_named(path):
        labels = predictor.labels(image)
    name = names.name(path, wanted)
    paths = writer.write(name, image, labels)
    names.keep(name)
    print(f"{path}: {time.perf_counter() - started:.2f} s -> {', '.join(paths)}", flush=True)


def segment_folder(
    folder: str,
    named_paths: Sequence[tuple[str, str]],
    names: ResultNames,
    predictor: LabelsOfImages,
    writer: PredictionWriter,
    input_range: InputRange,
) -> None:
    """Segments every (name of the results, path) whose image can be read; afterwards, it is an error if some could not.

    Raises:
        ImageError: how many could not be read, or at once where a result cannot be written.
    """
    from database.errors import ImageError

    unread = 0
    for name, path in named_paths:
        image = read_or_tell(path, input_range)
        if image is None:
            unread += 1
        else:
            segment(image, path, names, predictor, writer, name)
    if unread:
        count = len(named_paths)
        raise ImageError(f"{folder}: {unread} of {count} images could not be read, {count - unread} were segmented")


def segment_typed(
    names: ResultNames, predictor: LabelsOfImages, writer: PredictionWriter, input_range: InputRange
) -> None:
    """Asks for paths and segments them; after a path that is no image it asks for the next.

    Raises:
        ImageError: a result cannot be written; or, after the last path, some were no images and came from a pipe or a
            file, so that nobody has seen it.
    """
    from database.errors import ImageError

    count = unread = 0
    for path in typed_paths():
        image = read_or_tell(path, input_range)
        count += 1
        if image is None:
            unread += 1
        else:
            segment(image, path, names, predictor, writer)
    if unread and not sys.stdin.isatty():
        raise ImageError(f"standard input: {unread} of {count} images could not be read")


def main(arguments: Sequence[str]) -> None:
    """Parses flags and segments."""
    config = parse_flags(InferenceConfig, arguments, "Segment images.")
    # TensorFlow is imported late: it takes seconds, and a wrong flag is told at once.
    import_tensorflow()
    from database.images import image_size, read_image, set_max_pixels
    from database.input_range import InputRange
    from tools.prediction.files import PredictionWriter, results_folder
    from tools.prediction.input_images import images_in
    from tools.prediction.latency import TimedPredictor
    from tools.prediction.provenance import folder_for, provenance_of, require_folder
    from tools.prediction.result_names import NAMES_FILE, ResultNames
    from tools.prediction.selection import (
        build_predictor,
        inference_record,
        record_of_checkpoint,
        with_chosen_precision,
    )
    from tools.runs.chosen_checkpoint import choose_checkpoint

    set_max_pixels(config.max_pixels)
    config = with_chosen_precision(config)
    path = config.image_path
    if path is not None and not os.path.isdir(path):
        image_size(path)  # what is no image is told at once
    named_paths = images_in(path) if path is not None and os.path.isdir(path) else None
    prefix = choose_checkpoint(config)
    trained = record_of_checkpoint(prefix, config)
    record = inference_record(config, trained)
    input_range = InputRange(record.input_range)
    image = read_image(path, input_range=input_range) if path is not None and named_paths is None else None
    provenance = provenance_of(config, prefix, record)
    if config.output_dir is not None:
        folder = require_folder(provenance, config.output_dir)
    else:
        folder = folder_for(provenance, results_folder("./inference_set", config, prefix, trained, record.database))
    writer = PredictionWriter(folder, record, save_prediction=True, coloring=config.coloring, provenance=provenance)
    with build_predictor(prefix, record, config) as untimed:
        names = ResultNames(os.path.join(folder, NAMES_FILE))
        predictor = TimedPredictor(untimed)
        logger.info("%s: %s, %d classes", prefix, record.architecture.network, record.architecture.num_classes)
        if named_paths is not None:
            segment_folder(str(path), named_paths, names, predictor, writer, input_range)
        elif path is not None and image is not None:
            segment(image, path, names, predictor, writer)
        else:
            segment_typed(names, predictor, writer, input_range)
        if config.measure_time:
            predictor.report(folder)


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
