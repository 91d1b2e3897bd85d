"""What a run was started from and trains on, as its record keeps it beside the flags."""

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
    """Gives a run the number that no other run has: a new one, or its own where it is resumed.

    A run that was copied, and is resumed beside the one that it was copied from, becomes another run.

    Results carry it, so that they are found by the run they are of, wherever either was moved.

    Args:
        record: of the run.
        folder: of the run.
        resumed: whether the run in the folder goes on.

    Raises:
        RecordError: the record beside the snapshots, or beside those that they were copied from, is damaged.
    """
    name = os.path.basename(os.path.abspath(folder.path))
    earlier = ModelRecord.read(folder.snapshots) if resumed else None
    known = None if earlier is None or _is_copy(earlier, folder, name) else earlier.origin.run_uuid
    return _with(record, run_uuid=known or uuid.uuid4().hex, run_folder_name=name)


def _is_copy(earlier: ModelRecord, folder: RunFolder, name: str) -> bool:
    """Whether a run was copied to the folder, so that the one that it was copied from keeps the number.

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
    """The record that also says which checkpoint a run starts from, by prefix and checksum.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    return _with(record, pretrained_prefix=prefix, pretrained_sha256=checkpoint_checksum(prefix))


def with_pretrained_of(record: ModelRecord, folder: RunFolder) -> ModelRecord:
    """The record that also says which checkpoint the run was started from that is continued, if that is known.

    Raises:
        RecordError: the record beside the snapshots is damaged.
    """
    earlier = ModelRecord.read(folder.snapshots)
    if earlier is None:
        return record
    origin = earlier.origin
    return _with(record, pretrained_prefix=origin.pretrained_prefix, pretrained_sha256=origin.pretrained_sha256)


def recorded_pretrained(folder: RunFolder) -> str | None:
    """The prefix of the checkpoint that a run began with, by its record; None if that is not known.

    Raises:
        RecordError: the record beside the snapshots is damaged.
    """
    record = ModelRecord.read(folder.snapshots)
    return None if record is None else record.origin.pretrained_prefix


def with_moved_pretrained(record: ModelRecord, folder: str, moved_to: str) -> ModelRecord:
    """The record that names the checkpoint of the start where it is after its folder, or one above, was moved.

    Args:
        record: see `with_pretrained`; without a checkpoint, or with one from elsewhere, it stays as it is.
        folder: that was moved.
        moved_to: its new path.
    """
    prefix = record.origin.pretrained_prefix
    within = None if prefix is None else path_within(os.path.realpath(prefix), os.path.realpath(folder))
    return record if within is None else _with(record, pretrained_prefix=os.path.join(moved_to, within))


def with_samples(record: ModelRecord, data: DataChecksums) -> ModelRecord:
    """The record that also says on which files a run trains: checksums of names, sizes and contents.

    Args:
        record: of the run.
        data: checksums of what it trains on.
    """
    return _with(record, **samples_entries(data))


def samples_entries(data: DataChecksums) -> dict[str, str | None]:
    """The checksums of `with_samples` by their names."""
    return dict(zip(SAMPLES_ENTRIES, data.values, strict=True))


def check_same_samples(folder: RunFolder, record: ModelRecord, data: DataChecksums) -> None:
    """Compares the files to train on with those of the run that is continued, as far as these are known.

    Other contents are logged in a warning: who resumes a run by its name may have mended a file.

    Args:
        folder: of the run.
        record: beside its snapshots.
        data: checksums of what it is to train on.

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
    """The record that also says how much each class counts in the loss; None for alike."""
    return record if weights is None else _with(record, class_weight_values=tuple(weights))


def check_same_class_weights(folder: RunFolder, weights: Sequence[float] | None) -> None:
    """Holds the weights of classes against those of the run that is continued.

    Raises:
        FlagError: they differ.
        RecordError: the record beside the snapshots is damaged.
    """
    record = ModelRecord.read(folder.snapshots)
    if record is not None and record.origin.class_weight_values != (None if weights is None else tuple(weights)):
        raise FlagError(
            f"the classes weighed otherwise when {folder.path} was started: resume with its --class_weights, unchanged"
        )


def check_same_starting_points(folder: RunFolder, prefix: str) -> None:
    """Holds the checkpoint that a continued run reads w0 from against the one it was started from.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        FlagError: it is another.
        RecordError: the record beside the snapshots is damaged.
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
