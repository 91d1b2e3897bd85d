"""Exports the network of a run for other programs, and checks the export against the session.

python -m tools.export --weights_ckpt log/Cityscapes/my_run --format onnx --out exported
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that need packages
    from tools.runtime.installed import require_installed

    require_installed()

import logging
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
from tools.flags.sizes import in_words
from tools.runtime.extras import require_packages

if TYPE_CHECKING:
    import numpy as np

    from tools.export.checking import Agreement
    from tools.export.images import Picture
    from tools.runs.record import ModelRecord

logger = logging.getLogger(__name__)


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
    pictures = _pictures(config, record)  # before minutes of work: they may be missing
    calibration = _calibration(config, record)
    model = describe_model(prefix, record, use_averages=config.use_ema)
    labels = metadata_of_files(describe_classes(record), model)
    entry: dict[str, Any] = {"format": config.format, "quantize": config.quantize, "size": config.fixed_size}
    with (
        export_folder(str(config.out), model) as folder,
        folder.written(config.name, entry, labels) as path,
    ):
        network = exported_network(
            prefix,
            record,
            size=config.fixed_size,
            use_averages=config.use_ema,
            metadata=labels,
            has_open_graph=config.form.has_open_graph,
        )
        WRITERS[str(config.format)](network, path, config.quantize, calibration)
        entry["checks"] = _check(path, prefix, config, record, pictures)
    print_text(f"{os.path.join(str(config.out), config.name)}: {entry['bytes'] / 1e6:.1f} MB")
    _log_other_scores(record)


def _log_other_scores(record: ModelRecord) -> None:
    """Says why the scores of a run, if they were computed with windows or mirror, are not those of its export."""
    ways = [f"windows of {in_words(record.test_image_size)} pixels"] if record.test_image_size else []
    ways += ["mirrored copies"] if record.flags.get("mirror") else []
    if ways:
        logger.info(
            "the export predicts whole images once; the run's own scores are with %s, so they are others: see "
            "predict.py --test_image_size 0 --mirror 0",
            " and ".join(ways),
        )


def _calibration(config: ExportConfig, record: ModelRecord) -> Sequence[np.ndarray]:
    from tools.export.images import calibration_images

    if not config.form.needs_calibration:
        return ()
    return calibration_images(record, config.data_dir, config.calibration_images, config.fixed_size)


def _pictures(config: ExportConfig, record: ModelRecord) -> Iterator[Picture]:
    from tools.export.images import image_picture, resized, validation_pictures

    if config.image is not None:
        pictures: Iterator[Picture] = iter([image_picture(config.image, record)])
    else:
        pictures = validation_pictures(
            record, config.data_dir, config.number_of_check_images, needs_labels=config.form.is_quantized
        )
    size = config.fixed_size
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
            f"{engine}: largest difference of probabilities {found.largest_difference:.1e}, mean "
            f"{found.mean_difference:.1e}, equal labels {found.equal_labels:.5f}{scores}"
        )


def _require_agreement(agreements: Mapping[str, Agreement], config: ExportConfig) -> None:
    for engine, found in agreements.items():
        faults = found.faults(config.form.tolerance)
        if config.form.is_quantized and len(found.classes) < 2:
            faults.append(
                "the session predicts one class only in the checked images, so that equal labels prove little"
            )
        if faults:
            advice = (
                f"export without --quantize {config.quantize}" if config.form.is_quantized else "use another format"
            )
            raise ExportError(
                f"{config.name} is not kept, because the check in {engine} failed: {'; '.join(faults)}: {advice}"
            )


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
