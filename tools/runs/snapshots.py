"""Lists, selects and writes the snapshots of a run."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import tensorflow.compat.v1 as tf

from database.atomic import written_atomically
from database.regular_files import writable_file
from tools.checkpoints import files as snapshot_files
from tools.checkpoints.find import newest_first, newest_sound, require_sound, resolve_checkpoint
from tools.checkpoints.snapshot_names import checkpoint_step
from tools.errors import CheckpointError
from tools.flags.choices import LATEST
from tools.flags.train import TrainConfig
from tools.runs.folder import RunFolder
from tools.runs.record import CONFIG_NAME

logger = logging.getLogger(__name__)


def snapshot_to_score(config: TrainConfig, folder: RunFolder, trained: str | None = None) -> str:
    """Returns the prefix of the snapshot to validate.

    Args:
        config: flags.
        folder: of the run.
        trained: prefix of the last snapshot of training; None for --eval_only, which uses the snapshot of --resume_step
            if given, otherwise the newest undamaged one.

    Raises:
        CheckpointError: there is no such snapshot, or it is damaged.
    """
    if trained is not None:
        return resolve_checkpoint(trained)
    if config.eval_only and isinstance(config.resume_step, int):
        return resolve_checkpoint(folder.snapshot(config.resume_step))
    return resolve_checkpoint(folder.snapshots)


def check_resume_step(folder: RunFolder, step: int, max_steps: int) -> str:
    """Returns the prefix of the snapshot to resume from.

    Raises:
        CheckpointError: the step has no snapshot, the snapshot is damaged, or no steps are left to train.
        OutsideError: the folder of snapshots is a link.
    """
    folder.refuse_links()
    prefix = folder.snapshot(step)
    if not os.path.exists(prefix + ".index"):
        steps = snapshot_steps(folder)
        found = f"its folder has steps {', '.join(map(str, steps))}" if steps else "its folder has none"
        advice = "give one of these" if steps else "drop --resume_step to start the run"
        raise CheckpointError(f"{prefix}: no snapshot of --resume_step {step} ({found}): {advice}")
    if step >= max_steps:
        raise CheckpointError(
            f"{prefix}: --resume_step {step} is not below --train_max_iter {max_steps}, so no steps are left to train: "
            "raise --train_max_iter"
        )
    require_sound(prefix)
    return prefix


def step_to_resume(config: TrainConfig, folder: RunFolder) -> int | None:
    """Returns the step to resume from by `--resume_step` or `--auto_resume`; None to start from the beginning.

    Raises:
        CheckpointError: `--resume_step latest` is given, and the run has no undamaged snapshot.
    """
    if isinstance(config.resume_step, int):
        return config.resume_step
    if config.resume_step is None and not config.auto_resume:
        return None
    newest = newest_sound(folder.snapshots)
    step = None if newest is None else checkpoint_step(newest)
    if step is None and not config.auto_resume:
        raise CheckpointError(
            f"{folder.snapshots}: --resume_step {LATEST} found no undamaged snapshot: drop it to start the run"
        )
    if step is None:
        logger.info("%s: no snapshot to resume from, so the run begins", folder.path)
    else:
        logger.info("%s: the newest intact snapshot is of step %d", folder.path, step)
    return step


def snapshot_steps(folder: RunFolder) -> list[int]:
    """Returns the steps of a run's snapshots, ascending."""
    if not os.path.isdir(folder.snapshots):
        return []
    names = [name[: -len(".index")] for name in os.listdir(folder.snapshots) if name.endswith(".index")]
    return sorted(step for step in map(checkpoint_step, names) if step is not None)


def has_snapshots(folder: RunFolder) -> bool:
    """Returns whether a run has written weights, damaged or not: snapshots or a best snapshot."""
    return any(newest_first(place) for place in (folder.snapshots, folder.best))


def write_snapshot(folder: RunFolder, step: int, keep: int, save: Callable[[str], object]) -> None:
    """Writes a snapshot with its manifest, atomically, and then deletes the oldest ones.

    Args:
        folder: of the run; the record is in its folder of snapshots already.
        step: of the snapshot.
        keep: number of newest snapshots to keep.
        save: writes the variables to a prefix.

    Raises:
        OSError: the snapshot cannot be written, or an old one cannot be deleted; the others are unchanged.
        Any error that `save` raises.
    """
    written = folder.snapshot(step)
    serial = snapshot_files.next_serial(folder.snapshots)
    snapshot_files.sync_file(os.path.join(folder.snapshots, CONFIG_NAME))
    with snapshot_files.written_whole(written) as prefix:
        save(prefix)
        snapshot_files.write_manifest(prefix, serial)
    own = {folder.snapshot(other) for other in snapshot_steps(folder)} - {written}
    earlier = [prefix for prefix in newest_first(folder.snapshots) if prefix in own]
    _write_state([*reversed(earlier[: keep - 1]), written])
    for prefix in earlier[keep - 1 :]:
        snapshot_files.remove(prefix)


def _write_state(prefixes: list[str]) -> None:
    """Writes TensorFlow's `checkpoint` file, which lists the snapshots, newest last.

    It is UTF-8: if the path of the folder is not, the list has the names only, which TensorFlow finds beside it.
    """
    folder = listed_in = os.path.dirname(prefixes[-1])
    if not _is_utf8(os.path.abspath(folder)):
        listed_in, prefixes = os.curdir, [os.path.basename(prefix) for prefix in prefixes]
    state = tf.train.generate_checkpoint_state_proto(listed_in, prefixes[-1], prefixes)
    with written_atomically(os.path.join(folder, "checkpoint")) as path:
        with open(path, "w", encoding="utf-8", opener=writable_file) as file:
            file.write(str(state))
        snapshot_files.sync_file(path)


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
