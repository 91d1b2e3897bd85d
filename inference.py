"""Segments one image, a folder of images, a video, or images whose paths are typed in.

python inference.py --image_path street.png
python inference.py                            # asks for paths; Ctrl-D or Ctrl-C leaves

From Python: `from inference import load`.
"""

from __future__ import annotations

import signal

# Ctrl-C during the imports, which may take seconds, ends the process without a traceback; see `run_script`.
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from database.channel_reading import channel_image_size
from database.counts import and_of
from database.errors import ImageError
from database.images import read_image, set_max_pixels
from database.input_range import InputRange
from tools.console import import_tensorflow, print_error, print_text, run_script, set_quiet, set_up_logging
from tools.errors import FlagError, VideoError
from tools.flags.checks import refuse_without_effect
from tools.flags.parsing import parse_flags
from tools.flags.predict import InferenceConfig
from tools.prediction.input_images import images_in, typed_paths_in
from tools.prediction.loading import loaded_model
from tools.prediction.video_suffixes import has_video_suffix, require_readable_video
from tools.prediction.window_advice import WindowAdvice
from tools.runtime.printable import printable

if TYPE_CHECKING:
    import numpy as np

    from tools.prediction.saved_results import SavedResults
    from tools.prediction.segmentation_model import SegmentationModel

logger = logging.getLogger(__name__)

# Path, name of the results (None for that of the file), pixels (None if the file cannot be read, and of a video).
NamedImages = Iterable[tuple[str, str | None, "np.ndarray | None"]]

MOST_SHOWN = 6  # files of an image; there may be one per class
PROMPT = "Enter the image filename (Ctrl-D leaves): "


def load(weights_ckpt: str | os.PathLike | None = None, **flags: Any) -> SegmentationModel:
    """Loads a model for Python code.

        with load("log/CamVid/my_run", mirror=False) as model:
            result = model.segment("street.png")

    Args:
        weights_ckpt: a run's folder, the prefix of a checkpoint, `best` or `last`, as --weights_ckpt; None for the
            newest run below `log_dir`.
        flags: other flags of inference.py by name, such as ms=True, mirror=False, device="cpu", test_image_size=480.
            They are checked as on a command line. Those that say what inference.py writes, such as
            polygons="geojson", say what `save` of a result writes.

    Returns:
        The model; `segment` of it takes arrays, PIL images and paths. Use it as a context manager, or close it.

    Raises:
        ValueError: `tools.errors.UserError` and its subclasses, such as FlagError and CheckpointError.
    """
    return loaded_model(weights_ckpt, flags)


def typed_paths() -> Iterator[str]:
    """Yields paths from standard input until its end or Ctrl-C; empty lines are skipped, and a pipe is not prompted."""
    is_typed = sys.stdin.isatty()
    while True:
        try:
            line = input(PROMPT if is_typed else "")
        except (EOFError, KeyboardInterrupt):
            if is_typed:
                print()
            return
        if line.strip().strip("'\""):
            yield from typed_paths_in(line)


def requested_paths(path: str | None, *, recursive: bool = False) -> Iterable[tuple[str, str | None]]:
    """Lists (path, name of the results, None for the file's) of --image_path; without it, of the paths typed in.

    Raises:
        ImageError: the path is not an image, or a folder without images.
        FlagError: `recursive`, and the path is no folder.
        MissingPackageError: the path is a video, and the package for videos is not installed.
    """
    if path is None:
        return ((typed, None) for typed in typed_paths())
    if os.path.isdir(path):
        return [(file, name) for name, file in images_in(path, recursive=recursive)]
    if recursive:
        raise FlagError(
            f"--recursive 1 has no effect on {path}, which is no folder: give a folder, or drop --recursive"
        )
    if has_video_suffix(path):
        require_readable_video(path)
    else:
        channel_image_size(path)  # the checkpoint says how many channels it has to have
    return [(path, None)]


def check_video_outputs(path: str | None, config: InferenceConfig) -> None:
    """Checks, before the network is built, that the flags suit a video, whose result is its overlay.

    Raises:
        VideoError: overlays are not written.
        FlagError: a flag writes something else.
    """
    if path is None or os.path.isdir(path) or not has_video_suffix(path):
        return
    if not config.coloring:
        raise VideoError(f"{path}: the result for a video is its overlay: drop --coloring 0, or the video")
    for name in ("save_probabilities", "confidence", "polygons", "areas"):
        refuse_without_effect(config, name, f"on {path}, a video, whose result is its overlay: drop it")


def read_or_report(read: Callable[[str], np.ndarray], path: str) -> np.ndarray | None:
    """Reads an image; prints one line and returns None if it cannot be read. Videos are read later."""
    if has_video_suffix(path):
        return None
    try:
        return read(path)
    except ImageError as error:
        print_error(f"error: {error}")
        return None


def read_images(
    path: str | None, paths: Iterable[tuple[str, str | None]], read: Callable[[str], np.ndarray]
) -> NamedImages:
    """Reads the images of --image_path: a single one at once, before the network is built, the others one by one.

    Raises:
        ImageError: the single image cannot be read; for the others, `read_or_report` prints the error.
    """
    if path is not None and not os.path.isdir(path) and not has_video_suffix(path):
        return [(path, None, read(path))]
    return ((file, name, read_or_report(read, file)) for file, name in paths)


def folder_of_images(path: str | None) -> str | None:
    """Returns the folder of --image_path, or of the image that it is; None without it."""
    return path if path is None or os.path.isdir(path) else os.path.dirname(os.path.abspath(path))


def check_all_read(path: str | None, count: int, unread: int) -> None:
    """Raises ImageError if images could not be read, except at a terminal, where the user has seen the errors."""
    if unread and (path is not None or not sys.stdin.isatty()):
        source = "standard input" if path is None else path
        raise ImageError(f"{source}: {unread} of {count} images could not be read, {count - unread} were segmented")


def segment(
    images: NamedImages, model: SegmentationModel, advice: WindowAdvice, results: SavedResults
) -> tuple[int, int]:
    """Segments images, writes the results, and prints where.

    Args:
        images: their pixels are as by `images.read_image`.
        model: predicts them.
        advice: says why a large image takes long.
        results: writes the files, each image's under its own name.

    Returns:
        The number of images, and of those that could not be read.

    Raises:
        ImageError, ResultsFolderError: a result cannot be written.
        NotFiniteError: the network outputs NaN or infinity.
    """
    from tools.prediction.predictor import image_named

    count = unread = 0
    for path, wanted, image in images:
        count += 1
        started = time.perf_counter()
        if has_video_suffix(path):
            files = segment_video_or_report(path, model, results)
        elif image is not None:
            advice.give(path, *image.shape[:2])
            with image_named(path):
                files = results.save(model.segment_pixels(image, path, results.wanted), wanted)
        else:
            files = []
        if not files:
            unread += 1
            continue
        shown = f"{', '.join(files[:MOST_SHOWN])}{and_of(max(0, len(files) - MOST_SHOWN), 'file')}"
        line = f"{path}: {time.perf_counter() - started:.2f} s -> {shown}"
        print_text(printable(line), flush=True)
    return count, unread


def segment_video_or_report(path: str, model: SegmentationModel, results: SavedResults) -> list[str]:
    """Writes the overlay of a video; prints one line and returns no path if it cannot be read.

    Raises:
        ResultsFolderError: the video cannot be written.
        MissingPackageError: the package for videos is not installed.
    """
    from tools.prediction.video import write_overlaid_video

    try:
        return [results.save_video(path, lambda target: write_overlaid_video(path, target, model))]
    except (ImageError, VideoError) as error:
        print_error(f"error: {error}")
        return []


def segment_with(prefix: str, config: InferenceConfig, paths: Iterable[tuple[str, str | None]]) -> None:
    """Segments images with a checkpoint and writes the results.

    Args:
        prefix: of the checkpoint.
        config: flags.
        paths: see `requested_paths`.

    Raises:
        ImageError: an image cannot be read; see `read_images` and `check_all_read`.
    """
    from tools.prediction.files import results_folder
    from tools.prediction.provenance import choose_folder, provenance_of
    from tools.prediction.segmentation_model import SegmentationModel
    from tools.prediction.selection import inference_record, record_of_checkpoint

    # Network: config.json beside the checkpoint has architecture, mean, channel order and window size. Names, colours
    # and ids of the classes are those of the training unless flags say otherwise.
    trained = record_of_checkpoint(prefix, config)
    record = inference_record(config, trained)
    read = partial(read_image, input_range=InputRange(record.input_range), channels=record.channels)
    images = read_images(config.image_path, paths, read)

    # Folder of the results: one per checkpoint and settings.
    default = results_folder("./inference_set", config, prefix, trained, record.database)
    provenance = provenance_of(config, prefix, record)
    folder = choose_folder(config.output_dir, default, provenance)

    # Labels: the model subtracts the mean, resizes the image to each scale (--ms), cuts windows, runs the network on
    # them and on their mirrored copies (--mirror), averages the probabilities and takes the argmax.
    built = SegmentationModel.built(prefix, config, record, provenance)
    with built as model, model.results_in(folder, folder_of_images(config.image_path)) as results:
        logger.info("%s: %s, %d classes", prefix, record.architecture.network, record.architecture.num_classes)
        advice = WindowAdvice(model, record.test_image_size, config)
        count, unread = segment(images, model, advice, results)
        check_all_read(config.image_path, count, unread)
        if config.measure_time:
            model.report_times(folder)


def main(arguments: Sequence[str]) -> None:
    """Parses flags and segments images."""
    config = parse_flags(InferenceConfig, arguments, "Segment images.")
    set_quiet(config.quiet)
    import_tensorflow()  # after the flags: it takes seconds, and a wrong flag is reported at once
    from tools.prediction.selection import with_chosen_precision
    from tools.runs.chosen_checkpoint import choose_checkpoint, with_unremoved

    set_max_pixels(config.max_pixels)
    check_video_outputs(config.image_path, config)
    config = with_chosen_precision(config)
    paths = requested_paths(config.image_path, recursive=config.recursive)
    with_unremoved(lambda: choose_checkpoint(config), lambda prefix: segment_with(prefix, config, paths))


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
