"""Files and folders that appear under their final name complete or not at all."""

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
    """Gives a block a temporary file to write, and moves the file to `path` when the block ends.

    If the block raises, the previous content of `path` is kept and the temporary file is deleted.

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
    """Gives a block the new folder <path>.partial to write into, and renames it to `path` when the block ends.

    If the block raises, <path>.partial is removed. What a killed process left behind is removed by the next process.
    Processes that write the same folder wait for each other. If `path` exists already and is not empty, the block
    writes directly into it.

    Args:
      path: the folder to write; its parent is created if necessary.

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
    """Waits for the lock on a folder. The operating system releases it when the process ends, however it ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
