"""Segments one image, a folder of images, or the paths that are typed in.

python inference.py --image_path street.png
python inference.py                            (asks for paths; an empty line or end of input leaves)
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tools.console import import_tensorflow, run_script, set_up_logging
from tools.flags import InferenceConfig, parse_flags

if TYPE_CHECKING:
    from tools.evaluation import Predictor
    from tools.prediction_files import PredictionWriter

logger = logging.getLogger(__name__)

PROMPT = "Enter the image filename: "


def typed_paths() -> Iterator[str]:
    """Paths from standard input until its end, an empty line or Ctrl-C."""
    while True:
        try:
            path = input(PROMPT).strip().strip("'\"")
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if not path:
            return
        yield os.path.expanduser(path)


def segment(path: str, predictor: Predictor, writer: PredictionWriter, name: str | None = None) -> None:
    """Segments one image, names the results after it or as told, and prints where they are."""
    from database.images import read_image

    started = time.perf_counter()
    image = read_image(path)
    name = name or os.path.splitext(os.path.basename(path))[0]
    paths = writer.write(name, image, predictor.labels(image))
    print(f"{path}: {time.perf_counter() - started:.2f} s -> {', '.join(paths)}", flush=True)


def segment_each(named_paths: Iterable[tuple[str | None, str]], predictor: Predictor, writer: PredictionWriter) -> None:
    """Segments many (name of the results, path); what is no image gets one line and the next is taken."""
    from database.images import ImageError

    for name, path in named_paths:
        try:
            segment(path, predictor, writer, name)
        except ImageError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> None:
    """Parses flags and segments."""
    config = parse_flags(InferenceConfig, arguments, "Segment images.")
    # TensorFlow is imported late: it takes seconds, and a wrong flag is told at once.
    import_tensorflow()
    from tools.evaluation import Predictor, images_in, run_name
    from tools.prediction_files import PredictionWriter
    from tools.selection import choose_checkpoint, record_of_checkpoint

    in_folder = config.image_path is not None and os.path.isdir(config.image_path)
    paths = images_in(config.image_path) if in_folder else None
    prefix = choose_checkpoint(config)
    record = record_of_checkpoint(prefix, config)
    output_dir = config.output_dir or os.path.join("./inference_set", run_name(prefix))
    writer = PredictionWriter(output_dir, record, save_prediction=True, coloring=config.coloring)
    with Predictor(
        prefix,
        record,
        multi_scale=config.ms,
        mirror=config.mirror,
        float_type=config.float_type,
        windows_per_batch=config.windows_per_batch,
    ) as predictor:
        logger.info("%s: %s, %d classes", prefix, record.architecture.network, record.architecture.num_classes)
        if paths is not None:
            segment_each(paths, predictor, writer)
        elif config.image_path is not None:
            segment(config.image_path, predictor, writer)
        else:
            segment_each(((None, path) for path in typed_paths()), predictor, writer)


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
