"""Messages for a training that is stopped outside its steps: what was written, and how to continue."""

from __future__ import annotations

import glob
import os
from contextlib import suppress

from tools.checkpoints.snapshot_names import checkpoint_step
from tools.flags.choices import EARLIER_RUN, LATEST
from tools.runs.folder import RunFolder
from tools.runtime.stop_requests import going_on


class RunSoFar:
    """Tracks what a command has written of a run. Works without TensorFlow, whose import may be interrupted."""

    def __init__(self) -> None:
        """Starts without a run."""
        self._folder: RunFolder | None = None
        self._goes_on = self._is_scored = False
        self._before: dict[int, int] = {}
        self._earlier: frozenset[str] = frozenset()

    def is_in(self, folder: RunFolder, *, goes_on: bool, is_scored: bool = False) -> None:
        """Sets the folder of the run, before anything is written to it.

        Args:
            folder: of the run.
            goes_on: whether the existing run is resumed; otherwise it will be set aside.
            is_scored: whether the run is only scored, with --eval_only 1.
        """
        self._folder, self._goes_on, self._is_scored = folder, goes_on, is_scored
        self._before, self._earlier = _snapshots(folder), _set_aside(folder)

    def describe(self) -> str:
        """Describes what exists and what to do. The text follows the name of a signal or the word `interrupted`."""
        again = "run the same command again"
        if self._folder is None:
            return f"before the first step: nothing was written: {again}"
        if self._is_scored:
            return f"before the scores were written: the run is unchanged: {again}"
        found, path = _snapshots(self._folder), self._folder.path
        written = [step for step, time in found.items() if self._before.get(step) != time]
        if written:
            return f"between steps: {path} has the snapshot of step {max(written)}: {going_on(LATEST)}"
        if not found:
            moved = sorted(_set_aside(self._folder) - self._earlier)
            kept = f"; the earlier run is in {moved[-1]}" if moved else ""
            return f"before the first step: {path} has no snapshot, so no training is saved{kept}: {again}"
        kept = f"before the first step: {path} has no new snapshot and keeps those up to step {max(found)}"
        if self._goes_on:
            return f"{kept}: {again}"
        return f"{kept}: {again}, which sets that run aside, or add --resume_step {LATEST} to resume it"


def _set_aside(folder: RunFolder) -> frozenset[str]:
    """Returns the folders of earlier runs of the same name that were set aside."""
    return frozenset(glob.glob(f"{glob.escape(folder.path)}{EARLIER_RUN}*"))


def _snapshots(folder: RunFolder) -> dict[int, int]:
    """Maps the steps of a run's snapshots to their modification times, in nanoseconds."""
    found = {}
    for path in glob.glob(f"{glob.escape(folder.snapshot_prefix)}-*.index"):
        step = checkpoint_step(path.removesuffix(".index"))
        with suppress(FileNotFoundError):
            if step is not None:
                found[step] = os.stat(path).st_mtime_ns
    return found
