"""Which checkpoint predict.py and inference.py take: a run's best, its last, or the one that is named."""

from __future__ import annotations

import logging
import os

from tools import checkpoint
from tools.checkpoint import CheckpointError
from tools.dataset_flags import DATABASES
from tools.flags import BEST, LAST, FlagError, WeightsConfig
from tools.run_folder import RunFolder, folder_of_run

logger = logging.getLogger(__name__)


def choose_checkpoint(config: WeightsConfig) -> str:
    """Finds the checkpoint that the flags name.

    Without `--weights_ckpt` it is of the run below `--log_dir` that wrote a snapshot last. Of a run, that is the best
    snapshot where one was kept, otherwise the last; `best` and `last` ask for either of the newest run, and
    `<run>/best` and `<run>/last` of another.

    Returns:
        The prefix.

    Raises:
        CheckpointError: there is none, or it is damaged.
        FlagError: there are runs on several datasets, and `--database` does not say which is meant.
    """
    wanted = config.weights_ckpt
    if wanted is None or wanted in (BEST, LAST):
        newest = checkpoint.newest_snapshot(_log_dir_of_dataset(config))
        return _of_run(folder_of_run(newest), wanted, last=newest)
    folder, part = os.path.split(wanted.rstrip(os.sep))
    if part in (BEST, LAST) and _is_run(folder):
        return _of_run(RunFolder(os.path.abspath(folder)), part)
    if _is_run(wanted):
        return _of_run(RunFolder(os.path.abspath(wanted)), None)
    return checkpoint.resolve_checkpoint(wanted)


def _log_dir_of_dataset(config: WeightsConfig) -> str:
    """The log folder, or that of one dataset in it where there are runs on several."""
    folders = {name: os.path.join(config.log_dir, name) for name in DATABASES}
    trained_on = [name for name, folder in folders.items() if checkpoint.has_snapshots_below(folder)]
    if len(trained_on) < 2:
        return config.log_dir
    if config.database in trained_on:
        return folders[config.database]
    raise FlagError(
        f"--log_dir {config.log_dir} has runs on {', '.join(trained_on)}: give --database, or the run with "
        "--weights_ckpt"
    )


def _is_run(path: str) -> bool:
    folder = RunFolder(path)
    return any(map(checkpoint.newest_first, (folder.snapshots, folder.best)))


def _of_run(run: RunFolder, part: str | None, last: str | None = None) -> str:
    """The best or the last snapshot of a run; by default the best where there is a sound one."""
    best = checkpoint.newest_sound(run.best) if part != LAST else None
    if best is not None:
        of_last = LAST if last is not None else os.path.join(run.path, LAST)
        logger.info("the best snapshot of the run: %s; for the last, add --weights_ckpt %s", best, of_last)
        return best
    if part == BEST:
        raise CheckpointError(
            f"{run.best}: no sound best snapshot is kept there, which --val_every does in training: give {LAST} or a "
            "checkpoint with --weights_ckpt"
        )
    found = last or checkpoint.resolve_checkpoint(run.snapshots)
    logger.info("the last snapshot of the run: %s", found)
    return found
