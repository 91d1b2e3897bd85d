"""One sample from disk: the image as RGB and the label as training ids, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from database.datasets import UNKNOWN_LABEL, DatasetError, label_lookup
from database.images import ImageError, read_image, read_label
from database.layouts import Sample


def to_train_ids(ids: np.ndarray, label_map: Mapping[int, int], path: str) -> np.ndarray:
    """Ids of a label file as training ids.

    Args:
        ids: integer [H, W], as stored.
        label_map: id in the file -> training id, 255 ignored.
        path: of the file, for the message.

    Returns:
        uint8 [H, W], training ids, 255 ignored.

    Raises:
        DatasetError: an id is neither a class nor ignored.
    """
    train_ids = label_lookup(label_map)[np.clip(ids, 0, 255)]
    unknown = (train_ids == UNKNOWN_LABEL) | (ids < 0) | (ids > 255)
    if unknown.any():
        found = int(ids[unknown][0])
        raise DatasetError(
            f"{path}: id {found} ({np.count_nonzero(ids == found)} pixels) is neither a class nor ignored: "
            "correct the file, or say what the id means with --label_map"
        )
    return train_ids


def load_label(sample: Sample) -> np.ndarray:
    """uint8 [H, W] training ids, 255 ignored.

    Raises:
        ImageError: the file cannot be read.
        DatasetError: the sample has no label, or an id is neither a class nor ignored.
    """
    if sample.label is None:
        raise DatasetError(f"{sample.image}: this image has no label, so it can neither be trained on nor scored")
    return to_train_ids(read_label(sample.label), sample.label_map, sample.label)


def load_sample(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """`(image, label)`: uint8 [H, W, 3] RGB, and what `load_label` returns, of the same height and width.

    Raises:
        ImageError: a file cannot be read, or image and label differ in size.
        DatasetError: see `load_label`.
    """
    image, label = read_image(sample.image), load_label(sample)
    if image.shape[:2] != label.shape:
        raise ImageError(
            f"{sample.label}: the label is {label.shape[0]}x{label.shape[1]} but its image {sample.image} is "
            f"{image.shape[0]}x{image.shape[1]} (height x width): the two must be of one size"
        )
    return image, label
