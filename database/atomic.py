"""Files and folders that appear under their name whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def written_atomically(path: str) -> Iterator[str]:
    """Lets a block write a file beside the one it is for, and puts it in its place when the block ends.

    Where the block raises, what was there before stays as it was, and nothing else is left behind.

    Args:
      path: the file to write or to replace; its folder is created where needed.

    Yields:
      The path to write to, in the same folder.

    Raises:
      OSError: the folder cannot be created or the file not be put in place; the path is a pipe or a device, or a link
        to one, in whose place a file would come.
    """
    _refuse_device(path)
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, exist_ok=True)
    partial_path = os.path.join(folder, f".{uuid.uuid4().hex}.tmp")
    try:
        yield partial_path
        os.replace(partial_path, path)
    finally:
        with suppress(OSError):
            os.unlink(partial_path)


def _refuse_device(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "a pipe or a device, expected a file", path)


@contextmanager
def folder_written_atomically(path: str) -> Iterator[str]:
    """Lets a block write a new folder under the name <path>.partial, and renames it when the block ends.

    Where the block raises, the folder is removed; what a killed process left of it is removed by the next one.
    Processes that write the same folder do so one after the other. A folder that is there already, and not empty, is
    written into as it is.

    Args:
      path: the folder to write; its parent is created where needed.

    Yields:
      The folder to write into.

    Raises:
      OSError: a folder cannot be created or renamed.
    """
    path = os.path.abspath(path)
    partial_path = f"{path}.partial"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with _one_process_at_a_time(os.path.dirname(path)):
        if os.path.isdir(path) and os.listdir(path):
            yield path
            return
        shutil.rmtree(partial_path, ignore_errors=True)
        try:
            os.mkdir(partial_path)
            yield partial_path
            os.replace(partial_path, path)
        finally:
            shutil.rmtree(partial_path, ignore_errors=True)


@contextmanager
def _one_process_at_a_time(folder: str) -> Iterator[None]:
    """Waits for the lock of a folder, which the system takes from a process that ends, however it ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
