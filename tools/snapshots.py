"""Which of a run's snapshots is meant."""

from __future__ import annotations

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
