"""Training curves: TensorBoard events and a CSV file with the same figures."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image

COLUMNS = ("step", "loss", "auxiliary_loss", "weight_decay", "learning_rate", "mean_iou", "images_per_second")


class SummaryWriter:
    """Writes scalars to both places and pictures to TensorBoard; a resumed run appends."""

    def __init__(self, folder: str, csv_path: str, graph: tf.Graph | None, first_step: int = 0) -> None:
        """Opens the files.

        Args:
            folder: of the TensorBoard events.
            csv_path: of the CSV file; rows of steps after `first_step`, from a run that is now resumed, are dropped.
            graph: shown in TensorBoard.
            first_step: steps done already.
        """
        self._events = tf.summary.FileWriter(folder, graph)
        rows = _rows_up_to(csv_path, first_step)
        self._file = open(csv_path, "w", newline="", encoding="utf-8")  # noqa: SIM115 - closed by close()
        self._csv = csv.DictWriter(self._file, COLUMNS)
        self._csv.writeheader()
        self._csv.writerows(rows)
        self._file.flush()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one row; keys are those of `COLUMNS` less the step."""
        self._csv.writerow({"step": step, **{name: f"{value:.6g}" for name, value in values.items()}})
        self._file.flush()
        summary = tf.Summary(value=[tf.Summary.Value(tag=f"train/{k}", simple_value=v) for k, v in values.items()])
        self._events.add_summary(summary, step)
        self._events.flush()

    def validation(self, step: int, mean_iou: float, pixel_accuracy: float) -> None:
        """Adds validation scores to TensorBoard."""
        values = {"validation/mean_iou": mean_iou, "validation/pixel_accuracy": pixel_accuracy}
        summary = tf.Summary(value=[tf.Summary.Value(tag=k, simple_value=v) for k, v in values.items()])
        self._events.add_summary(summary, step)
        self._events.flush()

    def picture(self, step: int, tag: str, picture: np.ndarray) -> None:
        """Adds a picture, uint8 [H, W, 3]."""
        encoded = io.BytesIO()
        Image.fromarray(picture).save(encoded, "PNG")
        image = tf.Summary.Image(
            height=picture.shape[0],
            width=picture.shape[1],
            colorspace=3,
            encoded_image_string=encoded.getvalue(),
        )
        self._events.add_summary(tf.Summary(value=[tf.Summary.Value(tag=tag, image=image)]), step)
        self._events.flush()

    def close(self) -> None:
        """Closes both files."""
        self._file.close()
        self._events.close()


def _rows_up_to(csv_path: str, step: int) -> list[dict[str, str]]:
    if not os.path.exists(csv_path):
        return []
    with open(csv_path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]  # None: a row cut short
    return [row for row in rows if row.get("step", "").isdigit() and int(row["step"]) <= step]
