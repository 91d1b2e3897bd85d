"""Exports the network of a run for other programs, and checks the export against the session.

python -m tools.export --weights_ckpt log/Cityscapes/my_run --format onnx --out exported
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from tools.console import import_tensorflow, print_text, run_script, set_quiet, set_up_logging
from tools.errors import ExportError
from tools.export.flags import ExportConfig
from tools.flags.parsing import parse_flags
from tools.flags.predict import PredictConfig
from tools.flags.sizes import sides
from tools.runtime.extras import require_packages

if TYPE_CHECKING:
    import numpy as np

    from tools.export.checking import Agreement
    from tools.export.images import Picture
    from tools.runs.record import ModelRecord


def export_checkpoint(prefix: str, config: ExportConfig) -> None:
    """Exports one checkpoint: builds the graph, writes it beside its place, checks it and moves it there.

    Args:
        prefix: of the checkpoint.
        config: flags.

    Raises:
        CheckpointError, RecordError: the checkpoint or its record cannot be read.
        ExportError: the format cannot express the network, or the export differs from the session.
        OutputError: the folder contains another network, or cannot be written.
    """
    from tools.export.folder import export_folder
    from tools.export.metadata import describe_classes, describe_model, metadata_of_files
    from tools.export.network import exported_network, require_colors
    from tools.export.writing import WRITERS
    from tools.prediction.selection import record_of_checkpoint

    record = record_of_checkpoint(prefix, PredictConfig(weights_ckpt=config.weights_ckpt, use_ema=config.use_ema))
    require_colors(prefix, record)
    size = None if config.size is None else sides(config.size)
    pictures = _pictures(config, record, size)  # before minutes of work: they may be missing
    model = describe_model(prefix, record, use_averages=config.use_ema)
    labels = metadata_of_files(describe_classes(record), model)
    entry: dict[str, Any] = {"format": config.format, "quantize": config.quantize, "size": size}
    with (
        export_folder(str(config.out), model) as folder,
        folder.written(config.form.path, entry, labels) as path,
    ):
        network = exported_network(
            prefix,
            record,
            size=size,
            use_averages=config.use_ema,
            metadata=labels,
            has_open_graph=config.form.has_open_graph,
        )
        WRITERS[str(config.format)](network, path, config.quantize, _calibration(config, record, size))
        entry["checks"] = _check(path, prefix, config, record, pictures)
    print_text(f"{os.path.join(str(config.out), config.form.path)}: {entry['bytes'] / 1e6:.1f} MB")


def _calibration(config: ExportConfig, record: ModelRecord, size: tuple[int, int] | None) -> list[np.ndarray]:
    from tools.export.images import calibration_images, resized_image

    if not config.form.needs_calibration:
        return []
    images = calibration_images(record, config.data_dir, config.calibration_images)
    return images if size is None else [resized_image(image, size) for image in images]


def _pictures(config: ExportConfig, record: ModelRecord, size: tuple[int, int] | None) -> Iterator[Picture]:
    from tools.export.images import image_picture, resized, validation_pictures

    if config.image is not None:
        pictures: Iterator[Picture] = iter([image_picture(config.image, record)])
    else:
        pictures = validation_pictures(record, config.data_dir, config.number_of_check_images)
    return pictures if size is None else (resized(picture, size) for picture in pictures)


def _check(
    path: str, prefix: str, config: ExportConfig, record: ModelRecord, pictures: Iterator[Picture]
) -> list[dict[str, Any]]:
    """Compares what was written with the session, prints the result and returns it for export.json.

    Raises:
        ExportError: they differ by more than the form allows.
    """
    from tools.export.checking import compare, load, session_predictor
    from tools.export.engines import engines_of

    names: list[str] = []

    def named(pictures: Iterator[Picture]) -> Iterator[Picture]:
        for picture in pictures:
            names.append(picture.name)
            yield picture

    with ExitStack() as stack:
        runs = load(path, engines_of(config.form.engines, f"--format {config.format}"), stack)
        predictor = stack.enter_context(session_predictor(prefix, record, use_averages=config.use_ema))
        num_classes = record.architecture.num_classes
        is_open = config.size is None
        agreements = compare(runs, predictor, named(pictures), num_classes=num_classes, any_size=is_open)
    _report(agreements, names[0] if len(names) == 1 else f"{len(names)} images, the first {names[0]}")
    _require_agreement(agreements, config)
    return [{"engine": engine, "images": names, **found.entries()} for engine, found in agreements.items()]


def _report(agreements: Mapping[str, Agreement], checked_on: str) -> None:
    print_text(f"checked on {checked_on}")
    for engine, found in agreements.items():
        scores = "" if found.mean_ious is None else ", mIoU {:.2f} % (session), {:.2f} %".format(*found.mean_ious)
        print_text(
            f"{engine}: largest difference of probabilities {found.largest_difference:.1e}, equal labels "
            f"{found.equal_labels:.5f}{scores}"
        )


def _require_agreement(agreements: Mapping[str, Agreement], config: ExportConfig) -> None:
    for engine, found in agreements.items():
        faults = found.faults(config.form.tolerance)
        if faults:
            advice = (
                f"export without --quantize {config.quantize}" if config.form.is_quantized else "use another format"
            )
            raise ExportError(f"{config.form.path} differs from the session in {engine}: {'; '.join(faults)}: {advice}")


def main(arguments: Sequence[str]) -> None:
    """Parses flags and exports the network."""
    config = parse_flags(ExportConfig, arguments, "Export the network of a run.")
    set_quiet(config.quiet)
    require_packages(config.form.packages, "export", f"--format {config.format}")
    import_tensorflow()
    from tools.export.engines import engines_of
    from tools.runs.chosen_checkpoint import choose_checkpoint, with_unremoved

    engines_of(config.form.engines, f"--format {config.format}")  # before minutes of work
    chosen = PredictConfig(weights_ckpt=config.weights_ckpt, log_dir=config.log_dir)
    with_unremoved(lambda: choose_checkpoint(chosen), lambda prefix: export_checkpoint(prefix, config))


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_script(main, sys.argv[1:]))
