"""Chooses the checkpoint for predict.py and inference.py: a run's best, its last, or the one that is given."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from typing import TypeVar

from tools.checkpoints import files as snapshot_files
from tools.checkpoints.find import has_snapshots_below, newest_snapshot, newest_sound, resolve_checkpoint
from tools.checkpoints.snapshot_names import checkpoint_step
from tools.errors import CheckpointError, FlagError, RecordError
from tools.flags.choices import BEST, LAST
from tools.flags.dataset import DATABASES, FileFlags
from tools.flags.predict import WeightsConfig
from tools.runs.folder import RunFolder, folder_of_run
from tools.runs.known_runs import runs_in
from tools.runs.snapshots import has_snapshots

logger = logging.getLogger(__name__)

_OWN = "custom"

# Attempts to use a checkpoint that is not removed meanwhile: a run removes one only after it has written a newer one.
_MOST_ATTEMPTS = 20

Result = TypeVar("Result")


def with_unremoved(choose: Callable[[], str], use: Callable[[str], Result]) -> Result:
    """Chooses a checkpoint and uses it; chooses again if a run removed or replaced it before it was read.

    Args:
        choose: returns the prefix.
        use: reads the checkpoint; it must not have written anything when it raises CheckpointError or RecordError.

    Raises:
        CheckpointError, RecordError: `use` raised it, and the checkpoint is still the one that was chosen; or it was
            removed every time.
        Any error that `choose` or `use` raises.
    """
    for attempts_left in reversed(range(_MOST_ATTEMPTS)):
        prefix = choose()
        before = snapshot_files.identity(prefix)
        try:
            return use(prefix)
        except (CheckpointError, RecordError):
            if attempts_left == 0 or (before is not None and snapshot_files.identity(prefix) == before):
                raise
            if before is None and os.path.exists(prefix):  # the format before TensorFlow 0.12 has no .index
                raise
            logger.warning("%s was removed or replaced before it could be read: choosing again", prefix)
    raise AssertionError("not reached")


def choose_checkpoint(config: WeightsConfig) -> str:
    """Finds the checkpoint that the flags select.

    Without `--weights_ckpt`, it is from the run below `--log_dir` that wrote a snapshot last; with own data, only runs
    trained on the same folder are considered. The run's best snapshot is used if it has one, otherwise its last.
    `best` and `last` select either of the newest run, `<run>/best` and `<run>/last` either of another run.

    Returns:
        The prefix.

    Raises:
        CheckpointError: no checkpoint is found, or it is damaged.
        FlagError: there are runs on several datasets, or on several folders of own data, and the flags do not select
            one of them.
    """
    wanted = config.weights_ckpt
    if wanted is None or wanted in (BEST, LAST):
        newest = newest_snapshot(_log_dir_of_dataset(config), _runs_on_own_data(config))
        return _of_run(folder_of_run(newest), wanted, last=newest)
    folder, part = os.path.split(wanted.rstrip(os.sep))
    if part in (BEST, LAST) and has_snapshots(RunFolder(folder)):
        return _of_run(RunFolder(os.path.abspath(folder)), part)
    if has_snapshots(RunFolder(wanted)):
        return _of_run(RunFolder(os.path.abspath(wanted)), None)
    return resolve_checkpoint(wanted)


def _log_dir_of_dataset(config: WeightsConfig) -> str:
    """Returns the log folder, or its subfolder of one dataset if there are runs on several."""
    folders = {name: os.path.join(config.log_dir, name) for name in DATABASES}
    trained_on = [name for name, folder in folders.items() if has_snapshots_below(folder)]
    if len(trained_on) < 2:
        return config.log_dir
    if config.database in trained_on:
        return folders[config.database]
    raise FlagError(
        f"--log_dir {config.log_dir} has runs on {', '.join(trained_on)}: select a dataset with --database, or a run "
        "with --weights_ckpt"
    )


def _runs_on_own_data(config: WeightsConfig) -> Collection[str] | None:
    """Returns the folders of the runs on own data to choose from; None to choose from all runs.

    A run whose record is damaged stays a candidate: it is an error only if it is the newest.
    """
    data_of = _own_data_of_runs(os.path.join(config.log_dir, _OWN))
    if not data_of or config.database not in (None, _OWN):
        return None
    data_dir = config.data_dir if isinstance(config, FileFlags) else None
    wanted = None if data_dir is None else os.path.realpath(data_dir)
    folders = sorted({folder for folder in data_of.values() if folder is not None})
    if wanted is None and len(folders) > 1:
        raise FlagError(
            f"--log_dir {config.log_dir} has runs on own data in {', '.join(folders)}: select a run with --weights_ckpt"
            + (", or give --data_dir" if isinstance(config, FileFlags) else "")
        )
    if wanted is not None and wanted not in folders and folders:
        raise FlagError(
            f"--data_dir {data_dir}: no run below {config.log_dir} was trained on this folder, but on "
            f"{', '.join(folders)}: select the run to predict with by --weights_ckpt"
        )
    return [run for run, folder in data_of.items() if wanted is None or folder in (None, wanted)]


def _own_data_of_runs(parent: str) -> dict[str, str | None]:
    """Maps the folder of each run to its folder of training images, or to None if its record is damaged."""
    return {
        run.folder.path: None if run.record is None else os.path.realpath(run.record.data_dir or os.curdir)
        for run in runs_in(parent)
    }


def _of_run(run: RunFolder, part: str | None, last: str | None = None) -> str:
    """Returns the best or the last snapshot of a run; by default the best if an undamaged one exists."""
    best = newest_sound(run.best) if part != LAST else None
    if best is not None:
        logger.info("the best snapshot of the run is used: %s%s", best, _about_last(run, part, best, last))
        return best
    if part == BEST:
        raise CheckpointError(
            f"{run.best}: the run has no undamaged best snapshot, which training keeps with --val_every: give {LAST} "
            "or a checkpoint with --weights_ckpt"
        )
    found = last or resolve_checkpoint(run.snapshots)
    logger.info("the last snapshot of the run is used: %s", found)
    return found


def _about_last(run: RunFolder, part: str | None, best: str, last: str | None) -> str:
    """Says how to use the last snapshot instead of the best, unless the best was asked for or is the last."""
    newest = last or newest_sound(run.snapshots)
    if newest is not None and checkpoint_step(newest) == checkpoint_step(best):
        return ", which is also the last"
    if part == BEST or newest is None:
        return ""
    how = f"add --weights_ckpt {LAST}" if last else f"give --weights_ckpt {os.path.join(run.path, LAST)}"
    return f"; to use the last, {how}"
