"""The files that predict.py and inference.py leave behind for each image."""

from __future__ import annotations

import os

import numpy as np

from database import palettes
from database.images import write_image
from tools.run_folder import ModelRecord


class PredictionWriter:
    """Writes label ids, colours and overlays into folders of their own.

    <folder>/prediction/<name>_prediction.png   ids as the dataset writes them (Cityscapes: labelIds)
    <folder>/coloring/<name>_coloring.png       the palette's colours
    <folder>/overlay/<name>_overlay.png         the colours over the image
    """

    def __init__(self, folder: str, record: ModelRecord, *, save_prediction: bool, coloring: bool) -> None:
        """Sets what is written where; folders are made with the first file."""
        self._folder = folder
        self._record = record
        self._save_prediction = save_prediction
        self._coloring = coloring

    def write(self, name: str, image: np.ndarray, train_ids: np.ndarray) -> list[str]:
        """Writes the files of one image.

        Args:
            name: without folder and suffix.
            image: uint8 [H, W, 3], RGB.
            train_ids: [H, W].

        Returns:
            The paths written.

        Raises:
            ImageError: a file cannot be written.
        """
        pictures = {}
        if self._save_prediction:
            pictures["prediction"] = palettes.to_label_ids(train_ids, self._record.label_map)
        if self._coloring:
            pictures["coloring"] = palettes.colorize(train_ids, self._record.palette)
            pictures["overlay"] = palettes.overlay(image, pictures["coloring"])
        paths = []
        for kind, picture in pictures.items():
            paths.append(os.path.join(self._folder, kind, f"{name}_{kind}.png"))
            write_image(paths[-1], picture)
        return paths
