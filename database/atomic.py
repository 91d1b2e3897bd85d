"""Files and folders that appear under their final name complete or not at all."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from database.errors import DatasetError
from database.regular_files import copy_file, writable_file

logger = logging.getLogger(__name__)

# Names of the temporary files of `written_atomically`.
TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{32}\.tmp")


@contextmanager
def written_atomically(path: str) -> Iterator[str]:
    """Gives a block a temporary file to write, and moves the file to `path` when the block ends.

    If the block raises, the previous content of `path` is kept and the temporary file is deleted. If the process is
    killed, the temporary file stays; it is locked while the process lives, so `remove_unfinished` can detect it later.

    Args:
      path: the file to write or to replace; its folder is created if necessary.

    Yields:
      The path of the temporary file, in the same folder.

    Raises:
      OSError: the folder cannot be created, the file cannot be moved to `path`, or `path` is a pipe or a device (or a
        link to one), which the file would replace.
    """
    _refuse_device(path)
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, exist_ok=True)
    partial_path, descriptor = _locked_temporary_file(folder)
    try:
        yield partial_path
        os.replace(partial_path, path)
    finally:
        with suppress(OSError):
            os.unlink(partial_path)
        os.close(descriptor)


@contextmanager
def text_written_atomically(path: str, *, newline: str | None = None, errors: str = "strict") -> Iterator[TextIO]:
    """Gives a block a UTF-8 text file to write, which appears at `path` when the block ends; see `written_atomically`.

    Args:
      path: the file to write or to replace; its folder is created if necessary.
      newline, errors: see `open`.

    Yields:
      The open file.

    Raises:
      OSError: see `written_atomically`; or the text cannot be written.
    """
    with (
        written_atomically(path) as partial_path,
        open(partial_path, "w", encoding="utf-8", newline=newline, errors=errors, opener=writable_file) as file,
    ):
        yield file


def _locked_temporary_file(folder: str) -> tuple[str, int]:
    """Creates a temporary file and locks it; returns its path and a descriptor that holds the lock."""
    while True:
        path = os.path.join(folder, f".{uuid.uuid4().hex}.tmp")
        descriptor = writable_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        if _lock(descriptor) is not False and os.path.lexists(path):
            return path, descriptor
        os.close(descriptor)  # `remove_unfinished` of another process removes it, before it was locked


def _lock(descriptor: int) -> bool | None:
    """Tries to lock a file and returns whether it succeeded; None on a file system without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def remove_unfinished(folder: str) -> list[str]:
    """Removes the temporary files that killed processes left in a folder, but none that a process still writes.

    Nothing is removed on a file system without locks. Files that cannot be removed stay.

    Args:
      folder: with the temporary files of `written_atomically`; it need not exist.

    Returns:
      The names of the removed files, sorted.
    """
    removed = []
    with suppress(OSError):
        for name in sorted(filter(TEMPORARY_NAME.fullmatch, os.listdir(folder))):
            with suppress(OSError):
                _remove_unlocked(os.path.join(folder, name))
                removed.append(name)
    return removed


def _remove_unlocked(path: str) -> None:
    descriptor = writable_file(path, os.O_WRONLY)
    try:
        if not _lock(descriptor):
            raise BlockingIOError(errno.EAGAIN, "a process writes this file", path)
        os.unlink(path)
    finally:
        os.close(descriptor)


def link_or_copy(source: str, target: str) -> str:
    """Makes a hard link to a file, or to the target of a link, if the file system supports it, otherwise a copy.

    Returns:
      "linked", "copied", or "kept" if the target exists already.

    Raises:
      DatasetError: the target cannot be written.
    """
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            os.link(os.path.realpath(source), target)  # a relative link would lead nowhere from there
            return "linked"
        except FileExistsError:
            return "kept"
        except OSError:
            with written_atomically(target) as partial_path:
                copy_file(source, partial_path)
            return "copied"
    except OSError as error:
        raise DatasetError(f"{target}: cannot be written ({error.strerror or error})") from error


def _refuse_device(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "a pipe or a device, expected a file", path)


@contextmanager
def folder_written_atomically(path: str) -> Iterator[str]:
    """Gives a block a new hidden folder beside `path` to write into, and renames it to `path` when the block ends.

    If the block raises, the hidden folder is removed. What a killed process left behind is removed by the next process.
    Processes that write the same folder wait for each other, which is logged; those that write others do not. If `path`
    exists already and is not empty, the block writes directly into it.

    Args:
      path: the folder to write; its parent is created if necessary.

    Yields:
      The folder to write into.

    Raises:
      OSError: a folder cannot be created or renamed.
    """
    path = os.path.abspath(path)
    parent, name = os.path.split(path)
    hidden = os.path.join(parent, f".{name}.partial")
    os.makedirs(parent, exist_ok=True)
    with _locked_folder(path, hidden) as folder:
        if folder == path:
            yield path
            return
        try:
            _remove_entries(hidden)
            yield hidden
            os.replace(hidden, path)
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise


@contextmanager
def _locked_folder(path: str, hidden: str) -> Iterator[str]:
    """Locks `path`, or if that has no entries the folder `hidden`, which is created; yields which of them.

    The lock is on the folder itself, so that it stays on what `hidden` is renamed to. The operating system releases it
    when the process ends, however it ends.
    """
    while True:
        folder = path if _has_entries(path) else hidden
        if folder == hidden:
            with suppress(FileExistsError):
                os.mkdir(hidden)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if folder == hidden else 0))
        except FileNotFoundError:  # another process has just finished
            continue
        try:
            _wait_for_lock(descriptor, path)
            if _is_open_file(descriptor, folder) and _has_entries(path) == (folder == path):
                yield folder
                return
            if folder == hidden and _is_open_file(descriptor, hidden):
                os.rmdir(hidden)  # another process finished `path` before this one created its folder
        finally:
            os.close(descriptor)


def _has_entries(folder: str) -> bool:
    return os.path.isdir(folder) and bool(os.listdir(folder))


def _is_open_file(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _wait_for_lock(descriptor: int, path: str) -> None:
    if _lock(descriptor) is False:
        logger.info("%s: waiting until another process has written this folder", path)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)


def _remove_entries(folder: str) -> None:
    with os.scandir(folder) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
