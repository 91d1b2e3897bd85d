"""The snapshots of a run: which there are, and which is meant."""

from __future__ import annotations

import os

from tools import checkpoint
from tools.flags import TrainConfig
from tools.run_folder import RunFolder


def snapshot_to_score(config: TrainConfig, folder: RunFolder) -> str:
    """The prefix of the snapshot to validate: with --eval_only that of --resume_step if given, else the last.

    Raises:
        CheckpointError: there is none.
    """
    if config.eval_only and config.resume_step is not None:
        return checkpoint.resolve_checkpoint(folder.snapshot(config.resume_step))
    return checkpoint.resolve_checkpoint(folder.snapshots)


def check_resume_step(folder: RunFolder, step: int, max_steps: int) -> str:
    """The prefix of the snapshot to resume from.

    Raises:
        CheckpointError: there is none of that step, or the run is over.
    """
    prefix = folder.snapshot(step)
    if not os.path.exists(prefix + ".index"):
        steps = snapshot_steps(folder)
        found = f"there are snapshots of steps {', '.join(map(str, steps))}" if steps else "there is none"
        raise checkpoint.CheckpointError(f"{prefix}: no snapshot of --resume_step {step} ({found} in its folder)")
    if step >= max_steps:
        raise checkpoint.CheckpointError(
            f"{prefix}: --resume_step {step} is not before --train_max_iter {max_steps}: nothing is left to train"
        )
    return prefix


def snapshot_steps(folder: RunFolder) -> list[int]:
    """The steps of a run's snapshots, ascending."""
    if not os.path.isdir(folder.snapshots):
        return []
    names = [name[: -len(".index")] for name in os.listdir(folder.snapshots) if name.endswith(".index")]
    return sorted(step for step in map(checkpoint.checkpoint_step, names) if step is not None)
