"""The snapshots of a run that is going on, as they appear."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator

from tools.checkpoints import files as snapshot_files
from tools.errors import CheckpointError
from tools.runs.folder import RunFolder
from tools.runs.record import ModelRecord
from tools.runs.snapshots import snapshot_steps

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 10.0


def followed_run(path: str) -> RunFolder:
    """The run whose folder, or folder of snapshots, a path is.

    Raises:
        CheckpointError: there is no such folder.
    """
    if not os.path.isdir(path):
        raise CheckpointError(f"--follow {path}: no such folder: give that of a run or of its snapshots")
    absolute = os.path.abspath(path)
    is_snapshots = os.path.basename(absolute) == os.path.basename(RunFolder("").snapshots)
    return RunFolder(os.path.dirname(absolute) if is_snapshots else absolute)


def appearing_snapshots(folder: RunFolder, wait: Callable[[float], object] = time.sleep) -> Iterator[tuple[int, str]]:
    """(step, prefix) of the snapshots of a run, by step: those that are there, then each as it appears.

    Ends after that of the run's last step. Looks every ten seconds. A damaged one is told in a line of warning and left
    out.

    Args:
        folder: of the run; its snapshots and their record may not be there yet.
        wait: sleeps.

    Raises:
        RecordError: the record beside the snapshots is damaged.
    """
    seen: set[tuple[int, int]] = set()

    def unseen() -> list[tuple[int, int]]:
        """Steps with serial numbers: a run that went back to an earlier step writes others of the same steps."""
        found = [(step, snapshot_files.age(folder.snapshot(step)).serial) for step in snapshot_steps(folder)]
        return [snapshot for snapshot in found if snapshot not in seen]

    while True:
        new = unseen()
        for step, serial in new:
            seen.add((step, serial))
            prefix = folder.snapshot(step)
            fault = _fault_of(prefix)
            if fault is None or not os.path.exists(prefix + ".index"):  # the run may be removing it
                yield step, prefix
            else:
                logger.warning("%s is damaged and passed over: %s", prefix, fault)
        record = ModelRecord.read(folder.snapshots)
        last = None if record is None else record.flags.get("train_max_iter")
        if last is not None and seen and max(seen)[0] >= last:
            return
        if not new:
            logger.info("waiting for the next snapshot in %s", folder.snapshots)
            while not unseen():
                wait(_SECONDS_BETWEEN_LOOKS)


def _fault_of(prefix: str) -> str | None:
    """What is wrong with a snapshot, by its manifest and by which files are there; None for a sound one."""
    fault = snapshot_files.fault_of(prefix)
    has_data = any(path.startswith(f"{prefix}.data-") for path in snapshot_files.files_of(prefix))
    return "it has no .data file" if fault is None and not has_data else fault
