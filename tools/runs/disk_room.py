"""Whether the snapshots of a run will fit on the disk, told before its first step."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any


def nearest_folder(path: str) -> str:
    """The absolute path, or the last folder (or file) above it that exists."""
    existing = os.path.abspath(path)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    return existing


def room_warning(
    log_dir: str,
    snapshot_bytes: int,
    *,
    keep: int,
    keeps_best: bool,
    there_already: int = 0,
    disk_usage: Callable[[str], Any] = shutil.disk_usage,
) -> str | None:
    """What to tell if the snapshots of a run do not fit into the free space of its disk; None if they do.

    There is one more than are kept at a time, as the oldest goes only when the newest is whole; the best of all is a
    copy.

    Args:
        log_dir: where they go; need not exist yet.
        snapshot_bytes: size of one: all variables, those of the optimizer included.
        keep: snapshots kept at a time.
        keeps_best: whether the best is kept apart.
        there_already: snapshots of the run that lie on the disk and will go for newer ones.
        disk_usage: as `shutil.disk_usage`.
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
