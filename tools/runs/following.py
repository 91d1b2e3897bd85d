"""Follows the snapshots of a run while it trains."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator

from tools.checkpoints import files as snapshot_files
from tools.checkpoints.find import checkpoint_fault, warn_of_damage
from tools.errors import CheckpointError
from tools.runs.folder import RunFolder
from tools.runs.record import ModelRecord
from tools.runs.snapshots import snapshot_steps

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_CHECKS = 10.0


def followed_run(path: str) -> RunFolder:
    """Returns the run of a path, which is its folder or its folder of snapshots.

    Raises:
        CheckpointError: there is no such folder.
    """
    if not os.path.isdir(path):
        raise CheckpointError(f"--follow {path}: no such folder: give the folder of a run, or of its snapshots")
    absolute = os.path.abspath(path)
    is_snapshots = os.path.basename(absolute) == os.path.basename(RunFolder("").snapshots)
    return RunFolder(os.path.dirname(absolute) if is_snapshots else absolute)


def appearing_snapshots(
    folder: RunFolder, wait: Callable[[float], object] = time.sleep, first_step: int = 0
) -> Iterator[tuple[int, str]]:
    """Yields (step, prefix) of the snapshots of a run by step: the existing ones, then each new one.

    Checks for new snapshots every ten seconds and ends after the run's last step. A damaged snapshot is logged as a
    warning and skipped.

    Args:
        folder: of the run; snapshots and record may not exist yet.
        wait: sleeps for a number of seconds.
        first_step: snapshots of earlier steps are skipped.

    Raises:
        CheckpointError: the run ends before `first_step`.
        RecordError: the record in the folder of snapshots is damaged.
    """
    seen: set[tuple[int, int]] = set()

    def unseen() -> list[tuple[int, int]]:
        """Returns steps with serial numbers, because a run that was rolled back writes the same steps again."""
        found = [(step, snapshot_files.age(folder.snapshot(step)).serial) for step in snapshot_steps(folder)]
        return [snapshot for snapshot in found if snapshot not in seen]

    while True:
        new = unseen()
        for step, serial in new:
            seen.add((step, serial))
            if step < first_step:
                continue
            prefix = folder.snapshot(step)
            before = snapshot_files.identity(prefix)
            fault = checkpoint_fault(prefix)
            if fault is None or before is None or snapshot_files.identity(prefix) != before:  # the run removes it
                yield step, prefix
            else:
                warn_of_damage(prefix, fault)
        record = ModelRecord.read(folder.snapshots)
        last = None if record is None else record.last_step
        if last is not None and last < first_step:
            raise CheckpointError(
                f"--from_step {first_step} is after the last step of {folder.path}, which is {last}: give an earlier "
                "step"
            )
        if last is not None and seen and max(seen)[0] >= last:
            return
        if not new:
            logger.info("waiting for the next snapshot in %s", folder.snapshots)
            while not unseen():
                wait(_SECONDS_BETWEEN_CHECKS)
