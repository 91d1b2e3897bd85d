"""Finds image files with the same bytes in two splits, which a comparison of paths does not find."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from database.counts import number_of
from database.layouts import Sample
from database.regular_files import file_checksum, regular_file

_PART = 4096  # bytes from the middle of a file, after its header


def copied_images(training: Sequence[Sample], held_out: Sequence[Sample]) -> list[tuple[str, str]]:
    """Finds held-out images whose files are copies of training images, byte by byte.

    Sizes are compared first, then some bytes of the files of equal size, then all bytes. Files that cannot be read,
    files that exist only in TFRecords, and images with the same real path in both splits are skipped.

    Returns:
      (held-out image, training image), sorted.
    """
    groups = [([sample.image for sample in held_out], [sample.image for sample in training])]
    for key in (_size, _part, file_checksum):
        groups = [group for pair in groups for group in _equal(*pair, key)]
    return sorted((copy, min(originals)) for copies, originals in groups for copy in _without_shared(copies, originals))


def copies_fault(pairs: Sequence[tuple[str, str]], split: str, other: str) -> str:
    """Describes how many images of one split are copies of images of the other, with the first pair.

    Args:
      pairs: at least one, see `copied_images`.
      split, other: the names of the splits.
    """
    copy, original = pairs[0]
    return (
        f"{number_of(len(pairs), 'image is', 'images are')} in both {other} and {split} ({copy} is a copy of "
        f"{original}): keep each image in one split, otherwise the scores say nothing about new images"
    )


def _equal(
    copies: Iterable[str], originals: Iterable[str], key: Callable[[str], object]
) -> list[tuple[list[str], list[str]]]:
    """Groups the files of both sides by their key, and returns the groups with files of both sides."""
    groups: defaultdict[object, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for side, paths in enumerate((copies, originals)):
        for path in paths:
            groups[_key_of(path, key)][side].append(path)
    return [group for value, group in groups.items() if value is not None and all(group)]


def _key_of(path: str, key: Callable[[str], object]) -> object:
    try:
        return key(path)
    except OSError:
        return None


def _size(path: str) -> int | None:
    return os.path.getsize(path) or None


def _part(path: str) -> bytes:
    with open(path, "rb", opener=regular_file) as file:
        file.seek(os.fstat(file.fileno()).st_size // 2)
        return file.read(_PART)


def _without_shared(copies: Iterable[str], originals: Iterable[str]) -> list[str]:
    shared = set(map(os.path.realpath, originals))
    return [path for path in copies if os.path.realpath(path) not in shared]
