"""Tables with a row per image, as CSV files."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence

import numpy as np

from database.classes import IGNORE_LABEL
from database.regular_files import regular_file
from tools.prediction.metrics import ConfusionMatrix
from tools.prediction.result_writing import result_text

logger = logging.getLogger(__name__)

AREAS_FILE = "areas.csv"
PER_IMAGE_FILE = "per_image.csv"


class ImageTable:
    """A CSV file with a row per image; the rows of earlier images in the file are kept.

    Use as a context manager, or call `write` after the last row.
    """

    def __init__(self, path: str, columns: Sequence[str]) -> None:
        """Takes the path of the file and the names of the columns after `image`."""
        self._path = path
        self._header = ["image", *columns]
        self._rows: dict[str, list[str]] | None = None

    def add(self, name: str, values: Sequence[object]) -> None:
        """Adds the row of an image, or replaces it.

        Args:
            name: of the image's results.
            values: one per column; None leaves a cell empty.
        """
        if self._rows is None:
            self._rows = self._earlier_rows()
        # As it is in the file: names of files may contain bytes that are not UTF-8.
        shown = name.encode("utf-8", "backslashreplace").decode()
        self._rows[shown] = [shown, *("" if value is None else str(value) for value in values)]

    def write(self) -> None:
        """Writes the file, if there are new rows.

        Raises:
            ResultsFolderError: it cannot be written.
        """
        if self._rows is None:
            return
        with result_text(self._path) as file:
            csv.writer(file, lineterminator="\n").writerows([self._header, *self._rows.values()])

    def __enter__(self) -> ImageTable:
        return self

    def __exit__(self, *exception: object) -> None:
        self.write()

    def _earlier_rows(self) -> dict[str, list[str]]:
        """Reads the rows in the file; none if it is missing, damaged or has other columns."""
        try:
            with open(self._path, encoding="utf-8", newline="", opener=regular_file) as file:
                header, *rows = list(csv.reader(file))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, csv.Error) as error:
            logger.warning("%s cannot be read (%s): it is replaced", self._path, error)
            return {}
        if header != self._header or any(len(row) != len(header) for row in rows):
            logger.warning("%s has other columns than expected: it is replaced", self._path)
            return {}
        return {row[0]: row for row in rows}


class ScoreTable(ImageTable):
    """`per_image.csv`: the scores of each image."""

    def __init__(self, path: str, class_names: Sequence[str]) -> None:
        """Takes the path of the file and the names of the classes."""
        super().__init__(path, score_columns(class_names))
        self._num_classes = len(class_names)

    def add_scores(self, name: str, file: str, label: np.ndarray, predicted: np.ndarray) -> None:
        """Adds the row of an image; see `score_values`."""
        self.add(name, score_values(file, label, predicted, self._num_classes))


def class_pixels(labels: np.ndarray, num_classes: int) -> list[int]:
    """Counts the pixels of each class in training ids [H, W]; other ids are ignored."""
    return np.bincount(labels.ravel(), minlength=num_classes)[:num_classes].tolist()


def area_columns(class_names: Sequence[str]) -> list[str]:
    """Returns the columns of `areas.csv` after the name: pixels and share of each class."""
    return [f"{name} {unit}" for name in class_names for unit in ("pixels", "share")]


def area_values(labels: np.ndarray, num_classes: int) -> list[object]:
    """Returns the values of an image in `areas.csv`; shares are fractions 0..1 with 6 decimals.

    Args:
        labels: training ids [H, W].
        num_classes: number of classes.
    """
    counts = class_pixels(labels, num_classes)
    return [value for count in counts for value in (count, f"{count / labels.size:.6f}")]


def score_columns(class_names: Sequence[str]) -> list[str]:
    """Returns the columns of `per_image.csv` after the name."""
    return ["file", "valid pixels", "pixel accuracy", "mIoU", *(f"IoU {name}" for name in class_names)]


def score_values(file: str, label: np.ndarray, predicted: np.ndarray, num_classes: int) -> list[object]:
    """Returns the values of an image in `per_image.csv`: fractions 0..1 with 6 decimals, None where undefined.

    Args:
        file: path of the image.
        label: training ids [H, W], 255 is ignored.
        predicted: training ids [H, W]; 255 for none.
        num_classes: number of classes.
    """
    matrix = ConfusionMatrix(num_classes, missed_label=IGNORE_LABEL)
    matrix.process(label, predicted)
    scores = matrix.evaluate()
    means: list[float | None] = [scores.pixel_accuracy, scores.mean_iou] if scores.pixels else [None, None]
    rounded = [None if value is None else f"{value:.6f}" for value in (*means, *scores.iou)]
    return [file, scores.pixels, *rounded]
