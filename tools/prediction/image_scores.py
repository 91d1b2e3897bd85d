"""Scores images one by one: further scores, a row per image, and the confusion matrix as a table and a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from database.layouts import Sample
from tools.prediction.confusion_files import require_plot, write_confusion_matrix
from tools.prediction.further_scores import FurtherScores
from tools.prediction.image_tables import PER_IMAGE_FILE, ScoreTable
from tools.prediction.metrics import ConfusionMatrix


class ImageScores:
    """What is computed and written for images with labels, beside the scores of all. Use as a context manager.

    Attributes:
        matrix: of all images; the caller counts their pixels.
    """

    def __init__(
        self,
        matrix: ConfusionMatrix,
        class_names: Sequence[str],
        folder: str,
        further: FurtherScores,
        *,
        per_image: bool,
        confusion_matrix: bool,
    ) -> None:
        """Selects what to write; nothing is written yet.

        Args:
            matrix: to count the pixels in.
            class_names: in the order of the classes.
            folder: of the results.
            further: scores that are computed as well.
            per_image: whether to write per_image.csv.
            confusion_matrix: whether `write_matrix` writes the matrix.

        Raises:
            MissingPackageError: the picture of the matrix needs a package that is not installed.
        """
        if confusion_matrix:
            require_plot()
        self.matrix = matrix
        self._class_names, self._folder, self._further = class_names, folder, further
        self._per_image, self._confusion_matrix = per_image, confusion_matrix
        self._table = ScoreTable(os.path.join(folder, PER_IMAGE_FILE), class_names)

    def add(self, sample: Sample, label: np.ndarray, labels: np.ndarray, label_ids: np.ndarray | None = None) -> None:
        """Adds an image; for the arguments see `FurtherScores.process`."""
        self._further.process(sample, label, labels, label_ids)
        if self._per_image:
            self._table.add_scores(sample.name, sample.image, label, labels)

    def write_matrix(self) -> None:
        """Writes the confusion matrix, if it is wanted.

        Raises:
            ResultsFolderError: a file cannot be written.
        """
        if self._confusion_matrix:
            write_confusion_matrix(self.matrix.matrix, self._class_names, self._folder, self.matrix.missed)

    def __enter__(self) -> ImageScores:
        return self

    def __exit__(self, *exception: object) -> None:
        self._table.write()
