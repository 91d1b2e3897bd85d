"""Adds to a run's record what it started from and trains on, and compares this when it is resumed."""

from __future__ import annotations

import dataclasses
import logging
import os
import uuid
from collections.abc import Sequence
from typing import Any

from tools.checkpoints.reading import checkpoint_checksum
from tools.errors import FlagError
from tools.runs.data_checksums import DataChecksums, path_within
from tools.runs.folder import RunFolder
from tools.runs.record import ModelRecord

logger = logging.getLogger(__name__)

RUN_UUID = "run_uuid"
SAMPLES_CHECKSUM = "training_samples_sha256"
SIZES_CHECKSUM = "training_sizes_sha256"
CONTENTS_CHECKSUM = "training_contents_sha256"
SAMPLES_ENTRIES = (SAMPLES_CHECKSUM, SIZES_CHECKSUM, CONTENTS_CHECKSUM)


def with_run_uuid(record: ModelRecord, folder: RunFolder, *, resumed: bool) -> ModelRecord:
    """Gives a run a unique id: a new one, or its existing one if it is resumed.

    The results have the same id, so that they are matched with their run after either was moved. A copy of a run that
    is resumed next to its original gets a new id.

    Args:
        record: of the run.
        folder: of the run.
        resumed: whether the run in the folder is resumed.

    Raises:
        RecordError: the record in the folder of snapshots, or that of the original of a copy, is damaged.
    """
    name = os.path.basename(os.path.abspath(folder.path))
    earlier = ModelRecord.read(folder.snapshots) if resumed else None
    known = None if earlier is None or _is_copy(earlier, folder, name) else earlier.origin.run_uuid
    return _with(record, run_uuid=known or uuid.uuid4().hex, run_folder_name=name)


def _is_copy(earlier: ModelRecord, folder: RunFolder, name: str) -> bool:
    """Returns whether the folder is a copy of a run that still exists under its original name.

    Raises:
        RecordError: the record of the other run is damaged.
    """
    named = earlier.origin.run_folder_name
    if named is None or named == name:
        return False
    path = os.path.join(os.path.dirname(os.path.abspath(folder.path)), named)
    other = ModelRecord.read(RunFolder(path).snapshots)
    return other is not None and other.origin.run_uuid == earlier.origin.run_uuid


def with_pretrained(record: ModelRecord, prefix: str) -> ModelRecord:
    """Adds prefix and checksum of the checkpoint that a run starts from to its record.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    return _with(record, pretrained_prefix=prefix, pretrained_sha256=checkpoint_checksum(prefix))


def with_pretrained_of(record: ModelRecord, folder: RunFolder) -> ModelRecord:
    """Copies prefix and checksum of the starting checkpoint from the record of a resumed run, if it has them.

    Raises:
        RecordError: the record in the folder of snapshots is damaged.
    """
    earlier = ModelRecord.read(folder.snapshots)
    if earlier is None:
        return record
    origin = earlier.origin
    return _with(record, pretrained_prefix=origin.pretrained_prefix, pretrained_sha256=origin.pretrained_sha256)


def recorded_pretrained(folder: RunFolder) -> str | None:
    """Returns the prefix of the checkpoint that a run started from, according to its record; None if unknown.

    Raises:
        RecordError: the record in the folder of snapshots is damaged.
    """
    record = ModelRecord.read(folder.snapshots)
    return None if record is None else record.origin.pretrained_prefix


def with_moved_pretrained(record: ModelRecord, folder: str, moved_to: str) -> ModelRecord:
    """Updates the path of the starting checkpoint in a record after its folder, or a parent folder, was moved.

    Args:
        record: see `with_pretrained`; returned unchanged if its checkpoint is not in the folder.
        folder: path before the move.
        moved_to: path after the move.
    """
    prefix = record.origin.pretrained_prefix
    within = None if prefix is None else path_within(os.path.realpath(prefix), os.path.realpath(folder))
    return record if within is None else _with(record, pretrained_prefix=os.path.join(moved_to, within))


def with_samples(record: ModelRecord, data: DataChecksums) -> ModelRecord:
    """Adds checksums of the names, sizes and contents of the training files to a record.

    Args:
        record: of the run.
        data: checksums of its training data.
    """
    return _with(record, **samples_entries(data))


def samples_entries(data: DataChecksums) -> dict[str, str | None]:
    """Returns the checksums of `with_samples` by name."""
    return dict(zip(SAMPLES_ENTRIES, data.values, strict=True))


def check_same_samples(folder: RunFolder, record: ModelRecord, data: DataChecksums) -> None:
    """Checks the training files of a resumed run against the original's, as far as these are recorded.

    Changed contents are only logged as a warning, because a user may have corrected a file before resuming.

    Args:
        folder: of the run.
        record: in its folder of snapshots.
        data: checksums of the training data.

    Raises:
        FlagError: the names of the files differ.
    """
    now = samples_entries(data)
    changed = [
        name
        for name, value in now.items()
        if None not in (value, getattr(record.origin, name)) and value != getattr(record.origin, name)
    ]
    if SAMPLES_CHECKSUM in changed:
        raise FlagError(
            f"the {data.count} training images and labels in {data.data_dir} are not those that {folder.path} was "
            "started with: resume with the same files by --data_dir and --train_list"
        )
    if changed:
        logger.warning(
            "%s: training images or labels have changed since %s was started: it goes on with the new ones",
            data.data_dir,
            folder.path,
        )


def with_class_weights(record: ModelRecord, weights: Sequence[float] | None) -> ModelRecord:
    """Adds the weight of each class in the loss to a record; None for equal weights."""
    return record if weights is None else _with(record, class_weight_values=tuple(weights))


def check_same_class_weights(folder: RunFolder, weights: Sequence[float] | None) -> None:
    """Checks the class weights of a resumed run against the original's.

    Raises:
        FlagError: they differ.
        RecordError: the record in the folder of snapshots is damaged.
    """
    record = ModelRecord.read(folder.snapshots)
    if record is not None and record.origin.class_weight_values != (None if weights is None else tuple(weights)):
        raise FlagError(
            f"the classes weighed otherwise when {folder.path} was started: resume with its --class_weights, unchanged"
        )


def check_same_starting_points(folder: RunFolder, prefix: str) -> None:
    """Checks that a resumed run reads w0 from the checkpoint that it started from.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        FlagError: it is a different one.
        RecordError: the record in the folder of snapshots is damaged.
    """
    record = ModelRecord.read(folder.snapshots)
    known = None if record is None else record.origin.pretrained_sha256
    if record is None or known is None:
        return
    if checkpoint_checksum(prefix) != known:
        raise FlagError(
            f"{prefix} is not the checkpoint that {folder.path} was started from, "
            f"{record.origin.pretrained_prefix}, and w0 is read from it again: give that one with "
            "--fine_tune_filename"
        )


def _with(record: ModelRecord, **values: Any) -> ModelRecord:
    return dataclasses.replace(record, origin=dataclasses.replace(record.origin, **values))
