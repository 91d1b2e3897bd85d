"""Finds the checkpoint that a path or a folder means: the named one, or the newest undamaged one."""

from __future__ import annotations

import fnmatch
import glob
import logging
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence

from database.folders import walked
from tools.checkpoints import files as snapshot_files
from tools.checkpoints.file_kinds import CHECKPOINT, kind_of
from tools.checkpoints.reading import kind_or_first_bytes
from tools.checkpoints.snapshot_names import EARLIER, SNAPSHOT_NAME, checkpoint_step
from tools.errors import CheckpointError

logger = logging.getLogger(__name__)

_SUFFIX = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
# Seconds by which the clocks of machines that share a folder may differ.
_CLOCK_TOLERANCE = 60.0
# Attempts to find a snapshot that is not removed meanwhile. A run removes one only after it has written a newer one,
# which takes longer than to look again.
_MOST_ATTEMPTS = 20
_MOST_NAMED = 5  # runs in a message


def resolve_checkpoint(path: str) -> str:
    """Returns the prefix of the checkpoint at a path.

    Args:
        path: a prefix, one of the files `.index`, `.meta` or `.data-...`, or a folder, which means the newest
            undamaged checkpoint in it or in its subfolder `snapshot`.

    Raises:
        CheckpointError: there is no checkpoint, or it differs from its manifest.
    """
    if os.path.isdir(path):
        return _newest_in(path)
    prefix = _SUFFIX.sub("", path)
    before = snapshot_files.identity(prefix)
    try:
        found = _checkpoint_at(path, prefix)
        if snapshot_files.identity(prefix) == before:
            return found
    except CheckpointError:
        if snapshot_files.identity(prefix) == before:
            raise
    return _checkpoint_at(path, prefix)  # it was removed or replaced meanwhile: the message says what is there now


def _checkpoint_at(path: str, prefix: str) -> str:
    """Returns the prefix of the checkpoint that a path which is no folder means; see `resolve_checkpoint`."""
    if os.path.exists(prefix + ".index"):
        if not _has_data(prefix):
            raise CheckpointError(f"{prefix}: the checkpoint has an .index but no .data file: copy both")
        require_sound(prefix)
        _refuse_other_kinds(prefix + ".index")
        return prefix
    if os.path.exists(prefix):  # the format before TensorFlow 0.12, in which slim's ResNets are published
        _refuse_other_kinds(prefix, unknown_too=True)
        return prefix
    if os.path.exists(path):
        raise CheckpointError(f"{path}: the checkpoint has no {os.path.basename(prefix)}.index: copy it too")
    raise CheckpointError(f"{path}: there is no such checkpoint{_what_is_there(prefix)}")


def _what_is_there(prefix: str) -> str:
    """Says, for the message about a missing checkpoint, what the nearest existing folder has in its place."""
    parent = os.path.dirname(prefix) or "."
    beside = next(filter(_is_sound, newest_first(parent)), None)
    if beside is not None:
        return f"; the newest in its folder is {beside}"
    missing = None
    while not os.path.isdir(parent):
        missing, parent = parent, os.path.dirname(parent) or "."
    indices = glob.glob(os.path.join(glob.escape(parent), "*", "snapshot", f"{SNAPSHOT_NAME}-*.index"))
    runs = sorted({os.path.dirname(os.path.dirname(index)) for index in indices})
    if runs:
        return f"; there are the runs {', '.join(runs[:_MOST_NAMED])}{', ...' if len(runs) > _MOST_NAMED else ''}"
    return "" if missing is None else f"; there is no folder {os.path.abspath(missing)}"


def _newest_in(folder: str) -> str:
    folders = (folder, os.path.join(folder, "snapshot"))
    found = next(filter(None, map(newest_sound, folders)), None)
    if found is not None:
        return found
    old = _old_format_in(folder)
    if old is not None:
        _refuse_other_kinds(old, unknown_too=True)
        return old
    if any(map(newest_first, folders)):
        raise CheckpointError(f"{folder}: every checkpoint in this folder is damaged: choose another folder")
    _refuse_other_kinds(folder)
    raise CheckpointError(f"{folder}: there is no checkpoint ({SNAPSHOT_NAME}-<step>.index) in this folder")


def _has_data(prefix: str) -> bool:
    return bool(glob.glob(glob.escape(prefix) + ".data-*"))


def checkpoint_fault(prefix: str) -> str | None:
    """Returns what is wrong with a checkpoint that has an `.index`, by its manifest and its files; None if nothing."""
    fault = snapshot_files.fault_of(prefix)
    return "it has no .data file" if fault is None and not _has_data(prefix) else fault


def warn_of_damage(prefix: str, fault: str) -> None:
    """Logs a warning that a damaged checkpoint is skipped; see `checkpoint_fault`."""
    logger.warning("%s is damaged and skipped: %s", prefix, fault)


def _is_sound(prefix: str) -> bool:
    return checkpoint_fault(prefix) is None


def _refuse_other_kinds(path: str, *, unknown_too: bool = False) -> None:
    """Rejects a file or a folder that is not a checkpoint.

    Args:
        path: file or folder.
        unknown_too: whether to reject files of unknown kind, too; otherwise TensorFlow decides.

    Raises:
        CheckpointError: the message names the kind of file and how to use it, or the first bytes.
    """
    kind = kind_or_first_bytes(path) if unknown_too and os.path.isfile(path) else kind_of(path)
    if kind not in (None, CHECKPOINT):
        raise CheckpointError(kind.refusal(path, "a TensorFlow checkpoint (prefix, .index or folder)"))


def newest_first(folder: str) -> list[str]:
    """Lists the prefixes of the checkpoints in a folder, newest first; see `files.Age`."""
    return [prefix for _, prefix in _aged(folder)]


def _aged(folder: str) -> list[tuple[snapshot_files.Age, str]]:
    """Lists age and prefix of the checkpoints in a folder, newest first.

    The folder is listed again if one was removed meanwhile, or if only other parts of snapshots were found: the folder
    may have been listed while the only snapshot was replaced by the next.
    """
    pattern = os.path.join(glob.escape(folder), "*.index")
    found: list[tuple[snapshot_files.Age, str]] = []
    for _ in range(_MOST_ATTEMPTS):
        prefixes = [index.removesuffix(".index") for index in glob.glob(pattern)]
        aged = [(snapshot_files.age(prefix), prefix) for prefix in prefixes]
        found = [(age, prefix) for age, prefix in aged if snapshot_files.identity(prefix) is not None]
        if len(found) == len(prefixes) and (prefixes or not _has_parts(folder)):
            break
    return sorted(found, key=lambda pair: pair[0], reverse=True)


def _has_parts(folder: str) -> bool:
    return bool(glob.glob(os.path.join(glob.escape(folder), f"{SNAPSHOT_NAME}-*")))


def newest_sound(folder: str, last_step: int | None = None) -> str | None:
    """Returns the prefix of the newest undamaged checkpoint in a folder, or None.

    Logs a warning for each newer one that is damaged. With `last_step`, checkpoints of later steps are ignored. A
    checkpoint that another process removes or replaces meanwhile is not damaged: the folder is listed again.

    Raises:
        CheckpointError: another process kept removing or replacing the checkpoints before they could be checked.
    """
    for _ in range(_MOST_ATTEMPTS):
        found, is_final = _first_sound(folder, last_step)
        if is_final:
            _warn_of_unordered(folder, found, last_step)
            return found
    raise CheckpointError(
        f"{folder}: another process removed or replaced the newest checkpoint while it was checked, {_MOST_ATTEMPTS} "
        "times in a row: try again, let that run keep more with --keep, or copy a checkpoint elsewhere"
    )


def _warn_of_unordered(folder: str, found: str | None, last_step: int | None) -> None:
    """Logs a warning for damaged checkpoints of later steps that come after the found one in the order of time.

    Without a readable manifest, the serial number is unknown; see `files.Age`.
    """
    ordered = newest_first(folder)
    if found not in ordered:
        return
    first = checkpoint_step(found) or 0
    for prefix in ordered[ordered.index(found) + 1 :]:
        step = checkpoint_step(prefix)
        is_later = step is not None and step > first and (last_step is None or step <= last_step)
        if is_later and snapshot_files.has_damaged_manifest(prefix):
            warn_of_damage(prefix, str(checkpoint_fault(prefix)))


def _first_sound(folder: str, last_step: int | None) -> tuple[str | None, bool]:
    """Returns what `newest_sound` does, and False if a checkpoint was removed or replaced meanwhile."""
    for prefix in newest_first(folder):
        step = checkpoint_step(prefix)
        if last_step is not None and (step is None or step > last_step):
            continue
        before = snapshot_files.identity(prefix)
        fault = checkpoint_fault(prefix)
        if before is None or snapshot_files.identity(prefix) != before:
            return None, False
        if fault is None:
            return prefix, True
        warn_of_damage(prefix, fault)
    return None, True


def require_sound(prefix: str) -> None:
    """Checks a checkpoint against its manifest, if it has one.

    Raises:
        CheckpointError: it is damaged; the message says how, and names the newest undamaged one in the folder.
    """
    fault = snapshot_files.fault_of(prefix)
    if fault is None:
        return
    others = (other for other in newest_first(os.path.dirname(prefix)) if other != prefix)
    sound = next(filter(_is_sound, others), None)
    advice = "its folder has no undamaged one" if sound is None else f"use {sound}, the newest undamaged one"
    raise CheckpointError(f"{prefix}: the checkpoint is damaged ({fault}): {advice}")


def _old_format_in(folder: str) -> str | None:
    """Returns the only file `*.ckpt`: a checkpoint in the format before TensorFlow 0.12, as slim's archives have it."""
    files = glob.glob(os.path.join(glob.escape(folder), "*.ckpt"))
    return files[0] if len(files) == 1 else None


def newest_snapshot(log_dir: str, runs: Collection[str] | None = None) -> str:
    """Returns the newest undamaged snapshot of the most recent run below a log folder.

    Snapshots of one run are ordered by their serial numbers, runs by the times of their newest snapshots; see
    `files.Age`.

    Args:
        log_dir: folder of all runs.
        runs: folders of the runs to search; None for all.

    Raises:
        CheckpointError: there is none, or the times do not decide which run is the newest: two are equal, or one is in
            the future.
    """
    folders = _not_set_aside(sorted(_snapshot_folders(log_dir)))
    if runs is not None:
        wanted = set(map(os.path.realpath, runs))
        folders = [folder for folder in folders if os.path.realpath(os.path.dirname(folder)) in wanted]
    newest = {prefix: age.time for folder in folders for age, prefix in _aged(folder)[:1]}
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
    """Returns whether a run below a folder has a snapshot."""
    return next(_snapshot_folders(folder), None) is not None


def _not_set_aside(folders: Sequence[str]) -> list[str]:
    """Removes the snapshot folders of runs that were set aside for a later run which has snapshots, too.

    The later run is the newer one, whatever the times of the files are.
    """
    runs = {os.path.dirname(folder): folder for folder in folders}
    return [folder for run, folder in runs.items() if not EARLIER.search(run) or EARLIER.sub("", run) not in runs]


def _latest_of_runs(times: Mapping[str, float]) -> str:
    """Returns the most recent of the newest snapshots of several runs, by their times."""
    latest, *others = sorted(times, key=times.__getitem__, reverse=True)
    if not others:
        return latest
    if times[latest] > time.time() + _CLOCK_TOLERANCE:
        raise CheckpointError(
            f"{latest}: this snapshot is dated {time.ctime(times[latest])}, which is in the future, so it is unclear "
            f"whether it is newer than {others[0]}: give one of them with --weights_ckpt"
        )
    if times[latest] == times[others[0]]:
        raise CheckpointError(
            f"{latest} and {others[0]} have the same time, {time.ctime(times[latest])}, so it is unclear which run is "
            "the newest: give one of them with --weights_ckpt"
        )
    return latest


def _snapshot_folders(log_dir: str) -> Iterator[str]:
    """Yields the visible folders `snapshot` below a folder that contain snapshots."""
    for parent, folder_names, names in walked(log_dir, lambda error: None, lambda path: None):
        folder_names[:] = [name for name in folder_names if not name.startswith(".")]
        if os.path.basename(parent) == "snapshot" and fnmatch.filter(names, SNAPSHOT_NAME + "-*.index"):
            yield parent
