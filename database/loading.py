"""Loads one sample: the image and the label as training ids, of the same size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from database.classes import instance_of
from database.counts import number_of
from database.datasets import UNKNOWN_LABEL, label_lookup
from database.errors import DatasetError, ImageError, UnknownIdError
from database.images import all_rows, image_size, read_first_label_rows, read_first_rows, read_label
from database.label_maps import MOST_FILE_ID
from database.layouts import Contents, Sample


def to_train_ids(ids: np.ndarray, label_map: Mapping[int, int], path: str) -> np.ndarray:
    """Converts the ids of a label file to training ids.

    Args:
        ids: integer [H, W], as stored.
        label_map: id in the file -> training id, 255 ignored.
        path: path of the file, for the message.

    Returns:
        uint8 [H, W], training ids, 255 ignored.

    Raises:
        UnknownIdError: an id is neither a class nor ignored.
    """
    table = label_lookup(label_map)
    if ids.dtype == np.uint8:
        # On millions of bytes, this is several times as fast as indexing.
        train_ids = np.frombuffer(ids.tobytes().translate(table[:256].tobytes()), np.uint8).reshape(ids.shape)
    else:
        outside = (ids < 0) | (ids >= len(table))
        train_ids = np.where(outside, np.uint8(UNKNOWN_LABEL), table[np.clip(ids, 0, len(table) - 1)])
    unknown = train_ids == UNKNOWN_LABEL
    if unknown.any():
        found = int(ids[unknown][0])
        raise unknown_id(path, found, int(np.count_nonzero(ids == found)))
    return train_ids


def unknown_id(path: str, found: int, pixels: int) -> UnknownIdError:
    """Returns the error to raise for an id in a label file that is neither a class nor ignored."""
    fault = unknown_id_fault(path, found, pixels)
    if not 0 <= found <= MOST_FILE_ID:
        return UnknownIdError(fault, f": correct the file, as ids in label files are 0 to {MOST_FILE_ID}")
    advice = ", or" if instance_of(found) else ": correct the file, or"
    return UnknownIdError(fault, f"{advice} map the id with --label_map, a flag of --database custom")


def unknown_id_fault(path: str, found: int, pixels: int) -> str:
    """Describes an id in a label file that is neither a class nor ignored."""
    fault = f"{path}: id {found} ({number_of(pixels, 'pixel')}) is neither a class nor ignored"
    instance = instance_of(found)
    return fault if instance is None else f"{fault}; it looks like {instance}"


def label_path(sample: Sample) -> str:
    """Returns the path of a sample's label.

    Raises:
        DatasetError: the sample has no label.
    """
    if sample.label is None:
        raise DatasetError(f"{sample.image}: this image has no label, so it can neither be trained on nor scored")
    return sample.label


def load_label(sample: Sample) -> np.ndarray:
    """Loads a label as training ids, uint8 [H, W], 255 ignored.

    Raises:
        ImageError: the file cannot be read.
        DatasetError: the sample has no label, or an id is neither a class nor ignored.
    """
    return decode_label(sample, sample.contents())


def decode_label(sample: Sample, contents: Contents) -> np.ndarray:
    """Decodes a label as `load_label` does, from bytes that were read already."""
    path = label_path(sample)
    return to_train_ids(read_label(path, contents.label, sample.colors), sample.label_map, path)


def check_same_size(sample: Sample, image_size: tuple[int, ...], label_size: tuple[int, ...]) -> None:
    """Checks that a sample's image and label have the same (height, width).

    Raises:
        ImageError: they differ.
    """
    if image_size != label_size:
        raise ImageError(
            f"{sample.label}: the label is {label_size[0]}x{label_size[1]} but its image {sample.image} is "
            f"{image_size[0]}x{image_size[1]} (height x width), expected the same size"
        )


def sample_sizes(samples: Sequence[Sample]) -> list[tuple[int, int]]:
    """Returns (height, width) in pixels of every sample's image, read from the file headers if not known already.

    Raises:
        ImageError: an image cannot be read.
    """

    def size_of(sample: Sample) -> tuple[int, int]:
        return sample.known_size() or image_size(sample.image, channels=sample.channels)

    with ThreadPoolExecutor() as threads:
        return list(threads.map(size_of, samples))


def load_sample(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Loads `(image, label)`: as by `images.read_image`, and a label as by `load_label`, of the same height and width.

    Raises:
        ImageError: a file cannot be read, or image and label differ in size.
        DatasetError: see `load_label`.
    """
    return load_first_rows(sample)[:2]


def load_first_rows(sample: Sample, rows_of: Callable[[int], int] = all_rows) -> tuple[np.ndarray, np.ndarray, int]:
    """Loads the first rows of a sample as `load_sample` does; damage and ids after them are not checked.

    Args:
        sample: a sample with a label.
        rows_of: maps the height of the image to the number of rows wanted, 1 or more.

    Returns:
        `(image, label, height)`: [rows, W, channels] as by `images.read_image`, uint8 [rows, W], and the height of the
        whole image.

    Raises:
        ImageError, DatasetError: see `load_sample`.
    """
    return _decode_rows(sample, sample.contents(), rows_of)


def decode_sample(sample: Sample, contents: Contents) -> tuple[np.ndarray, np.ndarray]:
    """Decodes a sample as `load_sample` does, from bytes that were read already."""
    return _decode_rows(sample, contents, all_rows)[:2]


def _decode_rows(
    sample: Sample, contents: Contents, rows_of: Callable[[int], int]
) -> tuple[np.ndarray, np.ndarray, int]:
    path = label_path(sample)
    image, height = read_first_rows(sample.image, contents.image, rows_of, sample.input_range, sample.channels)
    ids, label_height = read_first_label_rows(path, contents.label, rows_of, sample.colors)
    label = to_train_ids(ids, sample.label_map, path)
    check_same_size(sample, (height, image.shape[1]), (label_height, label.shape[1]))
    return image, label, height
