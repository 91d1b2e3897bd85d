"""Measures the exports of a trained network: time, size, agreement and score, beside those of the session."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np

from tools.benchmark.timing import Row, interleaved_medians
from tools.checkpoints.find import resolve_checkpoint
from tools.errors import MissingPackageError
from tools.export.checking import Agreement, compare, load, session_predictor
from tools.export.engines import ENGINES, Run, engines_of
from tools.export.flags import ExportConfig
from tools.export.forms import FLOAT, FORMS, Form
from tools.export.images import calibration_images, validation_pictures
from tools.export.metadata import describe_classes, describe_model, metadata_of_files
from tools.export.network import exported_network
from tools.export.writing import WRITERS
from tools.flags.predict import PredictConfig
from tools.prediction.predictor import Predictor
from tools.prediction.selection import record_of_checkpoint
from tools.runs.record import ModelRecord
from tools.runtime.extras import require_packages

logger = logging.getLogger(__name__)

# Name in the rows: --format and --quantize of tools.export.
_CANDIDATES: Mapping[str, tuple[str, str]] = {
    "frozen": ("frozen", FLOAT),
    "onnxruntime": ("onnx", FLOAT),
    "openvino": ("openvino", FLOAT),
    "openvino_int8": ("openvino", "int8"),
    "tflite": ("tflite", FLOAT),
    "tflite_dynamic": ("tflite", "dynamic"),
}
_SESSION = "session"


class _Written(NamedTuple):
    form: Form
    path: str

    @property
    def megabytes(self) -> float:
        folders = os.walk(self.path) if os.path.isdir(self.path) else [("", (), (self.path,))]
        return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in folders for name in names) / 1e6


def measure_exports(
    weights_ckpt: str, data_dir: str | None, *, images: int, warm_up: int, repeats: int
) -> Iterator[Row]:
    """Yields the rows of the session and of each form whose packages are installed, on the same image.

    Args:
        weights_ckpt: snapshot, or a folder of snapshots, with its record.
        data_dir: of the dataset; None for the folder in the record.
        images: most validation images for agreement and mIoU; the first of them is timed.
        warm_up, repeats: see `interleaved_medians`.

    Raises:
        CheckpointError, DataError, ExportError, RecordError: as in `tools.export`.
    """
    prefix = resolve_checkpoint(weights_ckpt)
    record = record_of_checkpoint(prefix, PredictConfig(weights_ckpt=weights_ckpt))
    pictures = validation_pictures(record, data_dir, images)
    first = next(pictures)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        written = _written(prefix, record, data_dir, folder)
        runs = {name: _loaded(export, stack) for name, export in written.items()}
        predictor = stack.enter_context(session_predictor(prefix, record, use_averages=True))
        seconds = _timed(runs, predictor, first.image, warm_up=warm_up, repeats=repeats)
        agreements = compare(
            runs, predictor, chain([first], pictures), num_classes=record.architecture.num_classes, any_size=False
        )
        yield from _rows_of_session(seconds, agreements)
        for name, export in written.items():
            yield from _rows(name, export, seconds, agreements[name])


def _written(prefix: str, record: ModelRecord, data_dir: str | None, folder: str) -> dict[str, _Written]:
    """Writes each candidate whose packages are installed into a folder."""
    labels = metadata_of_files(describe_classes(record), describe_model(prefix, record, use_averages=True))
    network = exported_network(prefix, record, size=None, use_averages=True, metadata=labels)
    written = {}
    for name, (format_name, quantize) in _CANDIDATES.items():
        form = FORMS[format_name, quantize]
        try:
            require_packages(form.packages, "export", f"the row export.{name}")
            engines_of(form.engines[:1], f"the row export.{name}")
        except MissingPackageError as error:
            logger.info("%s", error)
            continue
        calibration: Sequence[np.ndarray] = ()
        if form.needs_calibration:
            calibration = calibration_images(record, data_dir, ExportConfig.calibration_images)
        written[name] = _Written(form, os.path.join(folder, form.path))
        WRITERS[format_name](network, written[name].path, quantize, calibration)
    return written


def _loaded(export: _Written, stack: ExitStack) -> Run:
    [run] = load(export.path, [ENGINES[export.form.engines[0]]], stack).values()
    return run


def _timed(
    runs: Mapping[str, Run], predictor: Predictor, image: np.ndarray, *, warm_up: int, repeats: int
) -> dict[str, float]:
    """Returns the median seconds of one image, by name."""
    calls: dict[str, Callable[[], object]] = {name: partial(run, image[np.newaxis]) for name, run in runs.items()}
    calls[_SESSION] = partial(predictor.probabilities, image)
    return interleaved_medians(calls, warm_up=warm_up, repeats=repeats)


def _rows_of_session(seconds: Mapping[str, float], agreements: Mapping[str, Agreement]) -> Iterator[Row]:
    yield Row(f"export.{_SESSION}.time", 1e3 * seconds[_SESSION], "ms")
    scores = next(iter(agreements.values())).mean_ious
    if scores is not None:
        yield Row(f"export.{_SESSION}.mean_iou", scores[0], "%")


def _rows(name: str, export: _Written, seconds: Mapping[str, float], agreement: Agreement) -> Iterator[Row]:
    yield Row(f"export.{name}.time", 1e3 * seconds[name], "ms")
    yield Row(f"export.{name}.speed", seconds[_SESSION] / seconds[name], "of the session")
    yield Row(f"export.{name}.size", export.megabytes, "MB")
    yield Row(f"export.{name}.difference", agreement.largest_difference, "of a probability")
    yield Row(f"export.{name}.equal_labels", agreement.equal_labels, "of pixels")
    if agreement.mean_ious is not None:
        yield Row(f"export.{name}.mean_iou", agreement.mean_ious[1], "%")
    for fault in agreement.faults(export.form.tolerance):
        logger.warning("export.%s: %s, so tools.export rejects it", name, fault)
