"""Unpacks untrusted archives: all members are checked before anything is written."""

from __future__ import annotations

import gzip
import logging
import os
import posixpath
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple, Protocol, cast

from database.atomic import folder_written_atomically, written_atomically
from database.counts import number_of
from database.errors import in_one_line
from database.regular_files import regular_file, writable_file
from tools.download.tar_stream import TarStream, opened_tar_stream
from tools.errors import ArchiveError
from tools.runtime.progress import counted

logger = logging.getLogger(__name__)

# Images hardly compress, and weights by a tenth: archives of these never exceed this ratio.
MAX_RATIO = 20
# Up to this size the ratio is not checked: small files may compress to nearly nothing.
HARMLESS_SIZE = 16 << 20

# ADE20K, the largest of these archives by number, has 57,000 members. Python's lists need about 2 kB for each.
MOST_MEMBERS = 250_000
# SBD has 4. Python creates and removes nested folders recursively.
MOST_DEPTH = 64

_LONGEST_TARGET = 4096  # of a link, in bytes
_LONGEST_SHOWN = 200

# Also what Python's modules raise for damaged headers: impossible numbers, names in no encoding, endless chains.
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, struct.error, EOFError, NotImplementedError,
    ValueError, OverflowError, IndexError, KeyError, RecursionError, MemoryError,
)  # fmt: skip
# What the archives are compressed with; the other methods of zip files may need gigabytes of memory.
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class _Member(NamedTuple):
    name: str  # as in the archive, without leading ./ and trailing /
    size: int
    kind: str  # file, folder, link, or a description of any other kind
    target: str  # of a link, relative to the root of the archive; outside if it begins with / or ..
    entry: tarfile.TarInfo | zipfile.ZipInfo


class _Archive(Protocol):
    def members(self) -> Iterator[_Member]: ...

    def write(self, member: _Member, folder: str, name: str) -> None: ...


class _Tar:
    """A tar archive, compressed or not."""

    def __init__(self, file: tarfile.TarFile, stream: TarStream) -> None:
        self._file = file
        self._stream = stream

    def members(self) -> Iterator[_Member]:
        for entry in self._file:
            name, target = _plain(entry.name), ""
            kind = "file" if entry.isreg() else "folder" if entry.isdir() else "not a file"
            if entry.issym() or entry.islnk():
                # The target of a symbolic link is relative to its folder, that of a hard link to the archive's root.
                start = posixpath.dirname(name) if entry.issym() else ""
                kind, target = "link", posixpath.normpath(posixpath.join(start, entry.linkname))
            yield _Member(name, entry.size, kind, target, entry)
        self._stream.in_headers = False

    def write(self, member: _Member, folder: str, name: str) -> None:
        assert isinstance(member.entry, tarfile.TarInfo)
        self._file.extract(member.entry.replace(name=name, deep=False), folder, filter="data")


class _Zip:
    """A zip archive."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file

    def members(self) -> Iterator[_Member]:
        for entry in self._file.infolist():
            name, kind, target = _plain(entry.filename), "folder" if entry.is_dir() else "file", ""
            if entry.flag_bits & 1:
                kind = "encrypted"
            elif entry.compress_type not in _ZIP_METHODS:
                kind = "compressed by an unusual method"
            elif stat.S_ISLNK(entry.external_attr >> 16):
                with self._file.open(entry) as link:
                    text = link.read(_LONGEST_TARGET).decode(errors="replace")
                kind, target = "link", posixpath.normpath(posixpath.join(posixpath.dirname(name), text))
            yield _Member(name, entry.file_size, kind, target, entry)

    def write(self, member: _Member, folder: str, name: str) -> None:
        assert isinstance(member.entry, zipfile.ZipInfo)
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with self._file.open(member.entry) as source, open(path, "xb", opener=writable_file) as target:
            shutil.copyfileobj(source, target)


@contextmanager
def _opened(path: str) -> Iterator[_Archive]:
    if path.endswith(".zip"):
        with open(path, "rb", opener=regular_file) as file, zipfile.ZipFile(file) as zip_file:
            yield _Zip(zip_file)
    else:
        # Members have headers of 512 bytes and are filled up to 512.
        with (
            opened_tar_stream(path, 2 * _most_bytes(path)) as stream,
            tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as tar_file,
        ):
            yield _Tar(tar_file, stream)


def unpack(path: str, root: str, place: str) -> None:
    """Unpacks a folder or a file of an archive, atomically.

    Links are never written: those that stay inside the archive are skipped, others are an error.

    Args:
        path: the archive, .zip or .tar, which may be compressed.
        root: path in the archive of the folder or file to unpack; "" for the whole archive.
        place: path of the result; a folder must not exist or must be empty.

    Raises:
        ArchiveError: the archive is damaged or encrypted, lacks `root`, has a device or a member or link that leads
            outside, has more members, folders in folders or bytes of headers than the limits, or unpacks to more than
            the limit or the free space; or the place cannot be written.
    """
    if os.path.isdir(place) and os.listdir(place):
        raise ArchiveError(f"{place}: the folder already contains files: remove it or give another with --out")
    try:
        with _opened(path) as archive:
            members = _checked(path, archive.members(), root, place)
            _write(archive, members, root, place)
    except ArchiveError:
        raise
    except _DAMAGED as error:
        fault = _shown(in_one_line(error))
        raise ArchiveError(
            f"{path}: this is not an archive or is damaged ({fault}): remove it and download it again"
        ) from error
    except OSError as error:
        raise ArchiveError(f"{path}: the archive cannot be unpacked to {place} ({error.strerror or error})") from error


def _plain(name: str) -> str:
    """Removes leading ./ and trailing / from the name of a member."""
    name = re.sub(r"\A(\./)+", "", name)
    return name.rstrip("/") if name.strip("/.") else name


def _leads_outside(name: str) -> bool:
    """Returns whether a path is absolute, on Windows too, or leaves the folder that it is relative to."""
    parts = re.split(r"[/\\]", name)
    return name.startswith(("/", "\\")) or ".." in parts or bool(re.match(r"[A-Za-z]:", name)) or "\0" in name


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _most_bytes(path: str) -> int:
    """Returns the limit of the sum of the files' sizes."""
    return max(MAX_RATIO * os.path.getsize(path), HARMLESS_SIZE)


def _checked(path: str, members: Iterable[_Member], root: str, place: str) -> list[_Member]:
    """Checks every member of the archive and returns the files to unpack."""
    most = _most_bytes(path)
    wanted: list[_Member] = []
    unpacked = links = 0
    for number, member in enumerate(members, start=1):
        unpacked += member.size
        if unpacked > most:
            raise ArchiveError(
                f"{path}: the archive unpacks to more than {most} bytes, more than images or weights can: not unpacked"
            )
        if number > MOST_MEMBERS:
            raise ArchiveError(f"{path}: the archive has more than {MOST_MEMBERS} members: not unpacked")
        _check_member(path, member)
        if not root or member.name == root or member.name.startswith(f"{root}/"):
            links += member.kind == "link"
            wanted += [member] if member.kind == "file" else []
    if links:
        logger.warning("%s: skipped %s", path, number_of(links, "link"))
    if not wanted:
        raise ArchiveError(f"{path}: found no {root or 'file'} in the archive: expected another archive")
    _require_space(path, sum(member.size for member in wanted), place)
    return wanted


def _check_member(path: str, member: _Member) -> None:
    name = _shown(member.name)
    if _leads_outside(member.name) or (member.kind == "link" and _leads_outside(member.target)):
        leads = f" -> {_shown(member.target)}" if member.kind == "link" else ""
        raise ArchiveError(f"{path}: its member {name}{leads} leads outside the folder: not unpacked")
    if member.kind not in ("file", "folder", "link"):
        raise ArchiveError(f"{path}: its member {name} is {member.kind}: not unpacked")
    if member.size < 0:
        raise ArchiveError(f"{path}: its member {name} has {member.size} bytes, expected 0 or more: not unpacked")
    if member.name.count("/") >= MOST_DEPTH:
        raise ArchiveError(
            f"{path}: its member {name} is in more than {MOST_DEPTH - 1} folders, more than a dataset has: not unpacked"
        )


def _require_space(path: str, needed: int, place: str) -> None:
    parent = os.path.dirname(os.path.abspath(place))
    os.makedirs(parent, exist_ok=True)
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise ArchiveError(f"{path}: {needed} bytes are needed but {free} are free on the disk of {place}: free space")


def _write(archive: _Archive, members: list[_Member], root: str, place: str) -> None:
    if members[0].name == root:
        with written_atomically(os.path.abspath(place)) as partial:
            os.unlink(partial)  # `write` creates it
            archive.write(members[0], os.path.dirname(partial), os.path.basename(partial))
        return
    with folder_written_atomically(place) as folder:
        for member in counted(members, "unpacking", len(members), "files"):
            archive.write(member, folder, member.name[len(root) :].lstrip("/"))
