"""Checks a run's folder before the first step, and turns errors in writing to it into OutputError."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EDQUOT, EINVAL, EISDIR, ELOOP, EMLINK, ENOSPC
from typing import Any

import tensorflow.compat.v1 as tf

from tools.errors import OutputError
from tools.runs.folder import RunFolder
from tools.runtime.session_errors import reason

# Something else than a file of its own is where a file is to be written; see `regular_files.writable_file`.
_IN_THE_WAY = frozenset({EINVAL, EISDIR, ELOOP, EMLINK})


@contextmanager
def writing_to(folder: RunFolder) -> Iterator[None]:
    """Turns an OSError or TensorFlow error of the block into an OutputError."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise OutputError(f"{folder.path}: cannot write ({reason(error)}): {_advice(error)}") from error


def _advice(error: OSError | tf.errors.OpError) -> str:
    if _is_about_space(error):
        return "free space, or change --log_dir"
    if isinstance(error, OSError) and error.errno in _IN_THE_WAY and isinstance(error.filename, str):
        return f"move {error.filename} elsewhere"
    return "change --log_dir"


def _is_about_space(error: OSError | tf.errors.OpError) -> bool:
    return isinstance(error, tf.errors.ResourceExhaustedError) or getattr(error, "errno", 0) in (ENOSPC, EDQUOT)


def check_log_dir(log_dir: str) -> None:
    """Checks that results can be written, before anything is computed.

    Raises:
        OutputError: `log_dir` is a URL, or its nearest existing parent is a file or is not writable.
    """
    if "://" in log_dir:
        raise OutputError(
            f"--log_dir {log_dir} is a URL, expected a folder on this machine: mount it and give its path"
        )
    existing = nearest_folder(log_dir)
    if not os.path.isdir(existing):
        raise OutputError(f"--log_dir {log_dir}: {existing} is not a folder: give another --log_dir")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"--log_dir {log_dir}: {existing} is not writable: give another --log_dir")


def nearest_folder(path: str) -> str:
    """Returns the absolute path, or its nearest parent that exists."""
    existing = os.path.abspath(path)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    return existing


def free_space(log_dir: str) -> int:
    """Returns the free bytes of the disk of the results."""
    return shutil.disk_usage(nearest_folder(log_dir)).free


def room_warning(
    log_dir: str,
    snapshot_bytes: int,
    *,
    keep: int,
    keeps_best: bool,
    there_already: int = 0,
    disk_usage: Callable[[str], Any] = shutil.disk_usage,
) -> str | None:
    """Returns a warning if the planned snapshots do not fit on the disk, None if they do.

    For a moment there is one snapshot more than `keep`: the oldest is deleted after the newest is complete. The best
    snapshot is a copy.

    Args:
        log_dir: the folder of all runs; it need not exist yet.
        snapshot_bytes: size of one snapshot with all variables, including those of the optimizer.
        keep: number of snapshots that are kept.
        keeps_best: whether the best snapshot is kept as well.
        there_already: number of the run's snapshots on the disk that will be replaced.
        disk_usage: like `shutil.disk_usage`.
    """
    count = max(keep + 1 + keeps_best - there_already, 1)
    needed = count * snapshot_bytes
    free = disk_usage(nearest_folder(log_dir)).free
    if needed <= free:
        return None
    return (
        f"--log_dir {log_dir} has {_gigabytes(free)} free, and up to {count} snapshots of "
        f"{_gigabytes(snapshot_bytes)} each will take {_gigabytes(needed)}: lower --keep, or give another --log_dir"
    )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
