"""Keeps the pixel counts of the classes in training labels in a file, for later runs.

log/<database>/class-counts-<checksum>.json   written once, shared by runs on the same list of labels

The data's own folder may be read-only. The checksum in the name is that of the paths and the label map. The file holds
the checksum of the labels' contents: if it differs, the labels are counted again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from database.atomic import text_written_atomically
from database.images import read_bytes
from database.json_files import read_json
from database.json_values import checksum_of, whole_in
from database.layouts import Sample
from database.loading import label_path
from database.sample_loader import UNREADABLE
from database.tfrecord import TFRecordSample
from tools.runs.data_checksums import path_within
from tools.training.class_counts import count_classes

logger = logging.getLogger(__name__)

_VERSION = 1
_WORKERS = 4
_MOST_PIXELS = (1 << 53) - 1


def kept_class_counts(
    samples: Sequence[Sample], num_classes: int, folder: str, data_dir: str, max_bad_files: int = 0
) -> np.ndarray:
    """Returns the counts of `count_classes` from the file in a folder, if it was made from these labels.

    Otherwise they are counted and written. If the file cannot be written, a warning is logged.

    Args:
        samples, num_classes, max_bad_files: see `count_classes`.
        folder: of the file.
        data_dir: folder of the labels; paths are relative to it, so that the file also fits a copy of the data.
    """
    path = os.path.join(folder, f"class-counts-{_names_checksum(samples, num_classes, data_dir)[:16]}.json")
    contents = _contents_checksum(samples)
    kept = _read(path, contents, (len(samples), num_classes))
    if kept is not None:
        logger.info("pixels of classes: from %s", path)
        return kept
    counts = count_classes(samples, num_classes, "pixels of classes", max_bad_files)
    _write(path, contents, counts)
    return counts


def _names_checksum(samples: Sequence[Sample], num_classes: int, data_dir: str) -> str:
    """Hashes the paths of the labels, the number of classes, and which ids and colours are which class."""
    decodings: dict[tuple[int, int], int] = {}
    total = hashlib.sha256(str(num_classes).encode())
    for sample in samples:
        # Samples share their label map and colours, which are hashed once.
        key = id(sample.label_map), id(sample.colors)
        if key not in decodings:
            decodings[key] = len(decodings)
            colors = None if sample.colors is None else sorted(sample.colors.ids.items())
            total.update(repr((sorted(sample.label_map.items()), colors)).encode())
        path = label_path(sample)
        name = path_within(path, data_dir) or path
        total.update(f"\0{decodings[key]}\0{name}".encode(errors="surrogateescape"))
    return total.hexdigest()


def _contents_checksum(samples: Sequence[Sample]) -> str:
    """Hashes the bytes of all labels; of examples in TFRecords, the checksums in their index."""

    def digest(sample: Sample) -> bytes:
        if isinstance(sample, TFRecordSample):
            return repr(tuple(sample.place)).encode()
        try:
            return hashlib.sha256(read_bytes(label_path(sample))).digest()
        except UNREADABLE:
            return b"unreadable"

    total = hashlib.sha256()
    with ThreadPoolExecutor(_WORKERS) as executor:
        for found in executor.map(digest, samples):
            total.update(found)
    return total.hexdigest()


def _read(path: str, contents: str, shape: tuple[int, int]) -> np.ndarray | None:
    """Reads the counts of labels with a checksum; None if there is no such file, or it is damaged or of others."""
    try:
        values = read_json(path)
        if values["version"] != _VERSION or values["checksum"] != checksum_of(values):
            raise ValueError("its version or checksum differs")
        if values["labels"] != contents:
            logger.warning("%s: the labels have changed since their pixels were counted: counted again", path)
            return None
        return _counts_of(values["counts"], shape)
    except FileNotFoundError:
        return None
    except (OSError, KeyError, TypeError, ValueError, IndexError) as error:
        logger.warning("%s: the file is damaged (%s), so the labels are counted again", path, repr(error)[:200])
        return None


def _counts_of(rows: Any, shape: tuple[int, int]) -> np.ndarray:
    """Converts rows of class, pixels, class, pixels, ... to int64 [N, C]; raises ValueError if they are impossible."""
    if len(rows) != shape[0]:
        raise ValueError(f"{len(rows)} rows, expected {shape[0]}")
    counts = np.zeros(shape, np.int64)
    for number, row in enumerate(rows):
        for train_id, pixels in zip(row[::2], row[1::2], strict=True):
            counts[number, whole_in(train_id, 0, shape[1] - 1)] = whole_in(pixels, 1, _MOST_PIXELS)
    return counts


def _write(path: str, contents: str, counts: np.ndarray) -> None:
    rows = [np.stack([np.flatnonzero(row), row[row > 0]], axis=1).ravel().tolist() for row in counts]
    values: dict[str, Any] = {"version": _VERSION, "labels": contents, "counts": rows}
    values["checksum"] = checksum_of(values)
    try:
        with text_written_atomically(path) as file:
            json.dump(values, file)
    except OSError as error:
        logger.warning("%s: cannot write (%s), so the next run counts the labels again", path, error.strerror)
