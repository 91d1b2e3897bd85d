"""The snapshots of a run: which there are, which is meant, and writing one more."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import tensorflow.compat.v1 as tf

from database.atomic import written_atomically
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
    """The prefix of the snapshot to validate.

    Args:
        config: flags.
        folder: of the run.
        trained: prefix of the snapshot that training ended with; None for --eval_only, which takes that of
            --resume_step if given, else the newest sound one.

    Raises:
        CheckpointError: there is none, or the one that is meant is damaged.
    """
    if trained is not None:
        return resolve_checkpoint(trained)
    if config.eval_only and isinstance(config.resume_step, int):
        return resolve_checkpoint(folder.snapshot(config.resume_step))
    return resolve_checkpoint(folder.snapshots)


def check_resume_step(folder: RunFolder, step: int, max_steps: int) -> str:
    """The prefix of the snapshot to resume from.

    Raises:
        CheckpointError: there is none of that step, it is damaged, or the run is over.
        OutsideError: the run's snapshots are kept elsewhere, by a link.
    """
    folder.refuse_links()
    prefix = folder.snapshot(step)
    if not os.path.exists(prefix + ".index"):
        steps = snapshot_steps(folder)
        found = f"there are snapshots of steps {', '.join(map(str, steps))}" if steps else "there is none"
        raise CheckpointError(f"{prefix}: no snapshot of --resume_step {step} ({found} in its folder)")
    if step >= max_steps:
        raise CheckpointError(
            f"{prefix}: --resume_step {step} is not before --train_max_iter {max_steps}: nothing is left to train"
        )
    require_sound(prefix)
    return prefix


def step_to_resume(config: TrainConfig, folder: RunFolder) -> int | None:
    """The step of the snapshot that `--resume_step` or `--auto_resume` means; None for a start from the beginning.

    Raises:
        CheckpointError: `--resume_step latest`, and the run has no sound snapshot.
    """
    if isinstance(config.resume_step, int):
        return config.resume_step
    if config.resume_step is None and not config.auto_resume:
        return None
    newest = newest_sound(folder.snapshots)
    step = None if newest is None else checkpoint_step(newest)
    if step is None and not config.auto_resume:
        raise CheckpointError(
            f"{folder.snapshots}: --resume_step {LATEST} finds no sound snapshot: drop it to begin the run"
        )
    if step is None:
        logger.info("%s: no snapshot to resume from, so the run begins", folder.path)
    else:
        logger.info("%s: the newest sound snapshot is of step %d", folder.path, step)
    return step


def snapshot_steps(folder: RunFolder) -> list[int]:
    """The steps of a run's snapshots, ascending."""
    if not os.path.isdir(folder.snapshots):
        return []
    names = [name[: -len(".index")] for name in os.listdir(folder.snapshots) if name.endswith(".index")]
    return sorted(step for step in map(checkpoint_step, names) if step is not None)


def has_snapshots(folder: RunFolder) -> bool:
    """Whether a run has left weights, sound or damaged, among its snapshots or as its best."""
    return any(newest_first(place) for place in (folder.snapshots, folder.best))


def write_snapshot(folder: RunFolder, step: int, keep: int, save: Callable[[str], object]) -> None:
    """Writes a snapshot with its manifest, whole or not at all, and then removes those that are not to be kept.

    Args:
        folder: of the run; the record is beside its snapshots already.
        step: of the snapshot.
        keep: how many snapshots stay, those written last.
        save: writes the variables to a prefix.

    Raises:
        OSError: it cannot be written, or an old one not be removed; the others stay as they are.
        What `save` raises.
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
    """Writes TensorFlow's file `checkpoint`, which names the snapshots that are kept, the latest last."""
    folder = os.path.dirname(prefixes[-1])
    state = tf.train.generate_checkpoint_state_proto(folder, prefixes[-1], prefixes)
    with written_atomically(os.path.join(folder, "checkpoint")) as path:
        with open(path, "w", encoding="utf-8") as file:
            file.write(str(state))
        snapshot_files.sync_file(path)
