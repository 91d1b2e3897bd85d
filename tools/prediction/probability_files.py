"""Writes probabilities and confidences of an image."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from database.images import write_image
from tools.prediction.result_writing import result_file, result_text

CLASSES_FILE = "classes.txt"

# By the format in `tools.flags.prediction_outputs.PROBABILITY_FORMATS`.
DTYPES: dict[str, type[np.generic]] = {"npz": np.float16, "png": np.uint8}


def probability_names(name: str, kind: str, num_classes: int) -> list[str]:
    """Returns the names of the files with the probabilities of an image.

    Args:
        name: of the image's results.
        kind: format of the probabilities.
        num_classes: number of classes.
    """
    if kind == "npz":
        return [f"{name}_probabilities.npz"]
    return [f"{name}_class{index}.png" for index in range(num_classes)]


def write_probabilities(paths: Sequence[str], probabilities: np.ndarray, class_names: Sequence[str]) -> None:
    """Writes the probabilities of an image.

    Args:
        paths: one .npz file, or a .png file per class; see `probability_names`.
        probabilities: [H, W, classes]: float16 for .npz, which stores them as `probabilities` beside the names of the
            `classes`; uint8 for .png, see `predictions.Wanted`.
        class_names: in the order of the classes.

    Raises:
        ImageError, ResultsFolderError: a file cannot be written.
    """
    if probabilities.dtype == np.float16:
        with result_file(paths[0]) as file:
            np.savez_compressed(file, probabilities=probabilities, classes=np.array(class_names, dtype=np.str_))
        return
    for index, path in enumerate(paths):
        write_image(path, np.ascontiguousarray(probabilities[..., index]))


def write_class_names(folder: str, class_names: Sequence[str]) -> None:
    """Writes `classes.txt`, with a line `index name` per class, into a folder of pictures per class.

    Raises:
        ResultsFolderError: it cannot be written.
    """
    with result_text(os.path.join(folder, CLASSES_FILE)) as file:
        file.writelines(f"{index} {name}\n" for index, name in enumerate(class_names))


def confidence_picture(confidence: np.ndarray) -> np.ndarray:
    """Converts the largest probabilities, float32 [H, W], to a grey picture, uint8: round(255 p)."""
    return np.rint(np.clip(confidence, 0, 1) * np.float32(255)).astype(np.uint8)
