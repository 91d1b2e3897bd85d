"""Snapshots as files: there whole or not at all, with a manifest that tells whether they are sound.

<folder>/model.ckpt-<step>.data-00000-of-00001  the tensors
<folder>/model.ckpt-<step>.manifest.json        size and SHA-256 of the other two, a serial number, the time
<folder>/model.ckpt-<step>.index                put in place last: with it, the snapshot is there for every reader
<folder>/.writing/                              the same three while they are written
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import math
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EINVAL, ENOTSUP
from typing import NamedTuple

from database.json_files import read_json
from database.regular_files import regular_file
from tools.checkpoints.snapshot_names import SNAPSHOT_NAME

logger = logging.getLogger(__name__)

INDEX_ENDING = ".index"
MANIFEST_ENDING = ".manifest.json"

_WRITING = ".writing"
_STEP = re.compile(r"-(\d+)$")
# What reading a damaged manifest raises, or one that is absent.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError)
# What `database.atomic.written_atomically` leaves where the process is killed.
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")
_PART = re.compile(rf"({re.escape(SNAPSHOT_NAME)}-\d+)\.(data-\d+-of-\d+.*|index\..+|manifest\.json)")


def files_of(prefix: str) -> list[str]:
    """Paths of the files of a snapshot, its `.index` last."""
    paths = glob.glob(glob.escape(prefix) + ".*")
    return sorted(paths, key=lambda path: (path == prefix + INDEX_ENDING, path))


def checksum(prefix: str) -> str:
    """SHA-256 that tells one checkpoint from another, hexadecimal.

    It is that of the `.index`, where a checksum of each tensor stands, or of the one file of the old format.

    Raises:
        OSError: the file cannot be read.
    """
    index = prefix + INDEX_ENDING
    with open(index if os.path.exists(index) else prefix, "rb", opener=regular_file) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def written_whole(prefix: str) -> Iterator[str]:
    """Lets a block write the files of a snapshot aside, and puts them in place when the block ends.

    They have reached the disk before the first is moved, and are moved with the `.index` last. Where the block or the
    moving raises, or the process is killed, the snapshot is absent and the others are as they were. One of the same
    step that was there is removed right before; its files and new ones never stand together.

    Args:
        prefix: of the snapshot; its folder is created where needed.

    Yields:
        The prefix to write to.

    Raises:
        OSError: a file cannot be written or moved, or the block wrote no `.index`.
    """
    folder, name = os.path.split(prefix)
    writing = os.path.join(folder, _WRITING)
    shutil.rmtree(writing, ignore_errors=True)
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
    """Removes a snapshot, its `.index` first, so that at no time a part of it is taken for a snapshot.

    Raises:
        OSError: a file cannot be removed.
    """
    for path in reversed(files_of(prefix)):
        with suppress(FileNotFoundError):
            os.unlink(path)
        if path == prefix + INDEX_ENDING:
            _sync_folder(os.path.dirname(prefix))


def sync_file(path: str) -> None:
    """Waits until what is in a file, or the names in a folder, would survive a loss of power.

    Raises:
        OSError: the disk cannot write it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: str) -> None:
    try:
        sync_file(path or ".")
    except OSError as error:
        if error.errno not in (EINVAL, ENOTSUP):  # some network file systems have that for files alone
            raise


@dataclass(frozen=True, order=True)
class Age:
    """When a snapshot was written, such that the later one is the greater.

    The serial numbers of a folder decide, which neither a clock that is set back nor a copy without times changes.
    Times decide between snapshots without a number, which earlier versions wrote, and they are older than all with one.

    Attributes:
        serial: 1 more than the highest in the folder had been, 0 without.
        time: seconds since 1970: as noted when it was written, otherwise that of the file `.index`.
        step: -1 without one.
    """

    serial: int
    time: float
    step: int


def age(prefix: str) -> Age:
    """When a snapshot was written, by its manifest.

    One without a manifest, or with a damaged one, has no serial number. One without an `.index` is of 1970.
    """
    serial, written = 0, None
    with suppress(*_UNREADABLE):
        serial, written = _manifest(prefix).written
    if written is None:
        written = 0.0
        with suppress(OSError):
            written = os.path.getmtime(prefix + INDEX_ENDING)
    match = _STEP.search(prefix)
    return Age(serial, written, int(match[1]) if match else -1)


def next_serial(folder: str) -> int:
    """The serial number of the snapshot that is written to a folder next."""
    indices = glob.glob(os.path.join(glob.escape(folder), f"*{INDEX_ENDING}"))
    return 1 + max((age(path.removesuffix(INDEX_ENDING)).serial for path in indices), default=0)


def write_manifest(prefix: str, serial: int | None = None) -> None:
    """Writes down size and SHA-256 of the files of a snapshot.

    Args:
        prefix: of the snapshot.
        serial: see `next_serial`; None leaves number and time out.

    Raises:
        OSError: a file cannot be read or the manifest not be written.
    """
    files = {
        os.path.basename(path): {"size": os.path.getsize(path), "sha256": _checksum(path)}
        for path in files_of(prefix)
        if path != prefix + MANIFEST_ENDING
    }
    order = {} if serial is None else {"serial": serial, "written": time.time()}
    with open(prefix + MANIFEST_ENDING, "w", encoding="utf-8") as file:
        json.dump({**order, "files": files}, file, indent=1)


def fault_of(prefix: str) -> str | None:
    """What is wrong with a snapshot by its manifest, in words; None for a sound one, and for one without a manifest.

    Sizes are looked at before checksums, which need a second or so per gigabyte.
    """
    name = os.path.basename(prefix)
    try:
        expected = _manifest(prefix).files
    except FileNotFoundError:
        return None
    except _UNREADABLE:
        return f"{name}{MANIFEST_ENDING} is no manifest; without that file the snapshot is taken unchecked"
    there = {os.path.basename(path) for path in files_of(prefix)}
    unlisted = [file for file in sorted(there - expected.keys()) if file.startswith((f"{name}.index", f"{name}.data-"))]
    if unlisted:
        return f"{unlisted[0]} is not in the manifest"
    return _first_difference(os.path.dirname(prefix), expected)


class _Manifest(NamedTuple):
    files: dict[str, tuple[int, str]]  # size and SHA-256 by the name of the file
    written: tuple[int, float | None]  # serial number and time; 0 and None in those of earlier versions


def _manifest(prefix: str) -> _Manifest:
    content = read_json(prefix + MANIFEST_ENDING)
    files = {name: (int(values["size"]), str(values["sha256"])) for name, values in content["files"].items()}
    if "serial" not in content:
        return _Manifest(files, (0, None))
    serial, written = content["serial"], content["written"]
    if type(serial) is not int or not 1 <= serial < 1 << 63:
        raise ValueError(f"serial is {serial}")
    if type(written) not in (int, float) or not math.isfinite(written):
        raise ValueError(f"written is {written}")
    return _Manifest(files, (serial, float(written)))


def _first_difference(folder: str, expected: dict[str, tuple[int, str]]) -> str | None:
    try:
        for name, (size, _) in expected.items():
            found = os.path.getsize(os.path.join(folder, name))
            if found != size:
                return f"{name} has {found} bytes instead of {size}"
        for name, (_, checksum) in expected.items():
            if _checksum(os.path.join(folder, name)) != checksum:
                return f"{name} is not what was written, by its SHA-256"
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    return None


def _checksum(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_leftovers(folder: str) -> None:
    """Removes what a killed process left half written, or half removed, in a folder of snapshots.

    It must be the folder of a run that no other process writes to.

    Raises:
        OSError: something cannot be removed.
    """
    names = os.listdir(folder) if os.path.isdir(folder) else []
    left = [name for name in names if _TEMPORARY.fullmatch(name) or _is_orphan(folder, name)]
    for name in left:
        os.unlink(os.path.join(folder, name))
    if _WRITING in names:
        shutil.rmtree(os.path.join(folder, _WRITING))
        left.append(_WRITING)
    if left:
        logger.info("%s: removed what was left half written: %s", folder, ", ".join(sorted(left)))


def _is_orphan(folder: str, name: str) -> bool:
    """Whether a file is part of a snapshot that has no `.index`."""
    part = _PART.fullmatch(name)
    return part is not None and not os.path.exists(os.path.join(folder, part[1] + INDEX_ENDING))
