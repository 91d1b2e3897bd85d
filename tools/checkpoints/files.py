"""Writes snapshots so that they exist completely or not at all, with a manifest to detect damage.

<folder>/model.ckpt-<step>.data-00000-of-00001  the tensors
<folder>/model.ckpt-<step>.manifest.json        size and SHA-256 of the other two, a serial number, the time
<folder>/model.ckpt-<step>.index                moved here last: with it, the snapshot exists for every reader
<folder>/.writing/                              the three files while they are written
"""

from __future__ import annotations

import glob
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EINVAL, ENOTSUP
from typing import Any, NamedTuple

from database.atomic import TEMPORARY_NAME
from database.json_files import read_json
from database.regular_files import file_checksum, regular_file, writable_file
from tools.checkpoints.snapshot_names import SNAPSHOT_NAME, checkpoint_step

logger = logging.getLogger(__name__)

INDEX_ENDING = ".index"
MANIFEST_ENDING = ".manifest.json"

# A run writes thousands of snapshots; 53 bits are a whole number in every JSON reader.
MOST_SERIAL = 1 << 53
# Seconds of the year 10000, after which Python has no date.
_LATEST_TIME = 253_402_300_800.0
# Bytes of a file; the largest that file systems have.
_MOST_SIZE = 1 << 63

_WRITING = ".writing"
# Raised by reading a damaged or a missing manifest.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(rf"({re.escape(SNAPSHOT_NAME)}-\d+)\.(data-\d+-of-\d+.*|index\..+|manifest\.json)")


def files_of(prefix: str) -> list[str]:
    """Lists the paths of the files of a snapshot, its `.index` last."""
    paths = glob.glob(glob.escape(prefix) + ".*")
    return sorted(paths, key=lambda path: (path == prefix + INDEX_ENDING, path))


def checksum(prefix: str) -> str:
    """Returns the SHA-256, hexadecimal, that identifies a checkpoint.

    It is that of the `.index`, which contains a checksum of each tensor, or of the only file of the old format.

    Raises:
        OSError: the file cannot be read.
    """
    index = prefix + INDEX_ENDING
    return file_checksum(index if os.path.exists(index) else prefix)


@contextmanager
def written_whole(prefix: str) -> Iterator[str]:
    """Lets a block write the files of a snapshot to a temporary folder, and moves them into place when it ends.

    All files are synchronized to the disk before the first is moved; the `.index` is moved last. If the block or a move
    raises, or the process is killed, the snapshot does not exist and the others are unchanged. An earlier snapshot of
    the same step is removed right before the moves, so its files and the new ones never exist together.

    Args:
        prefix: of the snapshot; its folder is created if missing.

    Yields:
        The prefix to write to.

    Raises:
        OSError: a file cannot be written or moved, or the block wrote no `.index`.
    """
    folder, name = os.path.split(prefix)
    writing = os.path.join(folder, _WRITING)
    with suppress(OSError):
        _remove_folder(writing)
    os.makedirs(writing)
    try:
        aside = os.path.join(writing, name)
        yield aside
        written = files_of(aside)
        if not os.path.exists(aside + INDEX_ENDING):
            raise FileNotFoundError(f"no {name}{INDEX_ENDING} was written")
        for path in written:
            sync_file(path)
        if os.path.exists(prefix + INDEX_ENDING):
            remove(prefix)
        for paths in (written[:-1], written[-1:]):
            for path in paths:
                os.replace(path, os.path.join(folder, os.path.basename(path)))
            _sync_folder(folder)
    finally:
        shutil.rmtree(writing, ignore_errors=True)


def remove(prefix: str) -> None:
    """Removes a snapshot, its `.index` first, so that no incomplete snapshot is ever found.

    Raises:
        OSError: a file cannot be removed.
    """
    for path in reversed(files_of(prefix)):
        with suppress(FileNotFoundError):
            os.unlink(path)
        if path == prefix + INDEX_ENDING:
            _sync_folder(os.path.dirname(prefix))


def sync_file(path: str) -> None:
    """Waits until the contents of a file, or the names in a folder, are on the disk (fsync).

    Raises:
        OSError: the disk cannot write it.
    """
    descriptor = regular_file(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: str) -> None:
    try:
        sync_file(path or ".")
    except OSError as error:
        if error.errno not in (EINVAL, ENOTSUP):  # some network file systems support fsync for files only
            raise


@dataclass(frozen=True, order=True)
class Age:
    """Orders snapshots by when they were written; the later one is greater.

    Within a folder, serial numbers decide: a clock that is set back or a copy without times does not change them.
    Snapshots of earlier versions have no serial number. They are ordered by time, before all that have one.

    Attributes:
        serial: 1 more than the highest in the folder so far; 0 if the manifest has none.
        time: seconds since 1970, from the manifest, otherwise of the file `.index`.
        step: from the name, -1 if it has none.
    """

    serial: int
    time: float
    step: int


def age(prefix: str) -> Age:
    """Returns the age of a snapshot, from its manifest.

    Without a manifest, or with a damaged one, the serial number is 0; without an `.index`, the time is 0.
    """
    serial, written = 0, None
    with suppress(*_UNREADABLE):
        serial, written = _manifest(prefix).written
    if written is None:
        written = 0.0
        with suppress(OSError):
            written = min(os.path.getmtime(prefix + INDEX_ENDING), _LATEST_TIME)
    step = checkpoint_step(prefix)
    return Age(serial, written, -1 if step is None else step)


def has_damaged_manifest(prefix: str) -> bool:
    """Returns whether a snapshot has a manifest that cannot be read, so that its serial number is unknown."""
    try:
        _manifest(prefix)
    except FileNotFoundError:
        return False
    except _UNREADABLE:
        return True
    return False


def identity(prefix: str) -> tuple[int, int, int] | None:
    """Identifies the file `.index` of a snapshot; None if there is none.

    It differs before and after a block if another process removed or replaced the snapshot meanwhile: the `.index` is
    removed first and written last.
    """
    try:
        found = os.stat(prefix + INDEX_ENDING)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def next_serial(folder: str) -> int:
    """Returns the serial number of the next snapshot in a folder, at most `MOST_SERIAL`."""
    indices = glob.glob(os.path.join(glob.escape(folder), f"*{INDEX_ENDING}"))
    highest = max((age(path.removesuffix(INDEX_ENDING)).serial for path in indices), default=0)
    return min(1 + highest, MOST_SERIAL)


def write_manifest(prefix: str, serial: int | None = None) -> None:
    """Writes the manifest of a snapshot: size and SHA-256 of its files.

    Args:
        prefix: of the snapshot.
        serial: see `next_serial`; None omits serial number and time.

    Raises:
        OSError: a file cannot be read, or the manifest cannot be written.
    """
    files = {
        os.path.basename(path): {"size": os.path.getsize(path), "sha256": file_checksum(path)}
        for path in files_of(prefix)
        if path != prefix + MANIFEST_ENDING
    }
    order = {} if serial is None else {"serial": serial, "written": time.time()}
    with open(prefix + MANIFEST_ENDING, "w", encoding="utf-8", opener=writable_file) as file:
        json.dump({**order, "files": files}, file, indent=1)


def fault_of(prefix: str) -> str | None:
    """Compares a snapshot with its manifest; returns the difference in words, None if there is none or no manifest.

    Sizes are compared before checksums, which need about a second per gigabyte.
    """
    name = os.path.basename(prefix)
    try:
        expected = _manifest(prefix).files
    except FileNotFoundError:
        return None
    except _UNREADABLE:
        return f"{name}{MANIFEST_ENDING} is not a manifest; delete that file to use the snapshot unchecked"
    there = {os.path.basename(path) for path in files_of(prefix)}
    unlisted = [file for file in sorted(there - expected.keys()) if file.startswith((f"{name}.index", f"{name}.data-"))]
    if unlisted:
        return f"{unlisted[0]} is not in the manifest"
    return _first_difference(os.path.dirname(prefix), expected)


class _Manifest(NamedTuple):
    files: dict[str, tuple[int, str]]  # size and SHA-256 by the name of the file
    written: tuple[int, float | None]  # serial number and time; 0 and None in those of earlier versions


def _manifest(prefix: str) -> _Manifest:
    """Reads a manifest.

    Raises:
        OSError: it does not exist, or is not a regular file.
        ValueError, KeyError, TypeError, AttributeError, OverflowError: it is damaged, or names other files than those
            of the snapshot.
    """
    content = read_json(prefix + MANIFEST_ENDING)
    files = {name: _size_and_checksum(prefix, name, values) for name, values in content["files"].items()}
    if "serial" not in content:
        return _Manifest(files, (0, None))
    serial, written = content["serial"], content["written"]
    if type(serial) is not int or not 1 <= serial <= MOST_SERIAL:
        raise ValueError(f"serial is {serial}")
    if type(written) not in (int, float) or not 0 <= written < _LATEST_TIME:
        raise ValueError(f"written is {written}")
    return _Manifest(files, (serial, float(written)))


def _size_and_checksum(prefix: str, name: str, values: Any) -> tuple[int, str]:
    own = re.escape(os.path.basename(prefix))
    if not re.fullmatch(rf"{own}\.(index|data-[0-9]+-of-[0-9]+)", name):
        raise ValueError(f"{name} is no file of the snapshot")
    size, sha256 = values["size"], values["sha256"]
    if type(size) is not int or not 0 <= size < _MOST_SIZE or not _SHA256.fullmatch(sha256):
        raise ValueError(f"size or checksum of {name}")
    return size, sha256


def _first_difference(folder: str, expected: dict[str, tuple[int, str]]) -> str | None:
    try:
        for name, (size, _) in expected.items():
            found = os.path.getsize(os.path.join(folder, name))
            if found != size:
                return f"{name} has {found} bytes instead of {size}"
        for name, (_, checksum) in expected.items():
            if file_checksum(os.path.join(folder, name)) != checksum:
                return f"{name} differs from what was written, by its SHA-256"
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    return None


def remove_leftovers(folder: str) -> None:
    """Removes incomplete snapshots and temporary files that a killed process left in a folder of snapshots.

    No other process may write to the folder at the same time.

    Raises:
        OSError: a file cannot be removed.
    """
    names = os.listdir(folder) if os.path.isdir(folder) else []
    left = [name for name in names if TEMPORARY_NAME.fullmatch(name) or _is_orphan(folder, name)]
    for name in left:
        os.unlink(os.path.join(folder, name))
    if _WRITING in names:
        _remove_folder(os.path.join(folder, _WRITING))
        left.append(_WRITING)
    if left:
        logger.info("%s: removed incomplete files: %s", folder, ", ".join(sorted(left)))


def _remove_folder(path: str) -> None:
    """Removes a folder and what is in it; of a link, only the link."""
    if os.path.islink(path):
        os.unlink(path)
    else:
        shutil.rmtree(path)


def _is_orphan(folder: str, name: str) -> bool:
    """Returns whether a file is part of a snapshot that has no `.index`."""
    part = _PART.fullmatch(name)
    return part is not None and not os.path.exists(os.path.join(folder, part[1] + INDEX_ENDING))
