"""The snapshots of a run: which there are and which is meant."""

from __future__ import annotations

import dataclasses
import os

from tools import checkpoint
from tools.flags import FlagError, TrainConfig
from tools.model_record import ModelRecord
from tools.run_folder import RunFolder

# Flags that change neither what a run computes nor what its snapshots mean.
_FREE_ON_RESUME = frozenset(
    {
        "data_dir",
        "log_dir",
        "fine_tune_filename",
        "train_max_iter",
        "snapshot",
        "keep",
        "save_first_iteration",
        "resume_step",
        "test_image_size",
        "test_max_iter",
        "mirror",
        "eval_only",
        "check_data",
        "show_period",
    }
)


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


def check_same_run(folder: RunFolder, config: TrainConfig) -> None:
    """Holds the flags of a run that is continued against those it was started with.

    Raises:
        FlagError: one that matters has changed.
        RecordError: the record beside the snapshots is damaged.
    """
    record = ModelRecord.read(folder.snapshots)
    if record is None:
        return
    for name, now in dataclasses.asdict(config).items():
        then = record.flags.get(name, now)
        then = tuple(then) if isinstance(then, list) else then
        if name not in _FREE_ON_RESUME and then != now:
            raise FlagError(
                f"--{name} is {now} and {folder.path} was started with {then}: resume with the flags of the run"
            )


def snapshot_steps(folder: RunFolder) -> list[int]:
    """The steps of a run's snapshots, ascending."""
    if not os.path.isdir(folder.snapshots):
        return []
    names = [name[: -len(".index")] for name in os.listdir(folder.snapshots) if name.endswith(".index")]
    return sorted(step for step in map(checkpoint.checkpoint_step, names) if step is not None)
