"""Checksums that identify the images and labels of a run or of a prediction."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from database.errors import ImageError
from database.images import read_bytes
from database.layouts import Contents, Sample
from database.sample_loader import UNREADABLE
from database.tfrecord import TFRecordSample

# Number of samples whose files are read completely. Reading all of them takes hours for some datasets.
_READ_WHOLE = 64


def path_within(path: str, folder: str) -> str | None:
    """Returns a path relative to a folder that contains it, None if the folder does not."""
    rest = path.removeprefix(folder + os.sep)
    if len(rest) < len(path) and not rest.startswith((os.sep, os.pardir)) and os.path.normpath(rest) == rest:
        return rest  # same result as below, and many times faster
    relative = os.path.relpath(path, folder)
    return None if relative.split(os.sep)[0] == os.pardir else relative


@dataclass(frozen=True)
class DataChecksums:
    """Identifies the images and labels of one split or several.

    Computed once per process, as this takes about a second for 20,000 images.

    Attributes:
        data_dir: the folder of the files.
        count: number of images.
        names, sizes, contents: see `names_checksum`, `sizes_checksum` and `contents_checksum`.
    """

    data_dir: str
    count: int
    names: str
    sizes: str | None
    contents: str

    @classmethod
    def of(cls, samples: Sequence[Sample], data_dir: str) -> DataChecksums:
        """Computes the checksums of samples in a folder."""
        return cls(
            data_dir,
            len(samples),
            names_checksum(samples, data_dir),
            sizes_checksum(samples),
            contents_checksum(samples),
        )

    @property
    def values(self) -> tuple[str, str | None, str]:
        """Returns the checksums of names, sizes and contents."""
        return self.names, self.sizes, self.contents


def names_checksum(samples: Sequence[Sample], data_dir: str) -> str:
    """Hashes the paths of images and labels, in order.

    Args:
        samples: of one split or several.
        data_dir: their folder; paths are relative to it, so that a copy elsewhere has the same checksum.

    Returns:
        SHA-256, hexadecimal.
    """
    names = [path_within(path, data_dir) or path for path in _paths(samples)]
    return hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()


def sizes_checksum(samples: Sequence[Sample]) -> str | None:
    """Hashes the sizes in bytes of all images and labels, in order.

    Returns:
        SHA-256, hexadecimal; None if samples are read from TFRecords, or a file is missing.
    """
    if any(isinstance(sample, TFRecordSample) for sample in samples):
        return None
    try:
        sizes = [os.path.getsize(path) for path in _paths(samples)]
    except OSError:
        return None
    return hashlib.sha256(np.array(sizes, "<i8").tobytes()).hexdigest()


def contents_checksum(samples: Sequence[Sample]) -> str:
    """Hashes the bytes of up to 64 samples' images and labels, spread evenly over the list.

    The checksum is the same for files and for TFRecords of them. A file or TFRecord that cannot be read counts as
    empty.

    Returns:
        SHA-256, hexadecimal.
    """
    total = hashlib.sha256(str(len(samples)).encode())
    positions = np.linspace(0, len(samples) - 1, min(_READ_WHOLE, len(samples))).round().astype(int)
    for position in positions:
        sample = samples[position]
        try:
            contents = sample.contents()
        except UNREADABLE:
            contents = Contents(b"", b"")
        for path, content in ((sample.image, contents.image), (sample.label, contents.label)):
            if path is not None:
                total.update(hashlib.sha256(_bytes_of(path) if content is None else content).digest())
    return total.hexdigest()


def _bytes_of(path: str) -> bytes:
    try:
        return read_bytes(path)
    except ImageError:
        return b""


def _paths(samples: Iterable[Sample]) -> list[str]:
    return [path for sample in samples for path in (sample.image, sample.label) if path is not None]
