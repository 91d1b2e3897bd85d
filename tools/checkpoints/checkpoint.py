"""Finding checkpoints, comparing them with a graph, and resuming."""

from __future__ import annotations

import fnmatch
import glob
import logging
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import tensorflow.compat.v1 as tf

from database.folders import walked
from tools.checkpoints import files as snapshot_files
from tools.checkpoints.file_kinds import CHECKPOINT, WHERE_FROM, FileKind, kind_of, unknown_kind
from tools.checkpoints.plain_paths import readable_prefix
from tools.checkpoints.snapshot_names import EARLIER, SNAPSHOT_NAME
from tools.errors import CheckpointError
from tools.runtime.session_errors import reason

logger = logging.getLogger(__name__)

_SUFFIX = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_STEP = re.compile(r"-(\d+)$")
# A tensor that checkpoints have whose other tensors are named by the attributes of Python objects.
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Seconds by which the clocks of machines that share a folder may differ.
_CLOCK_TOLERANCE = 60.0
# Variables that snapshots of earlier versions do not have, and what that means for a run that goes on from one.
_LATER_ADDITIONS = {"loss_scale/skipped_steps": "steps skipped as their gradients overflowed are counted from here on"}


def resolve_checkpoint(path: str) -> str:
    """The prefix of a checkpoint.

    Args:
        path: a prefix, one of the files `.index`, `.meta` or `.data-...`, or a folder, which stands for its newest
            that is sound.

    Raises:
        CheckpointError: there is none, or it is damaged by its manifest.
    """
    if os.path.isdir(path):
        folders = (path, os.path.join(path, "snapshot"))
        found = next(filter(None, map(newest_sound, folders)), None)
        if found is None and (old := _old_format_in(path)) is not None:
            _refuse_other_kinds(old, unknown_too=True)
            return old
        if found is None and any(map(newest_first, folders)):
            raise CheckpointError(f"{path}: every checkpoint in this folder is damaged: give another")
        if found is None:
            _refuse_other_kinds(path)
            raise CheckpointError(f"{path}: this folder holds no checkpoint ({SNAPSHOT_NAME}-<step>.index)")
        return found
    prefix = _SUFFIX.sub("", path)
    if os.path.exists(prefix + ".index"):
        if not _has_data(prefix):
            raise CheckpointError(f"{prefix}: the checkpoint has an .index but no .data file: copy both")
        require_sound(prefix)
        _refuse_other_kinds(prefix + ".index")
        return prefix
    if os.path.exists(prefix):  # the format before TensorFlow 0.12, which slim's ResNets still have
        _refuse_other_kinds(prefix, unknown_too=True)
        return prefix
    if os.path.exists(path):
        raise CheckpointError(f"{path}: the checkpoint has no {os.path.basename(prefix)}.index: copy it too")
    beside = next(filter(_is_sound, newest_first(os.path.dirname(prefix) or ".")), None)
    hint = f"; the newest in its folder is {beside}" if beside else ""
    raise CheckpointError(f"{path}: there is no such checkpoint{hint}")


def _has_data(prefix: str) -> bool:
    return bool(glob.glob(glob.escape(prefix) + ".data-*"))


def _fault_of(prefix: str) -> str | None:
    """What is wrong with a checkpoint that has an `.index`, by its manifest and by which files are there."""
    fault = snapshot_files.fault_of(prefix)
    return "it has no .data file" if fault is None and not _has_data(prefix) else fault


def _is_sound(prefix: str) -> bool:
    return _fault_of(prefix) is None


def _refuse_other_kinds(path: str, *, unknown_too: bool = False) -> None:
    """Refuses a file or a folder that is something else than a checkpoint or its index.

    Args:
        path: of it.
        unknown_too: whether a file of which nothing is known is refused too, as one that does not end like a
            checkpoint; otherwise it is left to TensorFlow.

    Raises:
        CheckpointError: names what it is and what takes it, or how it begins.
    """
    kind = kind_of(path)
    if kind is None and unknown_too and os.path.isfile(path):
        kind = _unknown_kind(path)
    if kind not in (None, CHECKPOINT):
        raise CheckpointError(kind.refusal(path, "a TensorFlow checkpoint (prefix, .index or folder)"))


def _unknown_kind(path: str) -> FileKind:
    try:
        return unknown_kind(path)
    except OSError as error:
        raise CheckpointError(f"{path}: the checkpoint cannot be read ({reason(error)})") from error


def newest_first(folder: str) -> list[str]:
    """The prefixes of the checkpoints in a folder, by when they were written, see `snapshot_files.Age`."""
    indices = glob.glob(os.path.join(glob.escape(folder), "*.index"))
    return sorted((index.removesuffix(".index") for index in indices), key=snapshot_files.age, reverse=True)


def newest_sound(folder: str, last_step: int | None = None) -> str | None:
    """The prefix of the newest checkpoint in a folder that is not damaged; None if there is none.

    Each damaged one that is newer is told in a line of warning. With `last_step`, those of later steps do not count.
    """
    for prefix in newest_first(folder):
        step = checkpoint_step(prefix)
        if last_step is not None and (step is None or step > last_step):
            continue
        fault = _fault_of(prefix)
        if fault is None:
            return prefix
        logger.warning("%s is damaged and passed over: %s", prefix, fault)
    return None


def require_sound(prefix: str) -> None:
    """Holds a checkpoint that was asked for by name against its manifest, if it has one.

    Raises:
        CheckpointError: it is damaged; names how, and the newest one beside it that is sound.
    """
    fault = snapshot_files.fault_of(prefix)
    if fault is None:
        return
    others = (other for other in newest_first(os.path.dirname(prefix)) if other != prefix)
    sound = next(filter(_is_sound, others), None)
    advice = "there is no sound one beside it" if sound is None else f"take {sound}, the newest that is sound"
    raise CheckpointError(f"{prefix}: the checkpoint is damaged ({fault}): {advice}")


def _old_format_in(folder: str) -> str | None:
    """The one file `*.ckpt` of the format before TensorFlow 0.12, as slim's ResNets are unpacked."""
    files = glob.glob(os.path.join(glob.escape(folder), "*.ckpt"))
    return files[0] if len(files) == 1 else None


def newest_snapshot(log_dir: str, runs: Collection[str] | None = None) -> str:
    """The newest sound snapshot of the run under a log folder that wrote one last.

    Serial numbers count within a run. Between runs times decide, see `snapshot_files.Age`.

    Args:
        log_dir: the folder.
        runs: folders of the runs that count; None for all.

    Raises:
        CheckpointError: there is none, or times do not tell which run is the newest: two are equal, or one lies ahead.
    """
    folders = _not_set_aside(sorted(_snapshot_folders(log_dir)))
    if runs is not None:
        meant = set(map(os.path.realpath, runs))
        folders = [folder for folder in folders if os.path.realpath(os.path.dirname(folder)) in meant]
    newest = [prefix for folder in folders for prefix in newest_first(folder)[:1]]
    if not newest:
        raise CheckpointError(
            f"{log_dir}: no snapshot was found below this folder: train first, or give --weights_ckpt"
        )
    folder = os.path.dirname(_latest_of_runs(newest))
    found = newest_sound(folder)
    if found is None:
        raise CheckpointError(f"{folder}: every snapshot of the newest run is damaged: give --weights_ckpt")
    return found


def has_snapshots_below(folder: str) -> bool:
    """Whether a run below a folder has left a snapshot."""
    return next(_snapshot_folders(folder), None) is not None


def _not_set_aside(folders: Sequence[str]) -> list[str]:
    """The folders of snapshots without those of runs that were set aside for one that has snapshots too.

    These are older, whatever their times say.
    """
    runs = {os.path.dirname(folder): folder for folder in folders}
    return [folder for run, folder in runs.items() if not EARLIER.search(run) or EARLIER.sub("", run) not in runs]


def _latest_of_runs(newest: Sequence[str]) -> str:
    """The one of several runs' newest snapshots that was written last."""
    times = {prefix: snapshot_files.age(prefix).time for prefix in newest}
    latest, *others = sorted(times, key=times.__getitem__, reverse=True)
    if not others:
        return latest
    if times[latest] > time.time() + _CLOCK_TOLERANCE:
        raise CheckpointError(
            f"{latest}: this snapshot is dated {time.ctime(times[latest])}, which is in the future, so times do not "
            f"tell whether it is newer than {others[0]}: give one of them with --weights_ckpt"
        )
    if times[latest] == times[others[0]]:
        raise CheckpointError(
            f"{latest} and {others[0]} are of the same time, {time.ctime(times[latest])}, so it does not tell which "
            "run is the newest: give one of them with --weights_ckpt"
        )
    return latest


def _snapshot_folders(log_dir: str) -> Iterator[str]:
    """The visible folders `snapshot` below a folder that hold any."""
    for parent, folder_names, names in walked(log_dir, lambda error: None, lambda path: None):
        folder_names[:] = [name for name in folder_names if not name.startswith(".")]
        if os.path.basename(parent) == "snapshot" and fnmatch.filter(names, SNAPSHOT_NAME + "-*.index"):
            yield parent


def checkpoint_step(prefix: str) -> int | None:
    """The step in a checkpoint's name, None without one."""
    match = _STEP.search(prefix)
    return int(match.group(1)) if match else None


def checksum(prefix: str) -> str:
    """SHA-256 that tells one checkpoint from another, see `snapshot_files.checksum`.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        return snapshot_files.checksum(prefix)
    except OSError as error:
        raise CheckpointError(f"{prefix}: the checkpoint cannot be read ({reason(error)})") from error


def variable_shapes(prefix: str) -> dict[str, list[int]]:
    """Shapes by name of the tensors in a checkpoint.

    Raises:
        CheckpointError: the file is no checkpoint, or is damaged.
    """
    if prefix.endswith((".npy", ".npz", ".pth", ".pt", ".h5", ".safetensors")):
        raise CheckpointError(f"{prefix}: this is no TensorFlow checkpoint; give one (prefix, .index or folder)")
    for path in (prefix, prefix + ".index", *glob.glob(glob.escape(prefix) + ".data-*")):
        if os.path.exists(path) and not os.path.isfile(path):  # TensorFlow would wait for a pipe
            raise CheckpointError(f"{path}: a folder, a pipe or a device, expected a file of the checkpoint")
    table = prefix + ".index" if os.path.exists(prefix + ".index") else prefix
    if not os.path.exists(table):
        raise CheckpointError(f"{prefix}: there is no such checkpoint")
    kind = kind_of(table) or _unknown_kind(table)
    with linked(prefix) as path:
        try:
            return dict(tf.train.NewCheckpointReader(path).get_variable_to_shape_map())
        except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:  # IndexError: it ends too early
            found = "its table is damaged" if kind == CHECKPOINT else f"{table} is {kind.name}"
            raise CheckpointError(f"{prefix}: not a checkpoint that can be read ({found}): {WHERE_FROM}") from error


def require_match(prefix: str, variables: Sequence[tf.Variable], advice: str) -> None:
    """Checks that a checkpoint holds every variable in its shape.

    Raises:
        CheckpointError: naming the first variable that is missing or has another shape, and what the file holds.
    """
    needed = {variable.op.name: variable.shape.as_list() for variable in variables}
    require_shapes(prefix, variable_shapes(prefix), needed, advice)


def without_later_additions(prefix: str, variables: Sequence[tf.Variable]) -> list[tf.Variable]:
    """The variables to restore from a snapshot: all but those that it lacks because an earlier version wrote it.

    Raises:
        CheckpointError: the file is no checkpoint, or is damaged.
    """
    lacking = _LATER_ADDITIONS.keys() - variable_shapes(prefix).keys()
    absent = [variable for variable in variables if variable.op.name in lacking]
    for variable in absent:
        logger.info("%s is of an earlier version: %s", prefix, _LATER_ADDITIONS[variable.op.name])
    return [variable for variable in variables if variable.op.name not in lacking]


def require_shapes(prefix: str, found: Mapping[str, list[int]], needed: Mapping[str, list[int]], advice: str) -> None:
    """Checks that what was found in a checkpoint has everything needed, in its shape.

    Args:
        prefix: of the checkpoint, for the message.
        found: shapes by name.
        needed: shapes by name.
        advice: what to do, for the message.

    Raises:
        CheckpointError: naming the first that is missing or has another shape, and what the file holds.
    """
    missing = [name for name in needed if name not in found]
    if missing:
        networks = sorted({name.split("/")[0] for name in found if name.startswith("resnet_v1_")})
        if _OBJECT_GRAPH in found:
            networks = ["an object graph, as Keras and tf.train.Checkpoint write"]
        holds = f"it holds {', '.join(networks)}" if networks else "it holds no ResNet-v1"
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError(
            f"{prefix}: '{missing[0]}'{others} of {len(needed)} variables {'are' if others else 'is'} missing "
            f"({holds}): {advice}"
        )
    for name, shape in needed.items():
        if found[name] != shape:
            raise CheckpointError(f"{prefix}: '{name}' has the shape {found[name]} and {shape} is needed: {advice}")


def restore(session: tf.Session, prefix: str, saver: tf.train.Saver) -> None:
    """Restores what `saver` covers.

    Raises:
        CheckpointError: the data is damaged.
    """
    with opened(prefix) as path, session.graph.as_default():
        saver.restore(session, path)


@contextmanager
def opened(prefix: str) -> Iterator[str]:
    """Lets a block read a checkpoint with TensorFlow, which takes a prefix for a pattern.

    Yields:
        The prefix to give to TensorFlow; it is valid until the block ends.

    Raises:
        CheckpointError: as `damage_named`, or the checkpoint cannot be reached.
    """
    with linked(prefix) as path, damage_named(prefix, path):
        yield path


@contextmanager
def linked(prefix: str) -> Iterator[str]:
    """As `opened`, where what is done inside names damage itself."""
    with ExitStack() as links:
        try:
            path = links.enter_context(readable_prefix(prefix))
        except OSError as error:
            raise CheckpointError(
                f"{prefix}: TensorFlow takes these characters for a pattern, and no link without them can be made "
                f"({reason(error)}): rename the folder or the file, or set TMPDIR"
            ) from error
        yield path


@contextmanager
def damage_named(prefix: str, path: str | None = None) -> Iterator[None]:
    """Raises CheckpointError where what is done inside finds the checkpoint damaged; no memory is no damage.

    Args:
        prefix: of the checkpoint.
        path: by which TensorFlow reads it, if another; messages name the prefix instead.
    """
    try:
        yield
    except (tf.errors.ResourceExhaustedError, CheckpointError):
        raise
    except (tf.errors.OpError, ValueError, IndexError) as error:  # IndexError: the data ends too early
        told = reason(error).replace(path or prefix, prefix)
        raise CheckpointError(f"{prefix}: the checkpoint is damaged ({told})") from error
