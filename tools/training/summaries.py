"""Writes training curves: TensorBoard events and a CSV file with the same values."""

from __future__ import annotations

import csv
import glob
import io
import logging
import os
import platform
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image

from database.atomic import text_written_atomically
from database.counts import number_of
from database.regular_files import read_regular_file, writable_file
from database.tfrecord import literal_path
from tools.prediction.metrics import Scores

logger = logging.getLogger(__name__)

COLUMNS = ("step", "loss", "auxiliary_loss", "weight_decay", "learning_rate", "mean_iou", "images_per_second")

# As `SummaryWriter.scalars` writes them. A step has fewer digits than numbers of 64 bits; a value may be missing.
_STEP = re.compile(r"[0-9]{1,18}")
_VALUE = re.compile(r"|nan|-?inf|-?[0-9]{1,6}(\.[0-9]{1,20})?(e[+-][0-9]{1,3})?")

_EVENTS = "events.out.tfevents."

# Intervals of a histogram, as many as TensorBoard shows.
_BUCKETS = 30


class SummaryWriter:
    """Writes the scalars of training to both files and pictures to TensorBoard; a resumed run appends."""

    def __init__(self, folder: str, csv_path: str, graph: tf.Graph | None, first_step: int = 0) -> None:
        """Opens the files and discards the values after `first_step`, because a resumed run repeats these steps.

        Args:
            folder: of the TensorBoard events.
            csv_path: of the CSV file.
            graph: shown in TensorBoard.
            first_step: number of steps done already.

        Raises:
            OSError, tf.errors.OpError: a file cannot be read or written.
        """
        self._events = _EventFile(folder)
        if graph is not None:
            self._events.add(graph_def=graph.as_graph_def(add_shapes=True).SerializeToString())
        # At this event TensorBoard discards the values of its step and later ones in earlier files.
        self._events.add(step=first_step + 1, session_log=tf.SessionLog(status=tf.SessionLog.START))
        _keep_rows_up_to(csv_path, first_step)
        self._file = open(  # noqa: SIM115 - closed by close()
            csv_path, "a", newline="", encoding="utf-8", opener=writable_file
        )
        self._csv = csv.DictWriter(self._file, COLUMNS)

    def scalars(self, step: int, values: Mapping[str, float], more: Mapping[str, float] | None = None) -> None:
        """Adds one row.

        Args:
            step: counted from 1.
            values: for both files; the keys are those of `COLUMNS` without the step.
            more: for TensorBoard only, because the columns of a file are the same in all runs.

        Raises:
            OSError, tf.errors.OpError: it cannot be written.
        """
        self._csv.writerow({"step": step, **{name: f"{value:.6g}" for name, value in values.items()}})
        self._file.flush()
        shown = {**values, **(more or {})}
        self._events.add(step=step, summary=_scalar_summary({f"train/{name}": x for name, x in shown.items()}))

    def hyperparameters(self, values: Mapping[str, bool | float | str]) -> None:
        """Adds a row to TensorBoard's HParams page, whose metrics are the scalars of the run's folder.

        Raises:
            OSError, tf.errors.OpError: it cannot be written.
        """
        self._events.add(summary=tf.Summary.FromString(_hyperparameter_summary(values)))

    def picture(self, step: int, tag: str, picture: np.ndarray) -> None:
        """Adds a picture, uint8 [H, W, 3].

        Raises:
            OSError, tf.errors.OpError: it cannot be written.
        """
        encoded = io.BytesIO()
        Image.fromarray(picture).save(encoded, "PNG")
        image = tf.Summary.Image(
            height=picture.shape[0],
            width=picture.shape[1],
            colorspace=3,
            encoded_image_string=encoded.getvalue(),
        )
        self._events.add(step=step, summary=tf.Summary(value=[tf.Summary.Value(tag=tag, image=image)]))

    def histograms(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Adds a histogram of each array by its tag; values that are not finite are left out.

        Raises:
            OSError, tf.errors.OpError: they cannot be written.
        """
        finite = {tag: array[np.isfinite(array)].astype(np.float64) for tag, array in values.items()}
        shown = [tf.Summary.Value(tag=tag, histo=_histogram(array)) for tag, array in finite.items() if array.size]
        self._events.add(step=step, summary=tf.Summary(value=shown))

    def close(self) -> None:
        """Closes both files and ignores errors: everything was flushed before."""
        for file in (self._file, self._events):
            with suppress(OSError, tf.errors.OpError):
                file.close()


def write_validation(folder: str, step: int, scores: Scores, class_names: Sequence[str]) -> None:
    """Adds the scores of a snapshot to the TensorBoard events of its run; they replace earlier ones of the step.

    Args:
        folder: of the TensorBoard events.
        step: of the snapshot.
        scores: fractions 0..1; classes without an IoU are skipped.
        class_names: in the order of the class ids.

    Raises:
        OSError, tf.errors.OpError: the events cannot be written.
    """
    values = {"validation/mean_iou": scores.mean_iou, "validation/pixel_accuracy": scores.pixel_accuracy}
    values |= {} if scores.loss is None else {"validation/loss": scores.loss}
    ious = zip(class_names, scores.iou, strict=True)
    values |= {f"validation/iou/{name}": iou for name, iou in ious if iou is not None}
    suffix = f".validation-{step}"
    earlier = glob.glob(os.path.join(glob.escape(folder), f"{_EVENTS}*{suffix}"))
    events = _EventFile(folder, suffix)
    events.add(step=step, summary=_scalar_summary(values))
    events.close()
    for path in earlier:
        with suppress(FileNotFoundError):
            os.unlink(path)


class _EventFile:
    """A file of TensorBoard events. TensorFlow's FileWriter writes in a thread and prints errors instead of raising."""

    def __init__(self, folder: str, suffix: str = "") -> None:
        os.makedirs(folder, exist_ok=True)
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        name = f"{_EVENTS}{seconds:010d}.{platform.node()}.{os.getpid()}.{nanoseconds:09d}{suffix}"
        path = os.path.join(folder, name)
        os.close(writable_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))  # TensorFlow would follow a link
        self._file = tf.io.TFRecordWriter(literal_path(path))
        self.add(file_version="brain.Event:2")

    def add(self, **event: object) -> None:
        """Adds an event by the fields of `tf.Event` and flushes it."""
        self._file.write(tf.Event(wall_time=time.time(), **event).SerializeToString())
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _scalar_summary(values: Mapping[str, float]) -> tf.Summary:
    return tf.Summary(value=[tf.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])


def _histogram(values: np.ndarray) -> tf.HistogramProto:
    """Returns the histogram of float64 [n] in `_BUCKETS` intervals of the same width."""
    counts, edges = np.histogram(values, _BUCKETS)
    return tf.HistogramProto(
        min=values.min(),
        max=values.max(),
        num=values.size,
        sum=values.sum(),
        sum_squares=np.square(values).sum(),
        bucket_limit=edges[1:].tolist(),
        bucket=counts.tolist(),
    )


def _hyperparameter_summary(values: Mapping[str, bool | float | str]) -> bytes:
    """Returns the summary of TensorBoard's plugin for hyperparameters, serialized."""
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    start = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
    for name, value in values.items():
        kind = "bool_value" if isinstance(value, bool) else "string_value" if isinstance(value, str) else "number_value"
        setattr(start.hparams[name], kind, value)
    data = plugin_data_pb2.HParamsPluginData(session_start_info=start)
    summary = summary_pb2.Summary()
    summary.value.add(
        tag=metadata.SESSION_START_INFO_TAG,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return summary.SerializeToString()


def _keep_rows_up_to(csv_path: str, step: int) -> None:
    """Keeps the header and the complete rows up to `step` in a CSV file, which may not exist yet."""
    rows: list[dict[str, str]] = []
    if os.path.exists(csv_path):
        rows, broken = _rows_of(read_regular_file(csv_path).decode("utf-8", "replace"))
        if broken:
            logger.warning("%s: %s ignored, because they are damaged", csv_path, number_of(broken, "row"))
    with text_written_atomically(csv_path, newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row for row in rows if int(row["step"]) <= step)


def _rows_of(text: str) -> tuple[list[dict[str, str]], int]:
    """Returns the complete rows of a CSV text, by the names in its first line, and the number of damaged ones."""
    header, *lines = text.splitlines() or [""]
    names = header.split(",")
    cells = [line.split(",") for line in lines if line]
    rows = [dict(zip(names, row, strict=True)) for row in cells if len(row) == len(names)]
    valid = [row for row in rows if _is_valid(row)]
    return valid, len(cells) - len(valid)


def _is_valid(row: Mapping[str, str]) -> bool:
    values = [row.get(name, "") for name in COLUMNS[1:]]
    return bool(_STEP.fullmatch(row.get("step", ""))) and all(map(_VALUE.fullmatch, values))
